// Stores whose parent is unknown: parked by the parent's hash until somebody announces it.
//
//   by parent   hash p -> 4 -> 9          oldest first
//   parked 4    slot 3, parent p, blocks {h1 t1} {h2 t2}       t = hash of the block's tokens
//   parked 9    slot 5, parent p, blocks {h3 t3}
//   by block    (h1, slot 3) -> parked 4 or before, 1 of them     so that a removal finds it
//
// Worked example: the batch that stored p was lost. Store h1 h2 behind p is parked as 4. Slot 3
// removes h2: its place in 4 is blanked (the token hash stays, the chain runs through it). p is
// announced: 4 leaves, h1 is held, and what waits for h1 follows.
//
// Invariants: bounded in stores, bytes and age (counted in operations of the index); the oldest
// goes first. A parked block that its node removed is never attached. Hashes here are scrambled
// with the group, 0 = blank.
// Costs: 16 B a block and 100-200 B a store; a removal looks at the blocks of one store. Bad at:
// finding the second copy of a block that was parked twice (a scan of the stores before).
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "check.h"
#include "prefix_index/flat_map.h"
#include "prefix_index/limits.h"
#include "prefix_index/word.h"

namespace warmpath {

struct OrphanLimits {
  uint32_t stores_max = ORPHANS_MAX;
  uint64_t bytes_max = ORPHAN_BYTES_MAX;
  uint64_t age_ops_max = ORPHAN_AGE_OPS_MAX;
};

struct ParkedBlock {
  uint64_t hash;
  uint64_t tokens_hash;
};

struct Parked {
  uint64_t parent;
  uint64_t born;  // operation number
  uint32_t slot;
  uint32_t left;  // blocks not blank
  std::vector<ParkedBlock> blocks;
};

class Orphans {
 public:
  explicit Orphans(const OrphanLimits& limits) : limits_(limits) {}

  bool is_empty() const { return count_ == 0; }
  bool waits(uint64_t parent) { return count_ > 0 && by_parent_.find({parent}) != nullptr; }

  // Parks a store. Returns how many stores (it among them, perhaps) the limits pushed out.
  uint32_t park(uint64_t parent, uint32_t slot, const uint64_t* hashes, const uint64_t* tokens,
                uint32_t count, uint64_t now);
  // Drops what is older than the limit; returns how many.
  uint32_t expire(uint64_t now);
  // Blanks the newest parked copy of the block; false if there is none.
  bool remove(uint64_t hash, uint32_t slot);
  // Takes out the stores waiting for this parent, oldest first, that take(parked) accepts.
  template <typename Take>
  void attach(uint64_t parent, Take&& take) {
    std::vector<uint64_t> ids;
    for (uint64_t id = first_; id < first_ + ring_.size(); id++) {
      const Parked* parked = get(id);
      if (parked != nullptr && parked->parent == parent) ids.push_back(id);
    }
    for (const uint64_t id : ids) {
      Parked* parked = get(id);
      if (parked == nullptr) continue;
      if (!take.accepts(*parked)) continue;
      const std::unique_ptr<Parked> out = pull(id);
      take.store(*out);
    }
  }
  void drop_slot(uint32_t slot);
  void clear();

  uint32_t count() const { return count_; }
  uint64_t blocks() const { return blocks_; }
  uint64_t bytes() const {
    return bytes_ + by_block_.bytes() + by_parent_.bytes() + ring_.size() * sizeof(void*);
  }

 private:
  struct BlockOf {
    uint64_t hash = 0;
    uint32_t slot = 0;
    bool operator==(const BlockOf& o) const { return hash == o.hash && slot == o.slot; }
    uint64_t spread() const { return scramble(hash + slot); }
  };
  struct ParentOf {
    uint64_t hash = 0;
    bool operator==(const ParentOf& o) const { return hash == o.hash; }
    uint64_t spread() const { return scramble(hash); }
  };
  Parked* get(uint64_t id) {
    return id < first_ || id >= first_ + ring_.size() ? nullptr : ring_[id - first_].get();
  }
  struct Copies {
    uint64_t newest = 0;  // no copy lies in a later store than this one
    uint32_t count = 0;
    bool operator==(const Copies& o) const { return newest == o.newest && count == o.count; }
  };
  std::unique_ptr<Parked> pull(uint64_t id);
  void forget_block(uint64_t hash, uint32_t slot);
  void trim_front();
  static uint64_t bytes_of(const Parked& parked) {
    return sizeof(Parked) + parked.blocks.capacity() * sizeof(ParkedBlock) + 64;
  }

  OrphanLimits limits_;
  std::deque<std::unique_ptr<Parked>> ring_;  // by id - first_; gaps are null
  uint64_t first_ = 0;
  FlatMap<BlockOf, Copies> by_block_;      // copies parked
  FlatMap<ParentOf, uint32_t> by_parent_;  // stores waiting
  uint32_t count_ = 0;
  uint64_t blocks_ = 0;
  uint64_t bytes_ = 0;
};

}  // namespace warmpath
