// Fetches chunks from a peer over persistent sockets, verified, into store files.
//
//   fetch() --> queue of the peer --> stream 1: socket, bounce buffer   request, request, ...
//                                 \-> stream 2: socket, bounce buffer   <- reply, reply, ...
//
//   reply body --recv--> bounce (4 MiB) --xxh3-128--> same as the header says, and as expected?
//                                                      yes: pwrite to the store    no: EBADMSG
//
// A stream is one thread with a blocking socket: simple, and as fast as the copy out of the
// socket, which is what the receiving side costs. It keeps up to PIPELINE_MAX requests on the way
// when no other stream is idle, so that the peer is never waiting for the next head.
//
// Nothing is written before the whole chunk is verified; a wrong chunk, a wrong length, a peer
// that is silent for `silence_ms` (connecting counts), or slower than four times that in all, is
// an error of that fetch and of what was pipelined behind it, and closes the socket. Silence is
// also one of what waits for a stream, since whoever asked has to ask another in time. Chunks
// fetched before stay.
//
// A socket that was idle may have been closed by the peer meanwhile: if it ends before the first
// byte of a reply, the requests are sent once more on a new one.
//
// Without a token only a process of our own user may give chunks: who answers on a new socket is
// looked up at the first reply, since before it the connection may not be accepted yet.
//
// What it does badly: a thread and 4 MiB for each stream, so tens of peers and not thousands.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>

#include "model_cache/shelf.h"

namespace warmpath::model_cache {

// Fetches that wait or are under way at one peer; past it a call fails with EAGAIN.
inline constexpr std::size_t PEER_FETCHES_MAX = 65536;
// Streams to one peer; four fill the loopback of two cores.
inline constexpr std::uint32_t PEER_STREAMS_MAX = 16;
// Requests on the way in one stream.
inline constexpr std::size_t PIPELINE_MAX = 3;
// Bytes of a reply's head, and of the body of a refusal.
inline constexpr std::size_t REPLY_HEAD_BYTES_MAX = 16384;
inline constexpr std::size_t REFUSAL_BYTES_MAX = 65536;

struct Fetch {
  std::uint32_t token = 0;
  // The whole request head, made and signed by JavaScript.
  std::string head;
  int to = -1;
  std::uint64_t offset = 0;
  std::uint32_t length = 0;
  bool has_expected = false;
  Id expected{};
  int silence_ms = 0;
};

struct Peer {
  std::string host;
  std::string port;
  // Only our own user may answer.
  bool is_own_user_only = false;
  std::mutex mutex;
  std::condition_variable wanted;
  std::deque<Fetch> queue;
  std::uint32_t idle_streams = 0;
  bool is_closed = false;
};

std::shared_ptr<Peer> peer_open(const std::string& host, int port, std::uint32_t streams,
                                bool is_own_user_only);
// False: too many under way. Answers with EVENT_FETCHED: error, status, the computed hash and the
// hash of the header.
bool peer_fetch(Peer& peer, Fetch fetch);
// What waits fails with ECANCELED; what is under way ends by itself.
void peer_close(Peer& peer);

}  // namespace warmpath::model_cache
