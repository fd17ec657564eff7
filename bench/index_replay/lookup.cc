// Lookups at several prompt lengths, of chains that 64 nodes hold.
//
//   chain A   [ 16 blocks of a system prompt | half | rest A ]     2 to 3 runs, as real prompts
//   chain B   [ the same                     | same | rest B ]
//
//   held      every block is there         cut   the query leaves the chain at a random depth
//   unknown   the first block is not there
//
//   cold      the caches were filled with other data, then a chain of another length was looked up:
//             the code and the query's own keys are warm (they were just hashed), what the chain
//             lies in is not
//   hot       the same lookup again and again
//
// Flat map and index take turns, lookup by lookup, and must give the same answers.
#include "index_replay/lookup.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <vector>

#include "index_replay/churn.h"
#include "index_replay/flat_map.h"
#include "prefix_index/prefix_index.h"

namespace bench {

namespace {

constexpr uint32_t LENGTHS[] = {64, 767, 8192};
constexpr uint32_t SYSTEM_BLOCKS = 16;
constexpr uint32_t NODES = 64;
// More than the last-level cache of the machines at hand.
constexpr uint64_t SWEEP_BYTES = uint64_t{48} << 20;
constexpr uint32_t HOT_REPEATS = 64;

using Keys = std::vector<uint64_t>;

struct Fleet {
  std::unique_ptr<warmpath::PrefixIndex> index;
  std::unique_ptr<FlatMap> flat;
  std::vector<Keys> chains[std::size(LENGTHS)];
  uint64_t distinct = 0;
  double index_seconds = 0;
  double flat_seconds = 0;
  uint64_t stored = 0;
};

struct Answer {
  uint32_t count = 0;
  uint32_t slots[warmpath::SLOTS_MAX];
  uint32_t depths[warmpath::SLOTS_MAX];
};

uint64_t digest(const Answer& answer) {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < answer.count; i++) {
    sum += warmpath::scramble(uint64_t{answer.slots[i]} << 32 | answer.depths[i]);
  }
  return sum;
}

void store(Fleet* fleet, uint32_t slot, const Keys& keys, const Keys& hashes, uint64_t root) {
  std::vector<uint64_t> ops = {
      warmpath::OP_STORE | warmpath::STORE_HASHED << 8 | uint64_t{keys.size()} << 32, 0, root};
  for (const uint64_t key : keys) ops.push_back(warmpath::scramble(key ^ 1));
  ops.insert(ops.end(), hashes.begin(), hashes.end());
  double start = cpu_seconds();
  fleet->index->apply(slot, 0, ops.data(), ops.size(), nullptr, 0);
  fleet->index_seconds += cpu_seconds() - start;
  start = cpu_seconds();
  fleet->flat->store(slot, keys.data(), static_cast<uint32_t>(keys.size()));
  fleet->flat_seconds += cpu_seconds() - start;
  fleet->stored += keys.size();
}

void build(Fleet* fleet, uint64_t blocks) {
  constexpr uint64_t ROOT = 12345;
  uint64_t next = 1;
  for (uint32_t l = 0; l < std::size(LENGTHS); l++) {
    const uint32_t length = LENGTHS[l];
    Keys hashes;
    for (uint64_t made = 0; made < blocks / std::size(LENGTHS);) {
      const bool is_second = fleet->chains[l].size() % 2 == 1;
      const uint32_t kept = is_second ? length / 2 : SYSTEM_BLOCKS;
      if (hashes.empty()) {
        for (uint32_t i = 0; i < length; i++) hashes.push_back(warmpath::scramble(~uint64_t{i}));
      }
      for (uint32_t i = kept; i < length; i++) hashes[i] = warmpath::scramble(next++);
      Keys keys(length);
      uint64_t key = ROOT;
      for (uint32_t i = 0; i < length; i++) keys[i] = key = warmpath::chain_mix(key, hashes[i]);
      const auto slot = static_cast<uint32_t>(fleet->chains[l].size() % NODES);
      store(fleet, slot, keys, hashes, ROOT);
      fleet->chains[l].push_back(std::move(keys));
      made += length - kept;
    }
  }
  fleet->distinct = fleet->flat->size();
}

class Timer {
 public:
  Timer() : sweep_(SWEEP_BYTES / 8, 1) {}

  void sweep() {
    for (uint64_t i = 0; i < sweep_.size(); i += 8) sum_ += sweep_[i]++;
  }
  template <typename Call>
  static double nanoseconds(Call&& call) {
    const auto start = std::chrono::steady_clock::now();
    call();
    const auto end = std::chrono::steady_clock::now();
    return std::chrono::duration<double, std::nano>(end - start).count();
  }
  uint64_t sum() const { return sum_; }

 private:
  std::vector<uint64_t> sweep_;
  uint64_t sum_ = 0;
};

double quantile(std::vector<double>* values, double q) {
  std::sort(values->begin(), values->end());
  return (*values)[static_cast<size_t>(q * static_cast<double>(values->size() - 1))];
}

struct Case {
  const char* name;
  uint32_t length;
  std::vector<double> times[2][2];  // [flat, index][cold, hot]
};

Keys query(const Keys& chain, const char* kind, uint64_t seed) {
  Keys keys = chain;
  uint64_t from = keys.size();
  if (kind[0] == 'c') from = 1 + warmpath::scramble(seed) % (keys.size() - 1);
  if (kind[0] == 'u') from = 0;
  for (uint64_t i = from; i < keys.size(); i++) keys[i] = warmpath::scramble(seed + i) | 2;
  return keys;
}

bool sample(const Fleet& fleet, Timer* timer, Case* one, const Keys& keys, const Keys& other) {
  Answer answers[2];
  const auto count = static_cast<uint32_t>(keys.size());
  const auto look_up = [&](int which, const Keys& what, uint32_t length) {
    Answer& out = answers[which];
    out.count = which == 0 ? fleet.flat->match(what.data(), length, out.slots, out.depths)
                           : fleet.index->match(what.data(), length, out.slots, out.depths);
  };
  const auto look = [&](int which) { look_up(which, keys, count); };
  uint64_t warm = 0;
  for (int which = 0; which < 2; which++) {
    timer->sweep();
    look_up(which, other, std::min<uint32_t>(static_cast<uint32_t>(other.size()), 64));
    for (const uint64_t key : keys) warm ^= key;
    answers[which].count = static_cast<uint32_t>(warm & 1);
    one->times[which][0].push_back(Timer::nanoseconds([&] { look(which); }));
    const double all = Timer::nanoseconds([&] {
      for (uint32_t i = 0; i < HOT_REPEATS; i++) look(which);
    });
    one->times[which][1].push_back(all / HOT_REPEATS);
  }
  return digest(answers[0]) == digest(answers[1]);
}

void print(Case* one) {
  std::printf("{\"case\":\"%s\",\"blocks\":%u", one->name, one->length);
  const char* names[2][2] = {{"flat_cold", "flat_hot"}, {"index_cold", "index_hot"}};
  for (int which = 0; which < 2; which++) {
    for (int heat = 0; heat < 2; heat++) {
      auto* times = &one->times[which][heat];
      std::printf(",\"%s_ns_p50\":%.0f,\"%s_ns_p99\":%.0f", names[which][heat],
                  quantile(times, 0.5), names[which][heat], quantile(times, 0.99));
    }
  }
  std::printf("}");
}

}  // namespace

void run_lookups(uint64_t blocks, uint32_t samples) {
  Fleet fleet;
  fleet.index =
      std::make_unique<warmpath::PrefixIndex>(16, uint64_t{1} << 32, warmpath::OrphanLimits{});
  uint64_t places = 1024;
  while (places < blocks * 2) places *= 2;
  fleet.flat = std::make_unique<FlatMap>(places);
  build(&fleet, blocks);
  Timer timer;
  bool is_same = true;
  std::printf(
      "{\"distinct\":%llu,\"index_build_ns_per_block\":%.1f,\"flat_build_ns_per_block\":%.1f,"
      "\"lookups\":[",
      static_cast<unsigned long long>(fleet.distinct),
      fleet.index_seconds / static_cast<double>(fleet.stored) * 1e9,
      fleet.flat_seconds / static_cast<double>(fleet.stored) * 1e9);
  bool is_first = true;
  for (uint32_t l = 0; l < std::size(LENGTHS); l++) {
    for (const char* kind : {"held", "cut", "unknown"}) {
      Case one = {kind, LENGTHS[l], {}};
      for (uint32_t i = 0; i < samples; i++) {
        const auto& chains = fleet.chains[l];
        const Keys& chain = chains[warmpath::scramble(i * 31 + l) % chains.size()];
        const auto& others = fleet.chains[(l + 1) % std::size(LENGTHS)];
        const Keys& other = others[i % others.size()];
        is_same = sample(fleet, &timer, &one, query(chain, kind, i), other) && is_same;
      }
      if (!is_first) std::printf(",");
      is_first = false;
      print(&one);
    }
  }
  std::printf("],\"same_answers\":%s}\n", is_same && timer.sum() > 0 ? "true" : "false");
}

}  // namespace bench
