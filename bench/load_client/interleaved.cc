#include "interleaved.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <string>

#include "../wire/clock.h"
#include "reply_reader.h"
#include "request_text.h"
#include "socket.h"

namespace load {

namespace {

constexpr size_t READ_BYTES = 256 * 1024;
/** Rounds that warm connections and compilers and are not counted: one in ten. */
constexpr uint64_t WARM_UP_SHARE = 10;
constexpr double NS_PER_MS = 1e6;
/** Standard deviations of the normal distribution that hold 95 %. */
constexpr double NORMAL_95 = 1.96;

struct Side {
  Side(const Options& options, const Target& to)
      : target(to), text(options, to), reply(&paired.results.transit, options) {}

  const Target& target;
  RequestText text;
  Conversation conversation;
  Paired paired;
  ReplyReader reply;
  int fd = -1;
  std::vector<double> added_ns;
};

/** One request and its reply; the latency in ns, or 0 after a fault. */
uint64_t exchange(const Options& options, Side& side, uint64_t number, std::string& scratch) {
  Results& results = side.paired.results;
  if (side.fd < 0) side.fd = connect_to(side.target);
  if (side.fd < 0) {
    results.add_error("connection refused");
    return 0;
  }
  const std::string& request = side.text.compose(number, side.conversation);
  side.reply.start(number);
  const uint64_t sent_ns = wire::now_ns();
  ReplyState state = ReplyState::broken;
  uint64_t read_ns = sent_ns;
  if (send(side.fd, request.data(), request.size(), MSG_NOSIGNAL) ==
      static_cast<ssize_t>(request.size())) {
    do {
      const ssize_t got = recv(side.fd, scratch.data(), READ_BYTES, 0);
      read_ns = wire::now_ns();
      state = got > 0 ? side.reply.feed({scratch.data(), static_cast<size_t>(got)}, read_ns)
                      : side.reply.closed();
    } while (state == ReplyState::reading);
  }
  const bool is_done = state == ReplyState::done;
  if (is_done) {
    results.add_reply(options, side.reply, sent_ns, read_ns);
  } else {
    results.add_error("a reply that cannot be read");
  }
  if (!is_done || side.reply.closes()) {
    close(side.fd);
    side.fd = -1;
    results.reconnects++;
  }
  return is_done ? read_ns - sent_ns : 0;
}

void conclude(Side& side) {
  std::vector<double>& added = side.added_ns;
  if (added.empty()) return;
  std::sort(added.begin(), added.end());
  const double count = static_cast<double>(added.size());
  const auto at = [&](double rank) {
    return added[static_cast<size_t>(std::clamp(rank, 0.0, count - 1))] / NS_PER_MS;
  };
  const double spread = NORMAL_95 * std::sqrt(count) / 2;
  side.paired.added_p50_ms = at(count / 2);
  side.paired.added_p50_low_ms = at(std::floor(count / 2 - spread));
  side.paired.added_p50_high_ms = at(std::ceil(count / 2 + spread));
  side.paired.added_p99_ms = at(count * 0.99);
}

}  // namespace

std::vector<Paired> run_interleaved(const Options& options) {
  std::vector<std::unique_ptr<Side>> sides;
  for (const Target& target : options.targets) {
    sides.push_back(std::make_unique<Side>(options, target));
  }
  std::mt19937_64 random(options.seed);
  std::vector<size_t> order(sides.size());
  for (size_t i = 0; i < order.size(); i++) order[i] = i;
  std::vector<uint64_t> latency_ns(sides.size());
  std::string scratch(READ_BYTES, 0);
  const uint64_t begin_ns = wire::now_ns();
  const uint64_t warm_up = options.requests / WARM_UP_SHARE;
  uint64_t number = 0;
  for (uint64_t round = 0; round < options.requests + warm_up; round++) {
    if (round == warm_up) {
      for (const auto& side : sides) side->paired.results = Results();
    }
    std::shuffle(order.begin(), order.end(), random);
    for (const size_t i : order) latency_ns[i] = exchange(options, *sides[i], ++number, scratch);
    if (round < warm_up || latency_ns[0] == 0) continue;
    for (size_t i = 0; i < sides.size(); i++) {
      if (latency_ns[i] == 0) continue;
      sides[i]->added_ns.push_back(static_cast<double>(latency_ns[i]) -
                                   static_cast<double>(latency_ns[0]));
    }
  }
  std::vector<Paired> all;
  for (const auto& side : sides) {
    conclude(*side);
    side->paired.results.wall_ns = wire::now_ns() - begin_ns;
    if (side->fd >= 0) close(side->fd);
    all.push_back(side->paired);
  }
  return all;
}

}  // namespace load
