#ifndef WARMPATH_BENCH_LOAD_CLIENT_SOCKET_H_
#define WARMPATH_BENCH_LOAD_CLIENT_SOCKET_H_

#include "options.h"

namespace load {

/** Connects and waits until it stands; TCP_NODELAY is set. -1 when the target refuses. */
int connect_to(const Target& target);

/** Makes a WebSocket of a connected socket; false when the target refuses. */
bool upgrade(int fd, const Options& options, const Target& target);

/** Switches a connected socket to non-blocking. */
void set_non_blocking(int fd);

}  // namespace load

#endif  // WARMPATH_BENCH_LOAD_CLIENT_SOCKET_H_
