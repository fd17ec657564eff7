// See load_table.h. Relaxed order suffices: a word is a count of its own, and nothing else is
// published by it.
#include "load_table/load_table.h"

#include "check.h"

namespace warmpath {

namespace {

constexpr auto RELAXED = std::memory_order_relaxed;

void take(std::atomic<std::int64_t>& word, std::int32_t amount) {
  const std::int64_t before = word.fetch_sub(amount, RELAXED);
  WARMPATH_CHECK(before >= amount);  // A lease was released twice, or with other amounts.
}

}  // namespace

bool LoadTable::acquire(std::uint32_t slot, std::int32_t prefill_tokens, std::int32_t blocks,
                        std::int32_t in_flight_max) {
  WARMPATH_CHECK(slot < LOAD_SLOTS_MAX);
  WARMPATH_CHECK(prefill_tokens >= 0 && blocks >= 0 && in_flight_max >= 0);
  Slot& load = slots_[slot];
  std::int64_t running = load.in_flight.load(RELAXED);
  do {
    if (running >= in_flight_max) return false;
  } while (!load.in_flight.compare_exchange_weak(running, running + 1, RELAXED));
  load.prefill_tokens.fetch_add(prefill_tokens, RELAXED);
  load.blocks.fetch_add(blocks, RELAXED);
  return true;
}

void LoadTable::first_token(std::uint32_t slot, std::int32_t prefill_tokens) {
  WARMPATH_CHECK(slot < LOAD_SLOTS_MAX && prefill_tokens >= 0);
  take(slots_[slot].prefill_tokens, prefill_tokens);
}

void LoadTable::release(std::uint32_t slot, std::int32_t prefill_tokens_left, std::int32_t blocks) {
  WARMPATH_CHECK(slot < LOAD_SLOTS_MAX);
  WARMPATH_CHECK(prefill_tokens_left >= 0 && blocks >= 0);
  // The in-flight word last: who sees a free place sees its tokens gone, on the common machines.
  take(slots_[slot].prefill_tokens, prefill_tokens_left);
  take(slots_[slot].blocks, blocks);
  take(slots_[slot].in_flight, 1);
}

void LoadTable::read(double* out, std::uint32_t slot_count) const {
  WARMPATH_CHECK(slot_count <= LOAD_SLOTS_MAX);
  for (std::uint32_t slot = 0; slot < slot_count; slot++) {
    const Slot& load = slots_[slot];
    double* words = out + std::size_t{slot} * LOAD_WORDS;
    words[0] = static_cast<double>(load.in_flight.load(RELAXED));
    words[1] = static_cast<double>(load.prefill_tokens.load(RELAXED));
    words[2] = static_cast<double>(load.blocks.load(RELAXED));
  }
}

bool LoadTable::clear(std::uint32_t slot) {
  WARMPATH_CHECK(slot < LOAD_SLOTS_MAX);
  // Leases put back what they took, so a slot at rest is zero by itself; wiping it under a live
  // lease would turn that lease's release into an underflow.
  return slots_[slot].in_flight.load(RELAXED) == 0 &&
         slots_[slot].prefill_tokens.load(RELAXED) == 0 && slots_[slot].blocks.load(RELAXED) == 0;
}

std::int64_t LoadTable::drain_check() const {
  std::int64_t sum = 0;
  for (const Slot& load : slots_) {
    sum += load.in_flight.load(RELAXED);
    sum += load.prefill_tokens.load(RELAXED);
    sum += load.blocks.load(RELAXED);
  }
  return sum;
}

LoadTable& load_table() {
  static LoadTable table;
  return table;
}

}  // namespace warmpath
