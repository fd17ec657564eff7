// The sparse side of the engine-hash table: second copies, and second names.
//
// Nearly every (slot, block) is one copy under one hash, and costs nothing here. Two things are
// rare and real:
//   copies   a node announces a hash k times and removes it k times; it holds the block until the
//            last removal. `extra(ref, slot)` counts the copies above what coverage says.
//   aliases  one block has several engine hashes: nodes of other hash groups, or a node whose
//            salted block is indexed as if it were plain. The first hash is the block's engine
//            word (primary); each further one is an alias record, found through the engine map.
//
//   alias    ┌ hash ┬ block (run, offset) ┬ next alias of the block ┬ holders ┐
//
// Whether slot s holds hash x of a block, with A = copies that s has under aliases of the block:
//   x alias     extra(alias, s) > 0, always counted explicitly
//   x primary   A == 0: s covers the block, and has 1 + extra(primary, s) copies
//               A >  0: extra(primary, s) copies, explicitly
// Worked example: s stores block b as h1 (primary): coverage only. s stores b again as h2: alias,
// extra(h2, s) = 1; A was 0 and b covered, so extra(h1, s) becomes 1. s removes h1: extra(h1, s)
// = 0, b stays covered by h2. s removes h2: A = 0 and extra(h1, s) = 0, coverage goes.
//
// Costs: 24-48 B for each extra copy, 24 B an alias beside its engine-map entry. Bad at: fleets in
// which every node hashes differently and all hold the same blocks.
#pragma once

#include <cstdint>
#include <vector>

#include "prefix_index/engine_map.h"
#include "prefix_index/flat_map.h"

namespace warmpath {

constexpr uint32_t ALIAS_NONE = 0xffffffffu;

struct Alias {
  uint64_t hash;
  uint64_t block;  // ref of the block it names
  uint32_t next;   // next alias of the block, or next free record
  uint32_t holders;
};

class Copies {
 public:
  uint32_t extra(uint64_t ref, uint32_t slot) {
    const uint32_t* found = counts_.find({ref, slot});
    return found == nullptr ? 0 : *found;
  }
  void add(uint64_t ref, uint32_t slot) { counts_.at({ref, slot})++; }
  // Takes one away; there must be one.
  void sub(uint64_t ref, uint32_t slot) {
    uint32_t* found = counts_.find({ref, slot});
    WARMPATH_CHECK(found != nullptr);
    if (*found > 1) {
      --*found;
    } else {
      counts_.erase({ref, slot});
    }
  }
  void forget(uint64_t ref, uint32_t slot) { counts_.erase({ref, slot}); }
  bool is_empty() const { return counts_.size() == 0; }
  uint64_t count() const { return counts_.size(); }

  Alias& alias(uint32_t index) { return aliases_[index]; }
  uint32_t first_alias(uint64_t block) {
    const uint32_t* found = first_.find({block});
    return found == nullptr ? ALIAS_NONE : *found - 1;
  }
  uint32_t add_alias(uint64_t hash, uint64_t block) {
    uint32_t index = free_;
    if (index == ALIAS_NONE) {
      index = static_cast<uint32_t>(aliases_.size());
      aliases_.emplace_back();
    } else {
      free_ = aliases_[index].next;
    }
    aliases_[index] = {hash, block, first_alias(block), 0};
    first_.at({block}) = index + 1;
    alias_count_++;
    return index;
  }
  void drop_alias(uint32_t index) {
    const Alias gone = aliases_[index];
    uint32_t at = first_alias(gone.block);
    if (at == index) {
      if (gone.next == ALIAS_NONE) {
        first_.erase({gone.block});
      } else {
        first_.at({gone.block}) = gone.next + 1;
      }
    } else {
      while (aliases_[at].next != index) at = aliases_[at].next;
      aliases_[at].next = gone.next;
    }
    aliases_[index] = {0, REF_NONE, free_, 0};
    free_ = index;
    alias_count_--;
  }
  // The block lies somewhere else now; its aliases follow.
  void move_block(uint64_t from, uint64_t to) {
    const uint32_t first = first_alias(from);
    if (first == ALIAS_NONE) return;
    first_.erase({from});
    first_.at({to}) = first + 1;
    for (uint32_t a = first; a != ALIAS_NONE; a = aliases_[a].next) aliases_[a].block = to;
  }
  // Copies of the slot under all aliases of the block (0, or some number above it).
  uint32_t under_aliases(uint64_t block, uint32_t slot) {
    uint32_t sum = 0;
    for (uint32_t a = first_alias(block); a != ALIAS_NONE; a = aliases_[a].next) {
      sum += extra(REF_ALIAS | a, slot);
    }
    return sum;
  }
  template <typename Each>
  void each_alias(Each&& each) {
    for (uint32_t a = 0; a < aliases_.size(); a++) {
      if (aliases_[a].block != REF_NONE) each(a, aliases_[a]);
    }
  }

  void clear() {
    counts_.clear();
    first_.clear();
    aliases_ = {};
    free_ = ALIAS_NONE;
    alias_count_ = 0;
  }
  uint64_t aliases() const { return alias_count_; }
  uint64_t bytes() const {
    return counts_.bytes() + first_.bytes() + aliases_.capacity() * sizeof(Alias);
  }

 private:
  struct Holding {
    uint64_t ref = 0;
    uint32_t slot = 0;
    bool operator==(const Holding& o) const { return ref == o.ref && slot == o.slot; }
    uint64_t spread() const { return scramble(ref ^ uint64_t{slot} << 54); }
  };
  struct Block {
    uint64_t ref = 0;
    bool operator==(const Block& o) const { return ref == o.ref; }
    uint64_t spread() const { return scramble(ref); }
  };

  FlatMap<Holding, uint32_t> counts_;
  FlatMap<Block, uint32_t> first_;  // block -> first alias + 1
  std::vector<Alias> aliases_;
  uint32_t free_ = ALIAS_NONE;
  uint64_t alias_count_ = 0;
};

}  // namespace warmpath
