// Heads of runs: one open-addressing table, own key of a run's first block -> all a lookup needs.
//
//   a head, one cache line of 64 bytes
//   ┌──────────┬──────────┬────────────┬───────────────┬─────────────────────────────┐
//   │ key      │ tail key │ base, len  │ version, run  │ cover[0..3]                 │
//   └──────────┴──────────┴────────────┴───────────────┴─────────────────────────────┘
//
// Worked example: the run of keys a b c d held by slots 3 (all of it) and 7 (a b) has key a, tail
// d, len 4, cover {3, cut 4} {7, cut 2}. A query a b c d x hits the head of a, sees q[3] == tail
// and is done with the whole run after one cache line; a query a b x bisects the keys at `base`.
//
// A tail of KEY_EMPTY says "look into the arena": a run that is being evicted, block by block from
// its end, gets it, so that a removal need not fetch the line of the key before.
//
// Writer's protocol: `open` makes the version odd, `close` makes it even; everything behind `key`
// changes only between the two. A head never moves while it lives in one table, so a reader that
// probes cannot miss it. Erased places become KEY_GONE (or KEY_EMPTY when the next place is empty)
// and are used again; their version goes on counting.
//
// Growth and clean-up build a second table and swap the pointer under a generation number; readers
// check the generation at their end. The old range is kept and used for a later table of the same
// size (a reader that is still in it fails the generation check, never faults).
//
// Invariants: full + gone places <= 5/8 of the table before every insert, so every probe ends (a
// peer's table filled to 100 % and took 12-29 us for a miss). Costs: 64 B a run at 25-62 % load.
// Bad at: many runs of one block, where this is 100 B and more a block.
#pragma once

#include <memory>
#include <vector>

#include "chain_hash/chain_hash.h"
#include "prefix_index/reserved.h"
#include "prefix_index/word.h"

namespace warmpath {

constexpr uint32_t COVER_INLINE = 4;

struct alignas(64) Head {
  uint64_t key;
  uint64_t tail;
  uint64_t span;  // base, len: one word, so that a torn reader still stays inside the arena
  uint32_t version;
  uint32_t run;
  uint64_t cover[COVER_INLINE];

  uint32_t base() const { return high_of(own_load(span)); }
  uint32_t len() const { return low_of(own_load(span)); }
};
static_assert(sizeof(Head) == 64);

// What a reader holds of the table: it must compare `generation` when it is done.
struct HeadView {
  Head* heads;
  uint64_t mask;
  uint32_t generation;
};

class HeadTable {
 public:
  HeadTable();

  HeadView view() const;
  bool unchanged(const HeadView& view) const { return shared_load(generation_) == view.generation; }
  static const Head* find(const HeadView& view, uint64_t key);

  // Writer only.
  Head* find(uint64_t key) const;
  Head* at(uint32_t place) const { return heads_ + place; }
  uint32_t place_of(const Head* head) const { return static_cast<uint32_t>(head - heads_); }
  // A free place, made the head of `key`; the version is odd until `close`. `moved` is called with
  // each head (old place implied by head.run) when the table was rebuilt.
  template <typename Moved>
  Head* insert(uint64_t key, uint32_t run, Moved&& moved) {
    if ((used_ + 1) * 8 > places() * 5) {
      rebuild();
      for (uint64_t i = 0; i < places(); i++) {
        if (own_load(heads_[i].key) > KEY_GONE) moved(heads_[i].run, static_cast<uint32_t>(i));
      }
    }
    return place(key, run);
  }
  void erase(Head* head);
  void clear();

  static void open(Head* head) {
    __atomic_store_n(&head->version, own_load(head->version) + 1, __ATOMIC_RELEASE);
  }
  static void close(Head* head) {
    __atomic_store_n(&head->version, own_load(head->version) + 1, __ATOMIC_RELEASE);
  }

  uint64_t places() const { return mask_ + 1; }
  uint64_t bytes() const { return places() * sizeof(Head); }
  // Bytes that the next insert may add: a rebuild holds both tables for a moment.
  uint64_t bytes_next() const { return (used_ + 1) * 8 > places() * 5 ? 2 * bytes() : 0; }
  uint32_t count() const { return live_; }

 private:
  struct Range {
    Reserved memory;
    uint64_t places;
  };
  Head* place(uint64_t key, uint32_t run);
  Range* fresh(uint64_t places);
  void publish(Range* range);
  void rebuild();

  std::vector<std::unique_ptr<Range>> ranges_;
  Range* current_ = nullptr;
  Head* heads_ = nullptr;  // shared: published with the mask in the header line before it
  uint64_t mask_ = 0;
  uint32_t generation_ = 0;
  uint64_t used_ = 0;  // full and gone places
  uint32_t live_ = 0;
};

}  // namespace warmpath
