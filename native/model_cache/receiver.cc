#include "model_cache/receiver.h"

#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <thread>
#include <vector>

#include "check.h"
#include "model_cache/chunk_hash.h"
#include "model_cache/events.h"
#include "model_cache/session.h"
#include "model_cache/socket_owner.h"
#include "model_cache/whole_io.h"

namespace warmpath::model_cache {

namespace {

// A reply may take this many times its limit of silence in all: a trickle is no service.
constexpr int SLOW_FACTOR = 4;

void tell(const Fetch& fetch, int error, int status, const Id* computed = nullptr,
          const Id* said = nullptr) {
  Event event{};
  event.kind = EVENT_FETCHED;
  event.token = fetch.token;
  event.error = error;
  event.status = static_cast<std::uint32_t>(status);
  if (computed != nullptr) std::memcpy(event.bytes, computed->data(), computed->size());
  if (said != nullptr) std::memcpy(event.bytes + 16, said->data(), said->size());
  events_push(event);
}

struct Reply {
  int status = 0;
  std::uint64_t length = 0;
  bool has_length = false;
  bool has_hash = false;
  bool is_last = false;
  Id hash{};
};

bool is_named(std::string_view line, std::string_view name, std::string_view* value) {
  if (line.size() <= name.size() || line[name.size()] != ':') return false;
  for (std::size_t i = 0; i < name.size(); i++) {
    if ((line[i] | 0x20) != (name[i] | 0x20)) return false;
  }
  *value = line.substr(name.size() + 1);
  while (!value->empty() && value->front() == ' ') value->remove_prefix(1);
  return true;
}

bool parse_reply(std::string_view head, Reply* out) {
  if (!head.starts_with("HTTP/1.1 ") || head.size() < 12) return false;
  if (std::from_chars(head.data() + 9, head.data() + 12, out->status).ec != std::errc{})
    return false;
  for (std::size_t at = head.find("\r\n") + 2; at < head.size();) {
    const std::size_t end = head.find("\r\n", at);
    const std::string_view line = head.substr(at, end - at);
    std::string_view value;
    if (is_named(line, "content-length", &value)) {
      const char* stop = value.data() + value.size();
      const auto [last, error] = std::from_chars(value.data(), stop, out->length);
      if (error != std::errc{} || last != stop) return false;
      out->has_length = true;
    } else if (is_named(line, "x-warmpath-xxh3-128", &value)) {
      if (!read_hex(value, &out->hash)) return false;
      out->has_hash = true;
    } else if (is_named(line, "connection", &value)) {
      out->is_last = value == "close";
    } else if (is_named(line, "transfer-encoding", &value)) {
      return false;
    }
    at = end + 2;
  }
  return out->has_length;
}

// One socket and what is on the way on it. Every member function returns 0 or a negative errno.
class Stream {
 public:
  explicit Stream(std::shared_ptr<Peer> peer) : peer_(std::move(peer)), bounce_(map_bounce()) {}
  ~Stream() { (void)munmap(bounce_, CHUNK_BYTES_MAX); }
  void run();

 private:
  bool fill();
  int connect_to_peer(int wait_ms);
  int send_all(const std::string& text);
  int wait_for(short what, int wait_ms);
  int receive_head(const Fetch& fetch, std::string* head);
  int receive_body(const Fetch& fetch, std::size_t length);
  int receive(const Fetch& fetch);
  int start_all();
  void extend_deadline(int silence_ms) {
    deadline_ms_ = now_ms() + std::int64_t{silence_ms} * SLOW_FACTOR;
  }
  void disconnect();
  void fail_all(int error);
  void fail_waiting(int error);

  std::shared_ptr<Peer> peer_;
  std::uint8_t* bounce_;
  int socket_ = -1;
  bool is_used_ = false;
  bool has_byte_ = false;
  std::int64_t deadline_ms_ = 0;
  // Bytes behind the last head: the beginning of a body, or of the next reply.
  std::string ahead_;
  std::deque<Fetch> on_the_way_;
  std::size_t sent_ = 0;
};

int Stream::wait_for(short what, int wait_ms) {
  const std::int64_t left = std::min<std::int64_t>(wait_ms, deadline_ms_ - now_ms());
  pollfd one{.fd = socket_, .events = what, .revents = 0};
  if (left <= 0) return -ETIMEDOUT;
  const int ready = poll(&one, 1, static_cast<int>(left));
  if (ready < 0) return errno == EINTR ? 0 : -errno;
  return ready == 0 ? -ETIMEDOUT : 0;
}

int Stream::connect_to_peer(int wait_ms) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(peer_->host.c_str(), peer_->port.c_str(), &hints, &found) != 0) {
    return -EHOSTUNREACH;
  }
  int error = -EHOSTUNREACH;
  for (const addrinfo* at = found; at != nullptr && error < 0; at = at->ai_next) {
    socket_ = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (socket_ < 0) continue;
    const int on = 1;
    (void)setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    error = connect(socket_, at->ai_addr, at->ai_addrlen) < 0 ? -errno : 0;
    if (error == -EINPROGRESS) {
      error = wait_for(POLLOUT, wait_ms);
      socklen_t size = sizeof error;
      int refused = 0;
      if (error == 0) (void)getsockopt(socket_, SOL_SOCKET, SO_ERROR, &refused, &size);
      if (error == 0) error = -refused;
    }
    if (error < 0) disconnect();
  }
  freeaddrinfo(found);
  is_used_ = false;
  return error;
}

void Stream::disconnect() {
  if (socket_ >= 0) close(socket_);
  socket_ = -1;
  sent_ = 0;
  ahead_.clear();
}

int Stream::send_all(const std::string& text) {
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t put = send(socket_, text.data() + done, text.size() - done, MSG_NOSIGNAL);
    if (put >= 0) {
      done += static_cast<std::size_t>(put);
    } else if (errno == EAGAIN) {
      if (const int error = wait_for(POLLOUT, on_the_way_.front().silence_ms); error < 0)
        return error;
    } else if (errno != EINTR) {
      return -errno;
    }
  }
  return 0;
}

// Reads until a whole head is there; what lies behind it stays in ahead_.
int Stream::receive_head(const Fetch& fetch, std::string* head) {
  for (;;) {
    const std::size_t end = ahead_.find("\r\n\r\n");
    if (end != std::string::npos) {
      *head = ahead_.substr(0, end + 2);
      ahead_.erase(0, end + 4);
      return 0;
    }
    if (ahead_.size() >= REPLY_HEAD_BYTES_MAX) return -EPROTO;
    char bytes[1024];
    const ssize_t got = recv(socket_, bytes, sizeof bytes, 0);
    if (got > 0) {
      if (!has_byte_) extend_deadline(fetch.silence_ms);
      has_byte_ = true;
      ahead_.append(bytes, static_cast<std::size_t>(got));
    } else if (got == 0) {
      return -ECONNRESET;
    } else if (errno == EAGAIN) {
      if (const int error = wait_for(POLLIN, fetch.silence_ms); error < 0) return error;
    } else if (errno != EINTR) {
      return -errno;
    }
  }
}

int Stream::receive_body(const Fetch& fetch, std::size_t length) {
  std::size_t done = std::min(length, ahead_.size());
  std::memcpy(bounce_, ahead_.data(), done);
  ahead_.erase(0, done);
  while (done < length) {
    const ssize_t got = recv(socket_, bounce_ + done, length - done, 0);
    if (got > 0) {
      done += static_cast<std::size_t>(got);
    } else if (got == 0) {
      return -ECONNRESET;
    } else if (errno == EAGAIN) {
      if (const int error = wait_for(POLLIN, fetch.silence_ms); error < 0) return error;
    } else if (errno != EINTR) {
      return -errno;
    }
  }
  return 0;
}

// One reply, told to JavaScript whatever it is; an error means that the socket is of no more use.
int Stream::receive(const Fetch& fetch) {
  std::string head;
  Reply reply;
  if (const int error = receive_head(fetch, &head); error < 0) return error;
  if (!is_used_ && peer_->is_own_user_only && !is_own_user(socket_)) return -EACCES;
  if (!parse_reply(head, &reply)) return -EPROTO;
  if (reply.status != 206) {
    if (reply.length > REFUSAL_BYTES_MAX) return -EPROTO;
    if (const int error = receive_body(fetch, reply.length); error < 0) return error;
    tell(fetch, 0, reply.status);
    return 0;
  }
  if (reply.length != fetch.length || !reply.has_hash) return -EPROTO;
  if (const int error = receive_body(fetch, fetch.length); error < 0) return error;
  Id computed;
  hash_chunk(bounce_, fetch.length, computed.data());
  const bool is_true =
      computed == reply.hash && (!fetch.has_expected || computed == fetch.expected);
  const int error = is_true ? write_whole(fetch.to, bounce_, fetch.length, fetch.offset) : -EBADMSG;
  tell(fetch, error, reply.status, &computed, &reply.hash);
  return 0;
}

void Stream::fail_all(int error) {
  for (const Fetch& fetch : on_the_way_) tell(fetch, error, 0);
  on_the_way_.clear();
}

// What waits for a stream of a silent peer would be told so only after as long a silence again.
void Stream::fail_waiting(int error) {
  std::deque<Fetch> waiting;
  {
    const std::lock_guard lock(peer_->mutex);
    waiting.swap(peer_->queue);
  }
  for (const Fetch& fetch : waiting) tell(fetch, error, 0);
}

// Sends the heads that are not sent, on a new socket if there is none. Connecting and waiting for
// the first byte of a reply share one time of silence.
int Stream::start_all() {
  deadline_ms_ = now_ms() + on_the_way_.front().silence_ms;
  if (has_byte_) extend_deadline(on_the_way_.front().silence_ms);
  if (socket_ < 0) {
    const int error = connect_to_peer(on_the_way_.front().silence_ms);
    if (error < 0) return error;
  }
  for (; sent_ < on_the_way_.size(); sent_++) {
    if (const int error = send_all(on_the_way_[sent_].head); error < 0) return error;
  }
  return 0;
}

// Takes work; waits for it when there is none under way. False: the peer is closed.
bool Stream::fill() {
  std::unique_lock lock(peer_->mutex);
  if (on_the_way_.empty()) {
    peer_->idle_streams++;
    peer_->wanted.wait(lock, [this] { return !peer_->queue.empty() || peer_->is_closed; });
    peer_->idle_streams--;
  }
  while (on_the_way_.size() < PIPELINE_MAX && !peer_->queue.empty()) {
    if (!on_the_way_.empty() && peer_->queue.size() <= peer_->idle_streams) break;
    on_the_way_.push_back(std::move(peer_->queue.front()));
    peer_->queue.pop_front();
  }
  return !on_the_way_.empty();
}

void Stream::run() {
  block_signals();
  while (fill()) {
    has_byte_ = !ahead_.empty();
    int error = start_all();
    if (error == 0) error = receive(on_the_way_.front());
    const bool was_idle = error < 0 && is_used_ && !has_byte_;
    if (error < 0) disconnect();
    if (was_idle && error != -ETIMEDOUT) {
      error = start_all();
      if (error == 0) error = receive(on_the_way_.front());
      if (error < 0) disconnect();
    }
    if (error < 0) {
      fail_all(error);
      if (error == -ETIMEDOUT) fail_waiting(error);
      continue;
    }
    on_the_way_.pop_front();
    sent_--;
    is_used_ = true;
  }
  disconnect();
}

}  // namespace

std::shared_ptr<Peer> peer_open(const std::string& host, int port, std::uint32_t streams,
                                bool is_own_user_only) {
  WARMPATH_CHECK(streams > 0 && streams <= PEER_STREAMS_MAX);
  auto peer = std::make_shared<Peer>();
  peer->host = host;
  peer->port = std::to_string(port);
  peer->is_own_user_only = is_own_user_only;
  for (std::uint32_t i = 0; i < streams; i++) {
    std::thread([peer] { Stream(peer).run(); }).detach();
  }
  return peer;
}

bool peer_fetch(Peer& peer, Fetch fetch) {
  WARMPATH_CHECK(fetch.length <= CHUNK_BYTES_MAX && fetch.silence_ms > 0);
  const std::lock_guard lock(peer.mutex);
  if (peer.is_closed || peer.queue.size() >= PEER_FETCHES_MAX) return false;
  peer.queue.push_back(std::move(fetch));
  peer.wanted.notify_one();
  return true;
}

void peer_close(Peer& peer) {
  const std::lock_guard lock(peer.mutex);
  peer.is_closed = true;
  for (const Fetch& fetch : peer.queue) tell(fetch, -ECANCELED, 0);
  peer.queue.clear();
  peer.wanted.notify_all();
}

}  // namespace warmpath::model_cache
