// Which user is at the other end of a loopback connection: without a token nothing else says who
// asks for chunks, or who gives them. The same as src/model-cache/socket_owner.ts says of hellos.
//
// The kernel lists every TCP socket with its owner in /proc/net/tcp and tcp6; the row of the other
// end is the one whose local address is our remote one. Only an established socket with an inode
// counts: what was closed, or not accepted yet, is listed as root's.
//
// Costs: some ms where the host has ten thousand sockets; once a connection.
#pragma once

namespace warmpath::model_cache {

// Whether our own user, or root, is at the other end; false as well when nobody can tell.
bool is_own_user(int socket);

}  // namespace warmpath::model_cache
