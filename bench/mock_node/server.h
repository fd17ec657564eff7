#ifndef WARMPATH_BENCH_MOCK_NODE_SERVER_H_
#define WARMPATH_BENCH_MOCK_NODE_SERVER_H_

// The event loop of mock_node: one thread, epoll level-triggered, TCP_NODELAY.
//
//   readable ─► read_request ─► plain: head and body in one send
//                            └► stream: head + role, then
//                                 bulk:  BULK_BYTES of events whenever the socket is writable
//                                 paced: one event each pace, from a heap ordered by due time
//
// A stream whose tokens are not paced and that fits BULK_BYTES leaves in one send, [DONE]
// included (a one-token stream is the usual case). The stamps of a bulk batch are equal: they
// are taken once per batch. A paced event is stamped at the moment it is sent, so lateness of
// the mock's own timer is not counted as transit.
//
// Invariants: out_at <= out.size(); a connection is in the heap at most once per generation and
// heap entries of another generation are ignored; EPOLLOUT is armed only while bytes or bulk
// tokens are left. A client that does not read a paced stream lets `out` grow: the mock has no
// limit there, the benches read.

#include <cstdint>
#include <memory>
#include <queue>
#include <string>
#include <vector>

#include "replies.h"
#include "request.h"

namespace mock {

struct Connection {
  int fd = -1;
  uint32_t generation = 0;
  std::string in;
  std::string out;
  size_t out_at = 0;
  bool is_armed = false;  // EPOLLOUT asked for
  bool closes = false;

  const Endpoint* endpoint = nullptr;  // not null while streaming
  uint64_t tokens_left = 0;
  uint64_t pace_ns = 0;
  uint64_t due_ns = 0;
  bool has_usage = false;
  char request_id[REQUEST_ID_BYTES];
};

class Server {
 public:
  explicit Server(const Settings& settings);

  /** Binds 127.0.0.1 and returns the port; port 0 takes a free one. */
  int listen_on(int port);
  [[noreturn]] void run();

 private:
  struct Due {
    uint64_t due_ns;
    int fd;
    uint32_t generation;
    bool operator>(const Due& other) const { return due_ns > other.due_ns; }
  };

  void accept_all();
  void close_connection(Connection& connection);
  void on_readable(Connection& connection);
  size_t answer_requests(Connection& connection, std::string_view bytes);
  void answer(Connection& connection, const Request& request);
  void answer_get(Connection& connection, std::string_view path);
  void start_stream(Connection& connection, const Request& request, const Endpoint& endpoint);
  void append_tokens(Connection& connection, uint64_t count, uint64_t now_ns);
  void fill_bulk(Connection& connection);
  bool flush(Connection& connection);
  void arm(Connection& connection, bool is_armed);
  void run_due(uint64_t now_ns);

  Settings settings_;
  Replies replies_;
  int epoll_ = -1;
  int listener_ = -1;
  std::vector<std::unique_ptr<Connection>> connections_;  // by file descriptor
  std::priority_queue<Due, std::vector<Due>, std::greater<Due>> due_;
  std::string scratch_;
  uint64_t generations_ = 0;
};

}  // namespace mock

#endif  // WARMPATH_BENCH_MOCK_NODE_SERVER_H_
