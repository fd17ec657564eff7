// The load table: what every (node, rank) is doing for this gateway, shared by all threads.
//
//   slot 0  [ in flight | queued prefill tokens | decode blocks | rest of a cache line ]
//   slot 1  [ ...                                                                      ]
//   ...     up to SLOTS_MAX
//
// A lease is one acquire and exactly one release; in between, the first token turns its prefill
// into decode. Example with in-flight limit 2 on slot 7:
//
//   acquire(7, prefill 900, blocks 60, max 2)  -> [1, 900, 60], true
//   acquire(7, prefill 100, blocks 10, max 2)  -> [2, 1000, 70], true
//   acquire(7, prefill   1, blocks  1, max 2)  -> unchanged, false: the caller waits or goes
//   elsewhere first_token(7, 900)                        -> [2, 100, 70] release(7, prefill left 0,
//   blocks 60)      -> [1, 100, 10]
//
// Invariants: the in-flight word never passes the limit that the acquirer named (compare and
// swap); no word is ever below zero (checked, a double release ends the process at once, because
// routing on a corrupt table would be silent); when no lease is out, all three words are zero.
//
// Words have 64 bits: 142 prompts of 2^24 tokens in flight at one node are past 32, and a word that
// wrapped would end the process at the releases. Readers get doubles, exact up to 2^53: a slot's
// limit in flight and a lease's amounts are 2^24 at most, so no word passes 2^48.
//
// Costs: one cache line a slot (64 KiB in all), three uncontended atomic operations a lease. What
// it does badly: the three words are not one snapshot. A reader may see a lease's in-flight word
// before its tokens. Scores are estimates anyway, so readers take no lock for it.
#pragma once

#include <atomic>
#include <cstdint>

namespace warmpath {

// Slots of (node, rank); the same number as SLOTS_MAX in src/native/limits.ts.
inline constexpr std::uint32_t LOAD_SLOTS_MAX = 1024;
// Words a slot has in a reader's array.
inline constexpr std::uint32_t LOAD_WORDS = 3;

class LoadTable {
 public:
  // False, and nothing changed, when the slot already runs `in_flight_max` requests.
  bool acquire(std::uint32_t slot, std::int32_t prefill_tokens, std::int32_t blocks,
               std::int32_t in_flight_max);
  void first_token(std::uint32_t slot, std::int32_t prefill_tokens);
  void release(std::uint32_t slot, std::int32_t prefill_tokens_left, std::int32_t blocks);
  // LOAD_WORDS words a slot, from slot 0.
  void read(double* out, std::uint32_t slot_count) const;
  // True when the slot is at rest and all zero, so that it may be given to another node.
  bool clear(std::uint32_t slot);
  // Sum of all words of all slots: zero when no lease is out.
  std::int64_t drain_check() const;

 private:
  struct alignas(64) Slot {
    std::atomic<std::int64_t> in_flight{0};
    std::atomic<std::int64_t> prefill_tokens{0};
    std::atomic<std::int64_t> blocks{0};
  };
  static_assert(sizeof(Slot) == 64, "one cache line a slot, so that ranks do not share one");

  Slot slots_[LOAD_SLOTS_MAX];
};

// The one table of the process.
LoadTable& load_table();

}  // namespace warmpath
