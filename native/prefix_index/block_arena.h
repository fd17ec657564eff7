// The blocks of all runs: two parallel arrays, addressed by a 32-bit block number.
//
//   block        0    1    2    3    4    5    6    7    8 ...
//   own        [k0] [k1] [k2] [k3] [k4]  ..   ..   ..   free ...   own chain keys, readers look
//   engine     [e0] [e1]  0   [e3] [e4]  ..   ..   ..   {prev,next}  engine hashes, writer only
//              └──── a run of 5 blocks, room for 8 ──┘
//
// An engine hash of 0 means that no node of the primary group holds the block now. Space is handed
// out by a buddy system in granules of 4 blocks; a request of 5 granules takes a buddy of 8 and
// gives the tail (1 + 2 granules) back, so that a run wastes at most 3 blocks beside the slack it
// asked for. A run at whose end free space begins grows in place.
//
// Worked example: take(20 blocks) = 5 granules from a free buddy of 8 at granule 0. Granules 5..7
// go back as buddies of 1 (at 5) and 2 (at 6). extend(0, 20 -> 24) finds the free buddy at 5 and
// takes it. give(0, 24) frees granules 0..5 as 4 + 2; 2 joins with the 2 at 6, then with the 4.
//
// Invariants: `order_[g]` is k + 1 where a free buddy of order k starts, else 0; free buddies of
// one order form a doubly linked list kept in the engine words of their first block; two free
// buddies of one order that are each other's halves are always joined.
//
// Costs: 16 B a block and 0.25 B of order bytes; taking and giving some 20-60 ns. Bad at: space
// that is cut up by many long-lived small runs, as any allocator that does not move.
#pragma once

#include <cstdint>

#include "prefix_index/reserved.h"
#include "prefix_index/word.h"

namespace warmpath {

constexpr uint32_t GRANULE_BLOCKS = 4;
// The longest run, 2^20 blocks (16 million tokens of 16): offsets must fit 24 bits.
constexpr uint32_t ARENA_ORDER_MAX = 18;
constexpr uint32_t RUN_BLOCKS_MAX = GRANULE_BLOCKS << ARENA_ORDER_MAX;
// The arena grows by at least 2^10 granules (64 KiB), so that an idle index stays small.
constexpr uint32_t ARENA_ORDER_GROWTH = 10;
constexpr uint32_t NO_BLOCK = 0xffffffffu;
// Bytes that one block costs in the arena: two words and its share of the order byte.
constexpr double BLOCK_BYTES = 16.25;

class BlockArena {
 public:
  explicit BlockArena(uint64_t bytes_max);

  // First block of a new stretch of at least `count` blocks (rounded up to granules), or NO_BLOCK
  // when growing by it would take the arena past `bytes_max`.
  uint32_t take(uint32_t count, uint64_t bytes_max);
  void give(uint32_t base, uint32_t count);
  // Grows the stretch in place if the space behind it is free.
  bool extend(uint32_t base, uint32_t count, uint32_t wanted);
  void clear();

  static uint32_t rounded(uint32_t count) {
    return (count + GRANULE_BLOCKS - 1) & ~(GRANULE_BLOCKS - 1);
  }

  uint64_t key(uint32_t block) const { return shared_load(own_[block]); }
  void set_key(uint32_t block, uint64_t key) { shared_store(own_[block], key); }
  uint64_t& engine(uint32_t block) { return engine_[block]; }
  const uint64_t* keys() const { return own_; }
  void prefetch(uint32_t block) const { __builtin_prefetch(&engine_[block]); }

  uint64_t bytes() const { return static_cast<uint64_t>(end_ * GRANULE_BLOCKS * BLOCK_BYTES); }
  uint64_t bytes_used() const {
    return static_cast<uint64_t>((end_ - free_) * GRANULE_BLOCKS * BLOCK_BYTES);
  }

 private:
  void insert(uint32_t granule, uint32_t order);
  void remove(uint32_t granule, uint32_t order);
  void release(uint32_t granule, uint32_t count);
  bool grow(uint32_t order, uint64_t bytes_max);
  uint64_t& link(uint32_t granule) { return engine_[uint64_t{granule} * GRANULE_BLOCKS]; }

  Reserved own_range_;
  Reserved engine_range_;
  Reserved order_range_;
  uint64_t* own_;
  uint64_t* engine_;
  uint8_t* order_;
  uint64_t granules_max_;
  uint64_t end_ = 0;   // granules in use or free
  uint64_t free_ = 0;  // granules free
  uint64_t huge_ = 0;  // granules for which huge pages were asked
  uint32_t first_[ARENA_ORDER_MAX + 1];
};

}  // namespace warmpath
