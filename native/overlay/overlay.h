// Predictions: which slot will soon hold which blocks, because a request was just sent there.
//
// A burst of siblings arrives before the first BlockStored of the first of them; without this they
// spread and each node computes the same prefix. And a node without events has only this. It is a
// cache of hints: bounded, lossy, written by all threads without a lock; a wrong hint costs a
// slower route, never a wrong answer.
//
//   bucket (one cache line)  [check data] [check data] [check data] [check data]
//   data     ┌ expiry ms: 24 ┬ sequence: 22 ┬ epoch: 8 ┬ slot: 10 ┐
//   check  = key ^ data      a torn pair of words matches no key, so no lock is needed
//
// One entry is one (key, slot). The entries of a key fill bucket 0 of the key, then bucket 1, ..;
// a search goes on while a bucket has an entry of the key (the first: two, so that the common key
// of one slot costs one line). An entry is dead when its
// expiry passed, when the slot's epoch moved (`forget`), or when the slot's capacity (predictive
// mode: the node's number of blocks) has been filled by newer insertions. A dead entry, else the
// one that expires first, is the victim.
//
// Worked example: predict(slot 3, [a b c], ttl 2 s) writes c, b, a (the prefix last, so that it is
// the youngest and a full slot forgets deep blocks first, as engines do). match [a b c x]: slot 3
// is at a; x has nothing; a bisect finds c: depth 3. Because a key stands for its whole prefix, an
// entry at depth d proves that all of the first d blocks were predicted, even if the entries of
// some are lost; so a lookup needs 2 + log2(n) probes for all slots of one depth, not n.
//
// Costs: 16 B an entry; predict 8-15 ns a block; match some probes of 10-150 ns. Does badly: deep
// depths are lost before shallow ones when the table is too small; 24 bits of milliseconds wrap
// after 4.6 hours, 22 bits of sequence after 4 million insertions a slot (a stale hint may flash).
#pragma once

#include <cstdint>

#include "prefix_index/limits.h"
#include "prefix_index/reserved.h"

namespace warmpath {

// 2^20 entries, 16 MiB of address space that fills as predictions come: 64 nodes of 16,384 blocks.
constexpr uint64_t OVERLAY_ENTRIES = uint64_t{1} << 20;
// Buckets that one key may use: all slots of the process.
constexpr uint32_t OVERLAY_HOPS_MAX = SLOTS_MAX / 2;
// Longest life of a prediction (must stay far below the wrap of 24 bits of milliseconds).
constexpr uint64_t OVERLAY_TTL_MS_MAX = 3600000;
// Largest capacity of a slot: half the range of the sequence.
constexpr uint32_t OVERLAY_CAPACITY_MAX = 1u << 21;

struct SlotSet {
  uint64_t words[SLOTS_MAX / 64] = {};
  void add(uint32_t slot) { words[slot / 64] |= uint64_t{1} << slot % 64; }
  bool is_empty() const;
};

class Overlay {
 public:
  Overlay();

  void predict(uint32_t slot, const uint64_t* keys, uint32_t count, uint64_t now_ms,
               uint64_t ttl_ms);
  void set_capacity(uint32_t slot, uint32_t blocks);
  void forget(uint32_t slot) { __atomic_fetch_add(&slots_[slot].epoch, 1, __ATOMIC_RELAXED); }
  // Slots with a prediction for a prefix of the keys; depths in blocks. Outputs hold SLOTS_MAX.
  uint32_t match(const uint64_t* keys, uint32_t count, uint64_t now_ms, uint32_t* out_slots,
                 uint32_t* out_depths) const;

 private:
  struct Entry {
    uint64_t check;
    uint64_t data;
  };
  struct alignas(64) Bucket {
    Entry entries[4];
  };
  struct alignas(16) SlotState {
    uint32_t epoch;
    uint32_t inserted;
    uint32_t capacity;  // 0 = unlimited
  };

  Bucket& bucket(uint64_t key, uint32_t hop) const;
  bool is_live(uint64_t data, uint32_t now) const;
  bool write(uint32_t slot, uint64_t key, uint64_t data, uint32_t now);
  void probe(uint64_t key, uint32_t now, SlotSet* found) const;

  Reserved range_;
  Bucket* buckets_;
  uint32_t is_used_ = 0;
  SlotState slots_[SLOTS_MAX] = {};
};

// The one overlay of the process.
Overlay& overlay();

}  // namespace warmpath
