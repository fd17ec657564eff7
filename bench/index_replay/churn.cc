// Churn: every request of the trace is looked up, then its steps are applied. Flat map and index
// take turns, round by round; the null run is the index once more.
#include "index_replay/churn.h"

#include <ctime>
#include <memory>

#include "index_replay/flat_map.h"
#include "prefix_index/prefix_index.h"

namespace bench {

double cpu_seconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

namespace {

struct Outputs {
  uint32_t slots[warmpath::SLOTS_MAX];
  uint32_t depths[warmpath::SLOTS_MAX];
};

// Sums the answers, so that two implementations can be held against each other.
uint64_t digest(const Outputs& out, uint32_t found) {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < found; i++) {
    sum += warmpath::scramble(uint64_t{out.slots[i]} << 32 | out.depths[i]);
  }
  return sum;
}

}  // namespace

ChurnResult churn_flat(const Trace& trace, uint64_t places) {
  auto map = std::make_unique<FlatMap>(places);
  auto out = std::make_unique<Outputs>();
  ChurnResult result;
  const double start = cpu_seconds();
  for (const Request& request : trace.requests) {
    const uint32_t found =
        map->match(&trace.keys[request.keys], request.count, out->slots, out->depths);
    result.digest += digest(*out, found);
    for (uint32_t i = 0; i < request.step_count; i++) {
      const Step& step = trace.steps[request.steps + i];
      map->remove(step.slot, &trace.keys[step.keys], step.removed);
      map->store(step.slot, &trace.keys[step.keys + step.removed], step.stored);
    }
  }
  result.seconds = cpu_seconds() - start;
  result.bytes = map->bytes();
  result.distinct = map->size();
  return result;
}

ChurnResult churn_index(const Trace& trace, uint64_t bytes_max) {
  auto index =
      std::make_unique<warmpath::PrefixIndex>(BLOCK_SIZE, bytes_max, warmpath::OrphanLimits{});
  auto out = std::make_unique<Outputs>();
  ChurnResult result;
  const double start = cpu_seconds();
  for (const Request& request : trace.requests) {
    const uint32_t found =
        index->match(&trace.keys[request.keys], request.count, out->slots, out->depths);
    result.digest += digest(*out, found);
    for (uint32_t i = 0; i < request.step_count; i++) {
      const Step& step = trace.steps[request.steps + i];
      index->apply(step.slot, 0, &trace.words[step.words], step.word_count,
                   trace.tokens.data() + step.tokens, step.token_count);
    }
  }
  result.seconds = cpu_seconds() - start;
  double stats[warmpath::STATS_COUNT];
  index->stats(stats);
  result.held = static_cast<uint64_t>(stats[0]);
  result.distinct = static_cast<uint64_t>(stats[1]);
  result.runs = static_cast<uint64_t>(stats[2]);
  result.merges = static_cast<uint64_t>(stats[15]);
  result.bytes = static_cast<uint64_t>(stats[7]);
  result.bytes_reserved = static_cast<uint64_t>(stats[17]);
  result.is_clean = stats[11] == 0 && stats[12] == 0 && stats[13] == 0 && stats[3] == 0;
  return result;
}

}  // namespace bench
