// The sender's socket side: listening, the loop, sending and the limits of time.
#include "model_cache/sender.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>

#include "check.h"
#include "model_cache/session.h"
#include "model_cache/socket_owner.h"
#include "model_cache/whole_io.h"

namespace warmpath::model_cache {

namespace {

constexpr int BACKLOG = 256;
constexpr int EVENTS_A_TURN = 64;
// How often held requests and silent connections are looked at, in milliseconds.
constexpr int SWEEP_MS = 100;
// What one connection may send before another has its turn.
constexpr std::size_t TURN_BYTES = 4 << 20;

int listen_at(const std::string& host, int port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const std::string service = std::to_string(port);
  if (getaddrinfo(host.c_str(), service.c_str(), &hints, &found) != 0) return -EADDRNOTAVAIL;
  const int made = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const int on = 1;
  int error = made < 0 ? -errno : 0;
  if (error == 0) {
    (void)setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    (void)setsockopt(made, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5);
    if (bind(made, found->ai_addr, found->ai_addrlen) < 0 || listen(made, BACKLOG) < 0) {
      error = -errno;
      ::close(made);
    }
  }
  freeaddrinfo(found);
  return error < 0 ? error : made;
}

int port_of(int listener) {
  sockaddr_storage address;
  socklen_t length = sizeof address;
  WARMPATH_CHECK(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length) == 0);
  return ntohs(address.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&address)->sin6_port
                                             : reinterpret_cast<sockaddr_in*>(&address)->sin_port);
}

}  // namespace

int Sender::open(const std::string& host, int port) {
  listener_ = listen_at(host, port);
  if (listener_ < 0) return listener_;
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  wakeup_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  WARMPATH_CHECK(epoll_ >= 0 && wakeup_ >= 0);
  for (int* one : {&listener_, &wakeup_}) {
    epoll_event event{.events = EPOLLIN, .data = {.ptr = one}};
    WARMPATH_CHECK(epoll_ctl(epoll_, EPOLL_CTL_ADD, *one, &event) == 0);
  }
  std::thread([this] { run(); }).detach();
  return port_of(listener_);
}

void Sender::close() {
  Lock lock(mutex_);
  is_closing_ = true;
  wake();
  ended_.wait(lock, [this] { return has_ended_; });
}

void Sender::wake() {
  const std::uint64_t one = 1;
  (void)!write(wakeup_, &one, sizeof one);
}

void Sender::run() {
  block_signals();
  epoll_event events[EVENTS_A_TURN];
  std::int64_t swept_ms = now_ms();
  for (;;) {
    const int count = epoll_wait(epoll_, events, EVENTS_A_TURN, SWEEP_MS);
    const Lock lock(mutex_);
    bool is_woken = false;
    for (int i = 0; i < count; i++) {
      void* which = events[i].data.ptr;
      if (which == &listener_) {
        accept_all();
      } else if (which == &wakeup_) {
        std::uint64_t ignored;
        (void)!read(wakeup_, &ignored, sizeof ignored);
        is_woken = true;
      } else {
        auto& one = *static_cast<Connection*>(which);
        if ((events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) read_some(one);
        advance(one);
        // Until the next sweep takes it away it must not wake us over and over.
        if (one.is_dead) (void)epoll_ctl(epoll_, EPOLL_CTL_DEL, one.socket, nullptr);
      }
    }
    if (is_closing_) break;
    if (is_woken || now_ms() - swept_ms >= SWEEP_MS) {
      sweep(is_woken);
      swept_ms = now_ms();
    }
  }
  const Lock lock(mutex_);
  for (const Connection& one : connections_) ::close(one.socket);
  connections_.clear();
  for (const int one : {listener_, wakeup_, epoll_}) ::close(one);
  has_ended_ = true;
  ended_.notify_all();
}

void Sender::accept_all() {
  for (;;) {
    const int made = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (made < 0) return;
    if (connections_.size() >= CONNECTIONS_MAX || (is_own_user_only_ && !is_own_user(made))) {
      ::close(made);
      continue;
    }
    const int on = 1;
    (void)setsockopt(made, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    Connection& one = connections_.emplace_back();
    one.socket = made;
    one.moved_at_ms = now_ms();
    one.head_at_ms = one.moved_at_ms;
    one.events = EPOLLIN;
    epoll_event event{.events = EPOLLIN, .data = {.ptr = &one}};
    WARMPATH_CHECK(epoll_ctl(epoll_, EPOLL_CTL_ADD, made, &event) == 0);
  }
}

void Sender::read_some(Connection& one) {
  char bytes[HEAD_BYTES_MAX];
  // What is pipelined beyond the limit stays in the socket until it is its turn.
  while (one.in.size() < HEAD_BYTES_MAX) {
    const ssize_t got = recv(one.socket, bytes, HEAD_BYTES_MAX - one.in.size(), 0);
    if (got > 0) {
      one.in.append(bytes, static_cast<std::size_t>(got));
      one.moved_at_ms = now_ms();
      continue;
    }
    if (got < 0 && errno == EINTR) continue;
    if (got == 0 || errno != EAGAIN) one.is_dead = true;
    return;
  }
}

// Goes on until the connection waits for something: its peer, or a chunk.
void Sender::advance(Connection& one) {
  while (!one.is_dead && !one.is_held) {
    if (!send_some(one)) break;
    if (one.is_last || !take_head(one)) break;
  }
  if (one.is_last && one.out.empty() && one.left == 0) one.is_dead = true;
  if (!one.is_dead) watch(one);
}

// False: the socket takes no more for now.
bool Sender::send_some(Connection& one) {
  while (one.out_sent < one.out.size()) {
    const int flags = MSG_NOSIGNAL | MSG_DONTWAIT | (one.left > 0 ? MSG_MORE : 0);
    const ssize_t put =
        send(one.socket, one.out.data() + one.out_sent, one.out.size() - one.out_sent, flags);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0 && errno != EAGAIN) one.is_dead = true;
    if (put < 0) return false;
    one.out_sent += static_cast<std::size_t>(put);
  }
  one.out.clear();
  one.out_sent = 0;
  std::size_t budget = TURN_BYTES;
  while (one.left > 0) {
    if (budget == 0) return false;
    auto offset = static_cast<off_t>(one.offset);
    const ssize_t put =
        sendfile(one.socket, one.file->file, &offset, std::min<std::uint64_t>(one.left, budget));
    if (put < 0 && errno == EINTR) continue;
    // A file that is shorter than it said: the peer must not take the rest for data.
    if (put == 0 || (put < 0 && errno != EAGAIN)) one.is_dead = true;
    if (put <= 0) return false;
    one.offset += static_cast<std::uint64_t>(put);
    one.left -= static_cast<std::uint64_t>(put);
    budget -= static_cast<std::size_t>(put);
    facts_.bytes += static_cast<std::uint64_t>(put);
    one.moved_at_ms = now_ms();
  }
  if (one.file != nullptr) {
    one.file.reset();
    sends_--;
  }
  return true;
}

void Sender::watch(Connection& one) {
  const bool is_sending = one.out_sent < one.out.size() || one.left > 0;
  std::uint32_t events = 0;
  if (one.in.size() < HEAD_BYTES_MAX) events |= EPOLLIN;
  if (is_sending) events |= EPOLLOUT;
  if (events == one.events) return;
  one.events = events;
  epoll_event event{.events = events, .data = {.ptr = &one}};
  WARMPATH_CHECK(epoll_ctl(epoll_, EPOLL_CTL_MOD, one.socket, &event) == 0);
}

// Looks at everybody: the held ones when something came, and what has been silent too long.
void Sender::sweep(bool is_woken) {
  const std::int64_t now = now_ms();
  for (auto at = connections_.begin(); at != connections_.end();) {
    Connection& one = *at;
    if (!one.is_dead && one.is_held) {
      const bool is_late = now >= one.held_until_ms;
      if (is_woken || is_late) {
        one.is_held = false;
        answer(one, is_late);
        advance(one);
      }
    } else if (!one.is_dead) {
      const bool is_slow = one.head_at_ms != 0 && now - one.head_at_ms > HEAD_MS_MAX;
      one.is_dead = is_slow || now - one.moved_at_ms > IDLE_MS_MAX;
    }
    if (!one.is_dead) {
      ++at;
      continue;
    }
    if (one.file != nullptr) sends_--;
    ::close(one.socket);
    at = connections_.erase(at);
  }
}

int Sender::put(const Id& file_id, const Id& generation, int file, std::uint64_t size) {
  const Lock lock(mutex_);
  const int error = shelf_.put(file_id, generation, file, size);
  wake();
  return error;
}

bool Sender::put_chunk(const Id& file_id, const Id& generation, std::uint64_t chunk,
                       const Id& hash) {
  const Lock lock(mutex_);
  const bool is_known = shelf_.put_chunk(file_id, generation, chunk, hash);
  bool has_held = false;
  for (const Connection& one : connections_) has_held |= one.is_held;
  if (has_held) wake();
  return is_known;
}

void Sender::drop(const Id& file_id, const Id& generation) {
  const Lock lock(mutex_);
  shelf_.drop(file_id, generation);
  wake();
}

void Sender::refuse(const Id& file_id, const Id& generation, std::uint64_t chunk) {
  const Lock lock(mutex_);
  Blob* blob = shelf_.find(file_id, generation);
  if (blob == nullptr || chunk >= blob->states.size()) return;
  if (blob->states[chunk] == ChunkState::WANTED) blob->states[chunk] = ChunkState::ABSENT;
  for (Connection& one : connections_) {
    const Request& asked = one.request;
    if (one.is_held && asked.file_id == file_id && asked.chunk == chunk) one.held_until_ms = 0;
  }
  wake();
}

SenderFacts Sender::facts() {
  const Lock lock(mutex_);
  SenderFacts facts = facts_;
  facts.connections = connections_.size();
  facts.held = 0;
  for (const Connection& one : connections_) facts.held += one.is_held ? 1 : 0;
  return facts;
}

}  // namespace warmpath::model_cache
