// The baseline: a flat map, one 16-byte place a distinct block, shared by up to 64 nodes, sized in
// advance, with prefetch 8 ahead. It is given what the index has to find out: the own key of every
// block, so that it needs no engine hashes, no parents, no token hashes and no orphans.
//
//   place  ┌ key: 8 ┬ nodes: one bit each ┐   linear probing, backward-shift delete
//
// It answers the same question (for each node the number of leading blocks) by one probe a block,
// which is what the runs of the index avoid.
#pragma once

#include <cstdint>

#include "prefix_index/reserved.h"

namespace bench {

class FlatMap {
 public:
  explicit FlatMap(uint64_t places) : mask_(places - 1) {
    range_.reserve(places * sizeof(Place));
    range_.use_huge_pages(places * sizeof(Place));
    places_ = range_.as<Place>();
  }

  uint32_t match(const uint64_t* keys, uint32_t count, uint32_t* slots, uint32_t* depths) const {
    uint64_t alive = ~uint64_t{0};
    uint32_t found = 0;
    for (uint32_t i = 0; i < AHEAD && i < count; i++) fetch(keys[i]);
    for (uint32_t i = 0; i < count; i++) {
      if (i + AHEAD < count) fetch(keys[i + AHEAD]);
      const uint64_t there = alive & nodes_of(keys[i]);
      if (i > 0 && there != alive) found = settle(alive & ~there, i, found, slots, depths);
      alive = there;
      if (alive == 0) return found;
    }
    return settle(alive, count, found, slots, depths);
  }

  void store(uint32_t node, const uint64_t* keys, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
      if (i + AHEAD < count) fetch(keys[i + AHEAD]);
      uint64_t at = keys[i] & mask_;
      while (places_[at].key != 0 && places_[at].key != keys[i]) at = (at + 1) & mask_;
      size_ += places_[at].key == 0;
      places_[at].key = keys[i];
      places_[at].nodes |= uint64_t{1} << node;
    }
  }

  void remove(uint32_t node, const uint64_t* keys, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
      if (i + AHEAD < count) fetch(keys[i + AHEAD]);
      uint64_t at = keys[i] & mask_;
      while (places_[at].key != keys[i]) {
        if (places_[at].key == 0) break;
        at = (at + 1) & mask_;
      }
      if (places_[at].key == 0) continue;
      places_[at].nodes &= ~(uint64_t{1} << node);
      if (places_[at].nodes == 0) erase(at);
    }
  }

  uint64_t size() const { return size_; }
  uint64_t bytes() const { return (mask_ + 1) * sizeof(Place); }

 private:
  static constexpr uint32_t AHEAD = 8;
  struct Place {
    uint64_t key;
    uint64_t nodes;
  };

  void fetch(uint64_t key) const { __builtin_prefetch(&places_[key & mask_], 1); }

  uint64_t nodes_of(uint64_t key) const {
    for (uint64_t at = key & mask_;; at = (at + 1) & mask_) {
      if (places_[at].key == key) return places_[at].nodes;
      if (places_[at].key == 0) return 0;
    }
  }

  static uint32_t settle(uint64_t nodes, uint32_t depth, uint32_t found, uint32_t* slots,
                         uint32_t* depths) {
    for (; nodes != 0; nodes &= nodes - 1) {
      slots[found] = static_cast<uint32_t>(__builtin_ctzll(nodes));
      depths[found++] = depth;
    }
    return found;
  }

  void erase(uint64_t hole) {
    size_--;
    uint64_t at = hole;
    for (;;) {
      at = (at + 1) & mask_;
      if (places_[at].key == 0) break;
      if (((at - places_[at].key) & mask_) < ((at - hole) & mask_)) continue;
      places_[hole] = places_[at];
      hole = at;
    }
    places_[hole] = {0, 0};
  }

  warmpath::Reserved range_;
  Place* places_;
  uint64_t mask_;
  uint64_t size_ = 0;
};

}  // namespace bench
