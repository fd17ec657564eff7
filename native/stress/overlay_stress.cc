// Stress of the overlay: threads that predict, threads that look up, one that forgets.
//
// The table is lossy, so a lookup may answer less than was predicted; it may never answer more.
// Slot s predicts at most PREDICTED[s] blocks of any chain, the upper half of the slots predicts
// nothing, and a prediction is dead TTL_MS after the clock was read for it: each of these is
// checked in every answer. At the end, with all threads gone, a prediction must be found whole.
//
// Usage: overlay_stress SECONDS SEED
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "chain_hash/chain_hash.h"
#include "check.h"
#include "overlay/overlay.h"
#include "prefix_index/word.h"
#include "stress/stress.h"

namespace warmpath {

namespace {

constexpr uint32_t CHAINS = 200;
constexpr uint32_t LENGTH = 128;
constexpr uint32_t SLOTS = 32;
constexpr uint32_t THREADS = 2;
constexpr uint64_t TTL_MS = 50;

struct Shared {
  std::atomic<bool> is_over = false;
  std::atomic<uint64_t> clock_ms = 1000;
  // When the chain was last predicted for the slot, written before the prediction.
  std::atomic<uint64_t> predicted_ms[SLOTS][CHAINS] = {};
  std::atomic<uint64_t> lookups = 0;
  std::atomic<uint64_t> found = 0;
  std::vector<uint64_t> keys[CHAINS];

  Shared() {
    const std::vector<uint32_t> tokens(LENGTH, 1);
    for (uint32_t chain = 0; chain < CHAINS; chain++) {
      keys[chain].resize(LENGTH);
      chain_keys(chain + 100, tokens.data(), LENGTH, 1, keys[chain].data());
    }
  }
};

uint32_t depth_max(uint32_t slot) {
  return 1 + slot * 7 % LENGTH;
}

void predict(Shared* shared, uint64_t seed) {
  Random random{seed};
  while (!shared->is_over.load()) {
    const uint32_t slot = random(SLOTS / 2);
    const uint32_t chain = random(CHAINS);
    const uint64_t now = shared->clock_ms.load();
    shared->predicted_ms[slot][chain].store(now);
    overlay().predict(slot, shared->keys[chain].data(), 1 + random(depth_max(slot)), now, TTL_MS);
    if (random(50) == 0) shared->clock_ms.fetch_add(1);
    if (random(500) == 0) overlay().forget(random(SLOTS));
    if (random(500) == 0) overlay().set_capacity(slot, random(2) * 5000);
  }
}

void look_up(Shared* shared, uint64_t seed) {
  Random random{seed};
  uint32_t slots[SLOTS_MAX];
  uint32_t depths[SLOTS_MAX];
  while (!shared->is_over.load()) {
    const uint32_t chain = random(CHAINS);
    const uint64_t now = shared->clock_ms.load();
    const uint32_t found = overlay().match(shared->keys[chain].data(), LENGTH, now, slots, depths);
    for (uint32_t i = 0; i < found; i++) {
      WARMPATH_CHECK(slots[i] < SLOTS / 2 && depths[i] <= depth_max(slots[i]));
      // Another predictor may have read the clock a moment later than it wrote its note.
      const uint64_t last = shared->predicted_ms[slots[i]][chain].load();
      WARMPATH_CHECK(last + 2 * TTL_MS > now);
    }
    shared->lookups.fetch_add(1);
    shared->found.fetch_add(found);
  }
}

}  // namespace

}  // namespace warmpath

int main(int argc, char** argv) {
  const int seconds = argc > 1 ? std::atoi(argv[1]) : 5;
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  static warmpath::Shared shared;
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < warmpath::THREADS; i++) {
    threads.emplace_back(warmpath::predict, &shared, seed + i);
    threads.emplace_back(warmpath::look_up, &shared, seed + 100 + i);
  }
  std::this_thread::sleep_for(std::chrono::seconds(seconds));
  shared.is_over.store(true);
  for (std::thread& thread : threads) thread.join();
  warmpath::overlay().set_capacity(1, 0);
  warmpath::overlay().predict(1, shared.keys[0].data(), warmpath::LENGTH, 1 << 20, 50);
  uint32_t slots[warmpath::SLOTS_MAX];
  uint32_t depths[warmpath::SLOTS_MAX];
  const uint32_t found = warmpath::overlay().match(shared.keys[0].data(), warmpath::LENGTH,
                                                   (1 << 20) + 49, slots, depths);
  WARMPATH_CHECK(found == 1 && slots[0] == 1 && depths[0] == warmpath::LENGTH);
  std::printf("{\"lookups\":%llu,\"found\":%llu}\n",
              static_cast<unsigned long long>(shared.lookups.load()),
              static_cast<unsigned long long>(shared.found.load()));
  return 0;
}
