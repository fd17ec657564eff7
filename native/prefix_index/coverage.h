// Which slots hold which blocks of a run.
//
// A run has one entry for each slot that holds any of its blocks:
//
//   entry   ┌ cut: 32 ┬ flags: 16 ┬ slot: 16 ┐   cut = number of leading blocks held
//
//   up to 4 entries   in the head itself            {s3 cut 4} {s7 cut 2}  none   none
//   more              word 0 = LIST, count, index   -> a list of 8, 16 .. 1024 entries in the pool
//                     word 1 = room of the list
//
// A slot that holds blocks behind a hole has the flag HOLES and a bitmap beside (writer only):
// readers ask for leading blocks alone, and `cut` answers that exactly.
//
// Worked example, run a b c d e: slot 3 holds all: {3, cut 5}. Block c goes: {3, cut 2, HOLES},
// bitmap 11011. Block c comes back: ones = 5 = cut again, the bitmap is dropped: {3, cut 5}.
// Then e goes: {3, cut 4}. A slot that holds d only: {s, cut 0, HOLES}, bitmap 00010.
//
// Invariants: at most one entry a slot and run; an entry covers at least one block; HOLES exactly
// when some covered block is not among the leading ones. The head is open (odd version) whenever
// one of these functions changes it.
//
// Costs: 8 B a holder, a scan over the holders for a change (64 holders: some 30 ns). Bad at: runs
// held by a thousand slots that change all the time; and at long runs with holes (len / 8 bytes).
#pragma once

#include <cstdint>
#include <vector>

#include "prefix_index/flat_map.h"
#include "prefix_index/head_table.h"
#include "prefix_index/limits.h"
#include "prefix_index/reserved.h"

namespace warmpath {

constexpr uint64_t COVER_NONE = ~uint64_t{0};
constexpr uint64_t COVER_LIST = uint64_t{1} << 63;
constexpr uint32_t COVER_HOLES = 1;

inline uint32_t cover_slot(uint64_t entry) {
  return entry & 0xffff;
}
inline uint32_t cover_flags(uint64_t entry) {
  return entry >> 16 & 0xffff;
}
inline uint32_t cover_cut(uint64_t entry) {
  return high_of(entry);
}
inline uint64_t cover_entry(uint32_t slot, uint32_t flags, uint32_t cut) {
  return pack(cut, flags << 16 | slot);
}

// Where the entries of a head lie at the moment; valid for a reader only under its version.
struct CoverSpan {
  const uint64_t* entries;
  uint32_t count;
};

class Coverage {
 public:
  explicit Coverage(uint64_t bytes_max);

  CoverSpan span(const Head& head) const {
    const uint64_t first = shared_load(head.cover[0]);
    if (first != COVER_NONE && (first & COVER_LIST) != 0) {
      return {pool_ + low_of(first), high_of(first) & 0xffff};
    }
    uint32_t count = 0;
    while (count < COVER_INLINE && shared_load(head.cover[count]) != COVER_NONE) count++;
    return {head.cover, count};
  }

  static void init(Head& head);
  bool covers(const Head& head, uint32_t slot, uint32_t offset);
  // Does any slot hold the block?
  bool any(const Head& head, uint32_t offset);
  // One past the last block of the run that any slot holds.
  uint32_t end(const Head& head);
  bool held_alone(const Head& head, uint32_t slot) const;
  uint32_t holders(const Head& head) const { return span(head).count; }
  uint64_t entry(const Head& head, uint32_t slot) const;

  // Each returns +1, 0 or -1: entries that the run gained or lost.
  int set(Head& head, uint32_t slot, uint32_t from, uint32_t to);
  int unset(Head& head, uint32_t slot, uint32_t offset);
  // Forget the slot; calls held(offset) for each block that it held.
  template <typename Held>
  int drop(Head& head, uint32_t slot, Held&& held) {
    uint64_t* found = find(head, slot);
    if (found == nullptr) return 0;
    const uint64_t entry = *found;
    if ((cover_flags(entry) & COVER_HOLES) != 0) {
      Holes& holes = holes_of(head, slot);
      for (uint32_t w = 0; w < holes.words.size(); w++) {
        for (uint64_t bits = holes.words[w]; bits != 0; bits &= bits - 1) {
          held(w * 64 + static_cast<uint32_t>(__builtin_ctzll(bits)));
        }
      }
      drop_holes(head, slot);
    } else {
      for (uint32_t offset = 0; offset < cover_cut(entry); offset++) held(offset);
    }
    remove(head, found);
    return -1;
  }
  // The run goes away (it has no entries), or its entries were copied elsewhere.
  void release(Head& head);
  void clear();

  uint64_t bytes() const { return pool_end_ * 8 + holes_bytes_ + holes_index_.bytes(); }

 private:
  struct Holes {
    std::vector<uint64_t> words;
    uint32_t ones = 0;
  };
  struct RunSlot {
    uint64_t value;
    bool operator==(const RunSlot& other) const { return value == other.value; }
    uint64_t spread() const { return scramble(value); }
  };
  static RunSlot key_of(const Head& head, uint32_t slot) {
    return {uint64_t{head.run} << 16 | slot};
  }

  uint64_t* find(const Head& head, uint32_t slot) const;
  void add(Head& head, uint64_t entry);
  void remove(Head& head, uint64_t* entry);
  uint64_t* take_list(uint32_t room);
  void give_list(uint32_t index, uint32_t room);
  Holes& holes_of(const Head& head, uint32_t slot);
  Holes& make_holes(const Head& head, uint32_t slot, uint32_t ones);
  void drop_holes(const Head& head, uint32_t slot);
  static void put(Holes& holes, uint32_t offset);
  static bool test(const Holes& holes, uint32_t offset);

  Reserved pool_range_;
  uint64_t* pool_;
  uint64_t pool_end_ = 0;
  uint64_t free_lists_[8] = {};             // by room: 8 << k; index + 1, 0 = none
  FlatMap<RunSlot, uint32_t> holes_index_;  // -> index + 1 in holes_
  std::vector<Holes> holes_;
  std::vector<uint32_t> holes_free_;
  uint64_t holes_bytes_ = 0;
};

}  // namespace warmpath
