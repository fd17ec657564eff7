#include "closed_loop.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <memory>
#include <string>
#include <vector>

#include "../wire/clock.h"
#include "reply_reader.h"
#include "request_text.h"
#include "socket.h"

namespace load {

namespace {

constexpr size_t READ_BYTES = 256 * 1024;
constexpr int EVENTS_MAX = 256;
constexpr uint64_t US_NS = 1000;
constexpr uint64_t MS_NS = 1'000'000;
/** Longest wait of the loop: only the start of staggered lanes needs less. */
constexpr uint64_t WAIT_NS_MAX = 100 * MS_NS;
/** Connections lost or refused in a row after which the run is given up. */
constexpr uint64_t ERRORS_MAX = 1000;

struct Lane {
  Lane(Histogram* transit, const Options& options) : reply(transit, options) {}

  int fd = -1;
  bool is_busy = false;
  uint64_t sent_ns = 0;
  std::string unsent;
  Conversation conversation;
  ReplyReader reply;
};

class ClosedLoop {
 public:
  explicit ClosedLoop(const Options& options)
      : options_(options), target_(options.targets[0]), text_(options, target_) {
    scratch_.resize(READ_BYTES);
    epoll_ = epoll_create1(EPOLL_CLOEXEC);
    for (uint32_t i = 0; i < options.connections; i++) {
      lanes_.push_back(std::make_unique<Lane>(&results_.transit, options));
      open_lane(i);
    }
  }

  ~ClosedLoop() {
    for (const auto& lane : lanes_) {
      if (lane->fd >= 0) close(lane->fd);
    }
    close(epoll_);
  }

  Results run() {
    begin_ns_ = wire::now_ns();
    epoll_event events[EVENTS_MAX];
    while (started_ < lanes_.size() || busy_ > 0) {
      const uint64_t wait_ns = start_due_lanes();
      const timespec wait{0, static_cast<long>(wait_ns)};
      const int count = epoll_pwait2(epoll_, events, EVENTS_MAX, &wait, nullptr);
      if (count < 0 && errno != EINTR) break;
      for (int i = 0; i < count; i++) {
        Lane& lane = *lanes_[events[i].data.u32];
        if ((events[i].events & EPOLLOUT) != 0 && !lane.unsent.empty())
          send_rest(events[i].data.u32);
        if ((events[i].events & ~static_cast<uint32_t>(EPOLLOUT)) != 0)
          read_lane(events[i].data.u32);
      }
      if (results_.errors > ERRORS_MAX) break;
    }
    results_.wall_ns = wire::now_ns() - begin_ns_;
    return results_;
  }

 private:
  bool may_send() const {
    if (options_.requests > 0 && sent_ >= options_.requests) return false;
    if (options_.duration_ms == 0) return true;
    return wire::now_ns() - begin_ns_ < options_.duration_ms * MS_NS;
  }

  /** Starts the lanes whose time has come; returns how long the loop may sleep. */
  uint64_t start_due_lanes() {
    while (started_ < lanes_.size()) {
      const uint64_t due_ns = begin_ns_ + started_ * options_.stagger_us * US_NS;
      const uint64_t now_ns = wire::now_ns();
      if (due_ns > now_ns) return std::min(due_ns - now_ns, WAIT_NS_MAX);
      send_next(static_cast<uint32_t>(started_++));
    }
    return busy_ == 0 ? 0 : WAIT_NS_MAX;
  }

  void open_lane(uint32_t index) {
    Lane& lane = *lanes_[index];
    assert(lane.fd < 0);
    lane.fd = connect_to(target_);
    if (lane.fd < 0) return;
    if (options_.is_websocket && !upgrade(lane.fd, options_, target_)) {
      close(lane.fd);
      lane.fd = -1;
      return;
    }
    set_non_blocking(lane.fd);
    watch(index, EPOLL_CTL_ADD, EPOLLIN);
  }

  void watch(uint32_t index, int change, uint32_t interest) {
    epoll_event event{};
    event.events = interest;
    event.data.u32 = index;
    epoll_ctl(epoll_, change, lanes_[index]->fd, &event);
  }

  void send_next(uint32_t index) {
    Lane& lane = *lanes_[index];
    // A lane that cannot connect tries again with its next request, so a refusing target ends
    // the run by ERRORS_MAX and not by the stack.
    while (may_send()) {
      if (lane.fd < 0) open_lane(index);
      sent_++;
      if (lane.fd < 0) {
        results_.add_error("connection refused");
        if (results_.errors > ERRORS_MAX) return;
        continue;
      }
      const std::string& request = text_.compose(sent_, lane.conversation);
      lane.reply.start(sent_);
      lane.is_busy = true;
      busy_++;
      lane.sent_ns = wire::now_ns();
      const ssize_t sent = send(lane.fd, request.data(), request.size(), MSG_NOSIGNAL);
      const size_t taken = sent > 0 ? static_cast<size_t>(sent) : 0;
      if (taken < request.size()) {
        lane.unsent = request.substr(taken);
        watch(index, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
      }
      return;
    }
  }

  void send_rest(uint32_t index) {
    Lane& lane = *lanes_[index];
    const ssize_t sent = send(lane.fd, lane.unsent.data(), lane.unsent.size(), MSG_NOSIGNAL);
    if (sent > 0) lane.unsent.erase(0, static_cast<size_t>(sent));
    if (lane.unsent.empty()) watch(index, EPOLL_CTL_MOD, EPOLLIN);
  }

  void read_lane(uint32_t index) {
    Lane& lane = *lanes_[index];
    if (lane.fd < 0) return;
    const ssize_t got = recv(lane.fd, scratch_.data(), READ_BYTES, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    const uint64_t read_ns = wire::now_ns();
    ReplyState state;
    if (got > 0) {
      state = lane.is_busy ? lane.reply.feed({scratch_.data(), static_cast<size_t>(got)}, read_ns)
                           : ReplyState::broken;
    } else {
      state = lane.is_busy ? lane.reply.closed() : ReplyState::done;
    }
    if (state == ReplyState::reading) return;
    const bool was_busy = lane.is_busy;
    if (was_busy) {
      lane.is_busy = false;
      busy_--;
      if (state == ReplyState::done) {
        results_.add_reply(options_, lane.reply, lane.sent_ns, read_ns);
      } else {
        results_.add_error(got > 0 ? "a reply that cannot be read" : "connection closed early");
      }
    }
    if (got <= 0 || state == ReplyState::broken || lane.reply.closes()) {
      close(lane.fd);
      lane.fd = -1;
      lane.unsent.clear();
      results_.reconnects++;
    }
    if (was_busy) send_next(index);
  }

  const Options& options_;
  const Target& target_;
  RequestText text_;
  Results results_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::string scratch_;
  int epoll_ = -1;
  uint64_t begin_ns_ = 0;
  uint64_t sent_ = 0;
  size_t started_ = 0;
  size_t busy_ = 0;
};

}  // namespace

Results run_closed_loop(const Options& options) {
  ClosedLoop loop(options);
  return loop.run();
}

}  // namespace load
