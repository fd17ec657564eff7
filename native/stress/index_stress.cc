// Stress of the prefix index: one writer, several readers, one thread that hides slots.
//
// Every chain of every slot has a word {version, least, most} which the writer sets before and
// after each operation:
//
//   before  {v + 1, min(old, new), max(old, new)}     the depth is somewhere between
//   after   {v + 2, new, new}                         the depth is exactly this
//
// A reader that finds the same word before and after its lookup knows what the depth may be. More
// than `most` is a phantom: the program ends. Less than `least` is a short answer, which a reader
// may give when the writer was in its way again and again; such answers are counted, and must be
// rare. A slot that was hidden before a lookup, with no clear begun since before the hide, must not
// be named at all.
//
// Chains fork in the middle by the parity of the slot, all slots share them, and a slot of junk
// makes tables grow, shrink and be rebuilt all the time.
//
// Usage: index_stress SECONDS SEED
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

#include "check.h"
#include "prefix_index/prefix_index.h"
#include "stress/stress.h"

namespace warmpath {

namespace {

constexpr uint32_t SLOTS = 6;
constexpr uint32_t CHAINS = 12;
constexpr uint32_t LENGTH = 96;
constexpr uint32_t READERS = 3;
constexpr uint32_t JUNK_SLOT = SLOTS;
constexpr uint32_t JUNK_RUNS = 400;
// Short answers among a thousand lookups that are still called rare.
constexpr uint64_t SHORT_PER_MILLE_MAX = 50;

uint64_t fact(uint64_t version, uint64_t least, uint64_t most) {
  return version << 32 | least << 16 | most;
}

struct Shared {
  PrefixIndex index{1, uint64_t{1} << 27, {}};
  std::atomic<uint64_t> facts[SLOTS][CHAINS] = {};
  std::atomic<uint64_t> hides[SLOTS] = {};       // rises before each hide
  std::atomic<uint64_t> clears[SLOTS] = {};      // rises before and after each clear
  std::atomic<uint64_t> hidden_at[SLOTS] = {};   // clears when a hide was done, + 1; 0 = never
  std::atomic<uint64_t> visible_at[SLOTS] = {};  // hides when the last clear began
  std::atomic<bool> is_over = false;
  std::atomic<uint64_t> lookups = 0;
  std::atomic<uint64_t> short_answers = 0;
  std::vector<uint32_t> tokens[2][CHAINS];
  std::vector<uint64_t> keys[2][CHAINS];

  Shared() {
    for (uint32_t fork = 0; fork < 2; fork++) {
      for (uint32_t chain = 0; chain < CHAINS; chain++) {
        for (uint32_t i = 0; i < LENGTH; i++) {
          tokens[fork][chain].push_back(chain * 1000 + i + (i < LENGTH / 2 ? 0 : fork * 500));
        }
        keys[fork][chain].resize(LENGTH);
        chain_keys(7, tokens[fork][chain].data(), LENGTH, 1, keys[fork][chain].data());
      }
    }
  }
};

// The writer: grows and shrinks chains, clears slots, makes junk.
class Writer {
 public:
  Writer(Shared& shared, uint64_t seed) : shared_(shared), random_{seed} {}

  void run() {
    while (!shared_.is_over.load()) {
      const uint32_t kind = random_(100);
      if (kind < 60) {
        move(random_(SLOTS), random_(CHAINS));
      } else if (kind < 98) {
        junk();
      } else {
        clear(random_(SLOTS));
      }
    }
    for (uint32_t slot = 0; slot <= JUNK_SLOT; slot++) shared_.index.remove_slot(slot);
    shared_.index.verify();
    double stats[STATS_COUNT];
    shared_.index.stats(stats);
    WARMPATH_CHECK(stats[0] == 0 && stats[2] == 0);
  }

 private:
  uint64_t hash_of(uint32_t slot, uint32_t chain, uint32_t i) const {
    return scramble(shared_.keys[slot % 2][chain][i]);
  }

  // The chain gets another length in one batch.
  void move(uint32_t slot, uint32_t chain) {
    const uint32_t old = lengths_[slot][chain];
    uint32_t next = random_(LENGTH + 1);
    if (random_(2) == 0) next = old < LENGTH ? old + 1 : old - 1;
    ops_.clear();
    for (uint32_t i = old; i > next; i--) {
      ops_.insert(ops_.end(), {OP_REMOVE_ONE, hash_of(slot, chain, i - 1)});
    }
    if (next > old) {
      const uint64_t flags = old > 0 ? STORE_HAS_PARENT : 0;
      ops_ = {OP_STORE | flags << 8 | uint64_t{next - old} << 32, next - old, 7};
      if (old > 0) ops_.push_back(hash_of(slot, chain, old - 1));
      for (uint32_t i = old; i < next; i++) ops_.push_back(hash_of(slot, chain, i));
    }
    std::atomic<uint64_t>& word = shared_.facts[slot][chain];
    const uint64_t version = word.load() >> 32;
    word.store(fact(version + 1, std::min(old, next), std::max(old, next)));
    const uint32_t* tokens = shared_.tokens[slot % 2][chain].data() + old;
    shared_.index.apply(slot, 1, ops_.data(), ops_.size(), tokens, next > old ? next - old : 0);
    word.store(fact(version + 2, next, next));
    lengths_[slot][chain] = next;
  }

  void clear(uint32_t slot) {
    shared_.clears[slot].fetch_add(1);
    const uint64_t hides = shared_.hides[slot].load();
    for (uint32_t chain = 0; chain < CHAINS; chain++) {
      std::atomic<uint64_t>& word = shared_.facts[slot][chain];
      word.store(fact((word.load() >> 32) + 1, 0, lengths_[slot][chain]));
    }
    shared_.index.clear_slot(slot);
    for (uint32_t chain = 0; chain < CHAINS; chain++) {
      std::atomic<uint64_t>& word = shared_.facts[slot][chain];
      word.store(fact((word.load() >> 32) + 1, 0, 0));
      lengths_[slot][chain] = 0;
    }
    shared_.visible_at[slot].store(hides);
    shared_.clears[slot].fetch_add(1);
  }

  // Runs that come and go: heads, engine entries and arena space are used again and again.
  void junk() {
    const uint32_t which = random_(JUNK_RUNS);
    const uint64_t count = 1 + junk_[which] % 30;
    ops_.clear();
    if (junk_[which] == 0) {
      junk_[which] = next_junk_++ << 10 | random_(1000) | 1;
      const uint64_t blocks = 1 + junk_[which] % 30;
      ops_ = {OP_STORE | STORE_HASHED << 8 | blocks << 32, 0, 9};
      for (uint64_t i = 0; i < blocks; i++) ops_.push_back(scramble(junk_[which] << 8 | i));
      for (uint64_t i = 0; i < blocks; i++) ops_.push_back(scramble(junk_[which] << 9 | i));
    } else {
      for (uint64_t i = count; i-- > 0;) {
        ops_.insert(ops_.end(), {OP_REMOVE_ONE, scramble(junk_[which] << 8 | i)});
      }
      junk_[which] = 0;
    }
    shared_.index.apply(JUNK_SLOT, 1, ops_.data(), ops_.size(), nullptr, 0);
  }

  Shared& shared_;
  Random random_;
  uint32_t lengths_[SLOTS][CHAINS] = {};
  uint64_t junk_[JUNK_RUNS] = {};
  uint64_t next_junk_ = 1;
  std::vector<uint64_t> ops_;
};

void hide(Shared* shared, uint64_t seed) {
  Random random{seed};
  while (!shared->is_over.load()) {
    const uint32_t slot = random(SLOTS);
    const uint64_t clears = shared->clears[slot].load();
    shared->hides[slot].fetch_add(1);
    shared->index.hide_slot(slot);
    if (clears % 2 == 0 && shared->clears[slot].load() == clears) {
      shared->hidden_at[slot].store(clears + 1);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

void read(Shared* shared, uint64_t seed) {
  Random random{seed};
  uint32_t slots[SLOTS_MAX];
  uint32_t depths[SLOTS_MAX];
  while (!shared->is_over.load()) {
    const uint32_t fork = random(2);
    const uint32_t chain = random(CHAINS);
    uint64_t before[SLOTS];
    uint64_t hidden[SLOTS];
    uint64_t hides[SLOTS];
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
      before[slot] = shared->facts[slot][chain].load();
      hidden[slot] = shared->hidden_at[slot].load();
      hides[slot] = shared->visible_at[slot].load();
    }
    const uint32_t found =
        shared->index.match(shared->keys[fork][chain].data(), LENGTH, slots, depths);
    uint32_t depth[SLOTS] = {};
    for (uint32_t i = 0; i < found; i++) {
      WARMPATH_CHECK(slots[i] < SLOTS && depths[i] > 0);
      depth[slots[i]] = depths[i];
    }
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
      if (hidden[slot] != 0 && shared->clears[slot].load() + 1 == hidden[slot]) {
        WARMPATH_CHECK(depth[slot] == 0);
        continue;
      }
      if (shared->facts[slot][chain].load() != before[slot]) continue;
      const uint32_t bound = slot % 2 == fork ? LENGTH : LENGTH / 2;
      const auto least = std::min(bound, static_cast<uint32_t>(before[slot] >> 16 & 0xffff));
      const auto most = std::min(bound, static_cast<uint32_t>(before[slot] & 0xffff));
      WARMPATH_CHECK(depth[slot] <= most);
      const bool is_visible = shared->hides[slot].load() == hides[slot];
      if (depth[slot] < least && is_visible) shared->short_answers.fetch_add(1);
    }
    shared->lookups.fetch_add(1);
  }
}

}  // namespace

}  // namespace warmpath

int main(int argc, char** argv) {
  const int seconds = argc > 1 ? std::atoi(argv[1]) : 5;
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  auto shared = std::make_unique<warmpath::Shared>();
  warmpath::Writer writer(*shared, seed);
  std::vector<std::thread> threads;
  threads.emplace_back([&] { writer.run(); });
  threads.emplace_back(warmpath::hide, shared.get(), seed + 1);
  for (uint32_t i = 0; i < warmpath::READERS; i++) {
    threads.emplace_back(warmpath::read, shared.get(), seed + 2 + i);
  }
  std::this_thread::sleep_for(std::chrono::seconds(seconds));
  shared->is_over.store(true);
  for (std::thread& thread : threads) thread.join();
  const uint64_t lookups = shared->lookups.load();
  const uint64_t shorts = shared->short_answers.load();
  std::printf("{\"lookups\":%llu,\"short\":%llu}\n", static_cast<unsigned long long>(lookups),
              static_cast<unsigned long long>(shorts));
  WARMPATH_CHECK(lookups > 0);
  WARMPATH_CHECK(shorts * 1000 <= lookups * warmpath::SHORT_PER_MILLE_MAX);
  return 0;
}
