// Sends chunks to peers over HTTP/1.1, straight from the store's pages to the socket.
//
//   GET /v1/blob/<file id>/<generation>      Range: bytes=a-b   exactly one chunk, or the tail
//   206 + x-warmpath-xxh3-128, body by sendfile
//   401 signature   404 unknown file   409 another generation   416 range   503 it did not come
//   429 too many at once
//
//   one thread, epoll:   accept -> read head -> answer -> send -> next head (pipelined) ...
//                                     |
//                                     `-> held: the blob is known, the chunk is not there yet
//
// A request for a chunk that is on its way is held, HOLD_MS_MAX at most, and JavaScript is told
// once (EVENT_CHUNK_WANTED): that is how N cold instances read each source byte once. It is
// answered when the chunk is put, refused (503) or late (503).
//
// Limits: a head of HEAD_BYTES_MAX that takes no longer than HEAD_MS_MAX, CONNECTIONS_MAX
// connections, SENDS_MAX bodies at once, one chunk a request. Names never travel, only ids, so
// there is no path to climb. Without a token only processes of our own user are served.
//
// Costs: one thread at some GB/s; the kernel copies once (page to socket). TCP_CONGESTION is set
// to cubic, because the bbr of some systems halves the rate within a data centre. What it does
// badly: no TLS, and fairness between peers only by turns of what the socket takes.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "model_cache/peer_auth.h"
#include "model_cache/shelf.h"

namespace warmpath::model_cache {

// Bytes of a request's head; ours have 300.
inline constexpr std::size_t HEAD_BYTES_MAX = 8192;
// Connections at once: 64 peers with 16 streams each.
inline constexpr std::size_t CONNECTIONS_MAX = 1024;
// Bodies under way at once; past it the answer is 429, so that a peer asks somebody else.
inline constexpr std::size_t SENDS_MAX = 256;
// Milliseconds that a request waits for a chunk that is on its way: less than the silence after
// which whoever asks takes us for stalled.
inline constexpr std::int64_t HOLD_MS_MAX = 2000;
// Milliseconds from a connection, or from the first byte of a later head, to its whole head: a
// client that sends it slowly is cut off, and cannot hold a connection by a byte now and then.
inline constexpr std::int64_t HEAD_MS_MAX = 5000;
// Milliseconds without a request, or without a byte taken, after which a connection is cut.
inline constexpr std::int64_t IDLE_MS_MAX = 60000;

struct SenderFacts {
  std::uint64_t bytes;
  std::uint64_t requests;
  std::uint64_t refused;
  std::uint64_t connections;
  std::uint64_t held;
};

class Sender {
 public:
  Sender(std::uint32_t id, std::string token)
      : id_(id), is_own_user_only_(token.empty()), auth_(std::move(token)) {}
  // Listens and starts the thread; returns the port, or a negative errno.
  int open(const std::string& host, int port);
  // Ends the thread and every connection; the object is not used afterwards.
  void close();

  int put(const Id& file_id, const Id& generation, int file, std::uint64_t size);
  bool put_chunk(const Id& file_id, const Id& generation, std::uint64_t chunk, const Id& hash);
  void drop(const Id& file_id, const Id& generation);
  void refuse(const Id& file_id, const Id& generation, std::uint64_t chunk);
  SenderFacts facts();

 private:
  struct Request {
    std::string path;
    Id file_id;
    Id generation;
    std::uint64_t chunk = 0;
    std::string range;
    std::string authorization;
  };

  struct Connection {
    int socket = -1;
    std::string in;
    std::string out;
    std::size_t out_sent = 0;
    std::shared_ptr<SharedFile> file;
    std::uint64_t offset = 0;
    std::uint64_t left = 0;
    bool is_held = false;
    bool is_last = false;
    bool is_dead = false;
    Request request;
    std::int64_t held_until_ms = 0;
    std::int64_t moved_at_ms = 0;
    // When the head that is not whole yet began; 0 when none has.
    std::int64_t head_at_ms = 0;
    std::uint32_t events = 0;
  };

  using Lock = std::unique_lock<std::mutex>;

  void run();
  void accept_all();
  void read_some(Connection& one);
  void advance(Connection& one);
  bool take_head(Connection& one);
  int parse(std::string_view head, Request* out) const;
  void answer(Connection& one, bool is_late);
  void refuse_with(Connection& one, int status);
  bool send_some(Connection& one);
  void watch(Connection& one);
  void sweep(bool is_woken);
  void wake();

  std::uint32_t id_;
  // Nothing but its owner says who a connection is of.
  bool is_own_user_only_;
  PeerAuth auth_;
  int epoll_ = -1;
  int listener_ = -1;
  int wakeup_ = -1;
  std::mutex mutex_;
  std::condition_variable ended_;
  bool is_closing_ = false;
  bool has_ended_ = false;
  Shelf shelf_;
  // Of the thread alone.
  std::list<Connection> connections_;
  std::size_t sends_ = 0;
  SenderFacts facts_{};
};

}  // namespace warmpath::model_cache
