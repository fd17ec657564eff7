#include "server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "../wire/clock.h"

namespace mock {

namespace {

/** One read: a whole request of the benches; larger bodies take several. */
constexpr size_t READ_BYTES = 256 * 1024;
/** Events of a bulk stream made per send: large enough that system calls do not count. */
constexpr size_t BULK_BYTES = 64 * 1024;
/** Events taken from one epoll_wait. */
constexpr int EVENTS_MAX = 512;
/** A body above this is a mistake of the bench: the connection is closed. */
constexpr size_t REQUEST_BYTES_MAX = 256u << 20;
constexpr uint64_t SECOND_NS = 1'000'000'000;

[[noreturn]] void fail(const char* call) {
  perror(call);
  exit(1);
}

constexpr const char* NOT_FOUND_REPLY =
    "HTTP/1.1 404 Not Found\r\nserver: uvicorn\r\ncontent-length: 22\r\n"
    "content-type: application/json\r\n\r\n{\"detail\":\"Not Found\"}";
constexpr const char* REFUSED_REPLY =
    "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
constexpr const char* EMPTY_BODY = "server: uvicorn\r\ncontent-length: 0\r\n\r\n";
constexpr const char* VERSION_BODY =
    "server: uvicorn\r\ncontent-length: 20\r\ncontent-type: application/json\r\n\r\n"
    "{\"version\":\"0.32.0\"}";

}  // namespace

Server::Server(const Settings& settings) : settings_(settings), replies_(settings) {
  scratch_.resize(READ_BYTES);
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_ < 0) fail("epoll_create1");
}

int Server::listen_on(int port) {
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (listener_ < 0) fail("socket");
  const int on = 1;
  setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  if (bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0) fail("bind");
  if (listen(listener_, 4096) != 0) fail("listen");
  getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = listener_;
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, listener_, &event) != 0) fail("epoll_ctl");
  return ntohs(address.sin_port);
}

void Server::run() {
  epoll_event events[EVENTS_MAX];
  uint64_t date_ns = wire::now_ns();
  for (;;) {
    uint64_t now_ns = wire::now_ns();
    uint64_t wait_ns = SECOND_NS;
    if (!due_.empty()) {
      wait_ns = due_.top().due_ns > now_ns ? due_.top().due_ns - now_ns : 0;
    }
    wait_ns = std::min(wait_ns, SECOND_NS);
    const timespec wait{static_cast<time_t>(wait_ns / SECOND_NS),
                        static_cast<long>(wait_ns % SECOND_NS)};
    const int count = epoll_pwait2(epoll_, events, EVENTS_MAX, &wait, nullptr);
    if (count < 0 && errno != EINTR) fail("epoll_pwait2");
    now_ns = wire::now_ns();
    if (now_ns - date_ns > SECOND_NS) {
      replies_.refresh_date();
      date_ns = now_ns;
    }
    for (int i = 0; i < count; i++) {
      const int fd = events[i].data.fd;
      if (fd == listener_) {
        accept_all();
        continue;
      }
      Connection& connection = *connections_[static_cast<size_t>(fd)];
      if (connection.fd != fd) continue;
      if ((events[i].events & EPOLLOUT) != 0) fill_bulk(connection);
      if (connection.fd != fd) continue;
      if ((events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) on_readable(connection);
    }
    run_due(now_ns);
  }
}

void Server::accept_all() {
  for (;;) {
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connections_.size() <= static_cast<size_t>(fd)) {
      connections_.resize(static_cast<size_t>(fd) + 1);
    }
    auto connection = std::make_unique<Connection>();
    connection->fd = fd;
    connection->generation = static_cast<uint32_t>(++generations_);
    connections_[static_cast<size_t>(fd)] = std::move(connection);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) fail("epoll_ctl");
  }
}

void Server::close_connection(Connection& connection) {
  assert(connection.fd >= 0);
  close(connection.fd);
  connection.fd = -1;
  connection.generation = 0;
  connection.endpoint = nullptr;
}

void Server::on_readable(Connection& connection) {
  const ssize_t got = recv(connection.fd, scratch_.data(), READ_BYTES, 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) return close_connection(connection);
  std::string_view bytes(scratch_.data(), static_cast<size_t>(got));
  if (!connection.in.empty()) {
    connection.in.append(bytes);
    bytes = connection.in;
  }
  const size_t used = answer_requests(connection, bytes);
  if (connection.fd < 0) return;
  if (bytes.size() > REQUEST_BYTES_MAX) return close_connection(connection);
  if (connection.in.empty()) {
    connection.in.assign(bytes.substr(used));
  } else {
    connection.in.erase(0, used);
  }
}

/** Answers whole requests until one streams; returns the bytes used. */
size_t Server::answer_requests(Connection& connection, std::string_view bytes) {
  size_t used = 0;
  while (used < bytes.size() && connection.fd >= 0 && connection.endpoint == nullptr) {
    Request request;
    const Reading reading = read_request(bytes.substr(used), request);
    if (reading == Reading::incomplete) break;
    if (reading == Reading::refused) {
      connection.out.append(REFUSED_REPLY);
      connection.closes = true;
      flush(connection);
      break;
    }
    used += request.bytes;
    connection.closes = request.closes;
    answer(connection, request);
  }
  return used;
}

void Server::answer(Connection& connection, const Request& request) {
  const bool is_chat = request.path == "/v1/chat/completions";
  if (request.method != "POST" || (!is_chat && request.path != "/v1/completions")) {
    answer_get(connection, request.path);
    flush(connection);
    return;
  }
  const Endpoint& endpoint = is_chat ? replies_.chat : replies_.completion;
  if (request.is_stream) return start_stream(connection, request, endpoint);
  replies_.append_head(connection.out, "");
  endpoint.plain.append_to(connection.out, request.request_id, 0);
  flush(connection);
}

void Server::answer_get(Connection& connection, std::string_view path) {
  if (path == "/kv_event_sources" && !replies_.kv_event_sources.empty()) {
    replies_.append_head(connection.out, replies_.kv_event_sources.c_str());
  } else if (path == "/health" || path == "/ping") {
    replies_.append_head(connection.out, EMPTY_BODY);
  } else if (path == "/v1/models") {
    replies_.append_head(connection.out, replies_.models.c_str());
  } else if (path == "/metrics") {
    replies_.append_head(connection.out, replies_.metrics.c_str());
  } else if (path == "/version") {
    replies_.append_head(connection.out, VERSION_BODY);
  } else {
    connection.out.append(NOT_FOUND_REPLY);
  }
}

void Server::start_stream(Connection& connection, const Request& request,
                          const Endpoint& endpoint) {
  connection.endpoint = &endpoint;
  connection.tokens_left = request.tokens > 0 ? request.tokens : settings_.tokens;
  connection.has_usage = request.has_usage;
  connection.pace_ns =
      (request.pace_us >= 0 ? static_cast<uint64_t>(request.pace_us) : settings_.pace_us) * 1000;
  memcpy(connection.request_id, request.request_id, REQUEST_ID_BYTES);
  const uint64_t now_ns = wire::now_ns();
  replies_.append_head(connection.out, STREAM_HEAD);
  if (!endpoint.role.bytes.empty()) {
    endpoint.role.append_to(connection.out, connection.request_id, now_ns);
  }
  if (connection.pace_ns == 0) return fill_bulk(connection);
  connection.due_ns = now_ns + connection.pace_ns;
  due_.push({connection.due_ns, connection.fd, connection.generation});
  flush(connection);
}

/** Appends up to `count` tokens, and the end of the stream behind the last one. */
void Server::append_tokens(Connection& connection, uint64_t count, uint64_t now_ns) {
  assert(connection.endpoint != nullptr && connection.tokens_left > 0);
  const Endpoint& endpoint = *connection.endpoint;
  for (; count > 0 && connection.tokens_left > 0; count--, connection.tokens_left--) {
    const Template& token = connection.tokens_left > 1 ? endpoint.token : endpoint.last_token;
    token.append_to(connection.out, connection.request_id, now_ns);
  }
  if (connection.tokens_left > 0) return;
  if (connection.has_usage) {
    endpoint.usage.append_to(connection.out, connection.request_id, now_ns);
  }
  connection.out.append(replies_.done);
  connection.endpoint = nullptr;
}

void Server::fill_bulk(Connection& connection) {
  const bool is_bulk = connection.endpoint != nullptr && connection.pace_ns == 0;
  if (is_bulk && connection.out.size() - connection.out_at < BULK_BYTES) {
    const uint64_t count = BULK_BYTES / connection.endpoint->token.bytes.size();
    append_tokens(connection, count, wire::now_ns());
  }
  flush(connection);
}

/** Sends what is there; false when the connection is gone. */
bool Server::flush(Connection& connection) {
  const size_t left = connection.out.size() - connection.out_at;
  if (left > 0) {
    const ssize_t sent =
        send(connection.fd, connection.out.data() + connection.out_at, left, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
      close_connection(connection);
      return false;
    }
    if (sent > 0) connection.out_at += static_cast<size_t>(sent);
  }
  if (connection.out_at == connection.out.size()) {
    connection.out.clear();
    connection.out_at = 0;
    if (connection.closes && connection.endpoint == nullptr) {
      close_connection(connection);
      return false;
    }
  }
  const bool is_bulk = connection.endpoint != nullptr && connection.pace_ns == 0;
  arm(connection, is_bulk || !connection.out.empty());
  return true;
}

void Server::arm(Connection& connection, bool is_armed) {
  if (connection.is_armed == is_armed) return;
  connection.is_armed = is_armed;
  epoll_event event{};
  event.events = is_armed ? EPOLLIN | EPOLLOUT : EPOLLIN;
  event.data.fd = connection.fd;
  if (epoll_ctl(epoll_, EPOLL_CTL_MOD, connection.fd, &event) != 0) fail("epoll_ctl");
}

void Server::run_due(uint64_t now_ns) {
  while (!due_.empty() && due_.top().due_ns <= now_ns) {
    const Due due = due_.top();
    due_.pop();
    Connection* connection = connections_[static_cast<size_t>(due.fd)].get();
    if (connection->generation != due.generation || connection->endpoint == nullptr) continue;
    append_tokens(*connection, 1, wire::now_ns());
    if (connection->endpoint != nullptr) {
      connection->due_ns += connection->pace_ns;
      due_.push({connection->due_ns, due.fd, due.generation});
    }
    flush(*connection);
  }
}

}  // namespace mock
