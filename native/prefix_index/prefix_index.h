// The prefix index: which slots (node, rank) hold which leading blocks of a prompt, exactly.
//
// A radix tree whose edges are runs of blocks, keyed by own chain hash. A chain hash stands for a
// whole prefix, so one compare decides a whole run, and the tree needs no walk from the root: the
// head table finds the run that starts with any key.
//
//   prompts   A = a b c d e f      B = a b c x y       held: slot 1 A, slot 2 B
//
//   run 1  [ a b c d e f ]   slot 1: cut 6, slot 2: cut 3      head a, tail f
//                │
//   run 2      [ x y ]       slot 2: cut 2                     head x, tail y, hangs on (1, 2)
//
//   lookup a b c x y z:  head a: q[5] is not f, bisect -> 3 equal: slot 1 depth 3, slot 2 alive
//                        head x: q[4] is y, the tail: slot 2 depth 5;  head z: none, done
//
// Parts: chain_hash (keys), head_table (readers start here), block_arena (keys and engine hashes),
// run_table (tree), coverage (holders), engine_map (engine hash -> block), copies (rare second
// copies and names), orphans (parents to come). Nothing is split when prompts diverge; a run that
// is the only child at its parent's end and has the same holders is merged (merge.cc).
//
// What it means, as a plain model: each slot has a map hash -> (key, copies). A store walks its
// hashes from the parent's key; a hash that the slot holds keeps the key it has and gains a copy,
// any other gets mix(key before, tokens). A removal takes a copy. The parent of a store is looked
// for among the slot's own hashes first, then among those of its group; if the group disagrees
// (two keys) it counts as unknown. An unknown parent parks the store. A depth is the number of
// leading keys of the query that the slot holds.
//
// Threads: `apply`, `clear_slot` and `remove_slot` belong to one writer thread. `hide_slot`,
// `match` and `stats` are for any thread; readers write nothing. A hidden slot is invisible until
// the writer's next clear of that slot, whatever is stored in between.
//
// Invariants: every live key lies at exactly one (run, offset); the block after (run, offset) is
// either the next of the run or the head of another run that hangs there; engine words are 0 for
// blocks whose primary hash nobody holds; runs without holders and children are freed at once.
//
// Costs: measured by bench/index.ts. Does badly: lookups that end inside a long run (a bisect
// instead of one compare); many runs of one block; nodes that all hash differently; a rebuild of
// the engine map (15 ns a block) stops the writer, not the readers.
#pragma once

#include <cstdint>
#include <vector>

#include "prefix_index/block_arena.h"
#include "prefix_index/copies.h"
#include "prefix_index/coverage.h"
#include "prefix_index/engine_map.h"
#include "prefix_index/head_table.h"
#include "prefix_index/limits.h"
#include "prefix_index/orphans.h"
#include "prefix_index/run_table.h"

namespace warmpath {

// Operations of one batch, in 64-bit words (src/native/prefix_index.ts writes them):
//   store   kind 1 | flags << 8 | count << 32,  token count,  root key,  parent hash if HAS_PARENT,
//           count hashes,  count extras if HAS_EXTRAS;  its tokens lie in the tokens array, or with
//           HASHED nowhere: then the extras are the blocks' own hashes (the benches use it)
//   remove  kind 2 | count << 32,  count hashes
//   clear   kind 3
constexpr uint64_t OP_STORE = 1;
constexpr uint64_t OP_REMOVE = 2;
constexpr uint64_t OP_CLEAR = 3;
constexpr uint64_t OP_REMOVE_ONE = OP_REMOVE | uint64_t{1} << 32;
constexpr uint64_t STORE_HAS_PARENT = 1;
constexpr uint64_t STORE_HAS_EXTRAS = 2;
constexpr uint64_t STORE_HASHED = 4;

// All counters; the names and their order are repeated in src/native/prefix_index.ts.
struct IndexStats {
  uint64_t held_blocks = 0;      // (slot, block) pairs
  uint64_t distinct_blocks = 0;  // blocks that some slot holds
  uint64_t runs = 0;
  uint64_t orphan_stores = 0;
  uint64_t orphan_blocks = 0;
  uint64_t extra_copies = 0;  // (slot, hash) pairs with copies counted beside
  uint64_t aliases = 0;
  uint64_t bytes_live = 0;
  uint64_t ops = 0;
  uint64_t blocks_stored = 0;
  uint64_t blocks_removed = 0;
  uint64_t unknown_removals = 0;
  uint64_t misfit_stores = 0;   // wrong token count, or a hash that is its own parent
  uint64_t dropped_blocks = 0;  // past the byte budget
  uint64_t dropped_orphans = 0;
  uint64_t merges = 0;
  uint64_t clears = 0;
  uint64_t bytes_reserved = 0;  // bytes_live and free space that is kept
};
constexpr uint32_t STATS_COUNT = sizeof(IndexStats) / sizeof(uint64_t);

// Equal engine hashes of two groups are different hashes; 0 stays free as "none".
inline uint64_t scoped(uint64_t hash, uint32_t group) {
  const uint64_t mixed = scramble(hash + group * 0x9e3779b97f4a7c15u);
  return mixed == 0 ? 1 : mixed;
}

class PrefixIndex {
 public:
  PrefixIndex(uint32_t block_size, uint64_t bytes_max, const OrphanLimits& orphan_limits);

  uint32_t block_size() const { return block_size_; }

  // Writer thread.
  void apply(uint32_t slot, uint32_t group, const uint64_t* ops, size_t op_words,
             const uint32_t* tokens, size_t token_words);
  void clear_slot(uint32_t slot);
  void remove_slot(uint32_t slot);
  // Forgets everything and gives the memory back; the addresses stay for late readers.
  void close();

  // Any thread.
  void hide_slot(uint32_t slot) { __atomic_fetch_add(&visible_[slot].hidden, 1, __ATOMIC_ACQ_REL); }
  uint32_t match(const uint64_t* keys, uint32_t count, uint32_t* out_slots,
                 uint32_t* out_depths) const;
  void stats(double* out) const;
  uint64_t held_blocks(uint32_t slot) const { return shared_load(slots_[slot].held); }

  // Walks everything and checks the invariants; for tests.
  void verify();

 private:
  // hidden != cleared: the slot is invisible.
  struct Visible {
    uint32_t hidden = 0;
    uint32_t cleared = 0;
  };
  struct Place {
    uint32_t run;
    uint32_t offset;
  };
  struct SlotState {
    uint32_t group = 0;
    uint64_t held = 0;            // blocks covered
    uint32_t live_runs = 0;       // runs with an entry of this slot
    Place next_removed = {0, 0};  // where the next removal is expected
    Place last_stored = {0, 0};   // where the next store's parent is expected
    std::vector<uint32_t> runs;   // runs that may have an entry of this slot, some of them twice
  };
  // What a store has written and not yet published: the slot will cover blocks [from, to) of
  // `run`, and a run that is being built (at its end, or anew) will have the length `built`.
  struct Pending {
    uint32_t run = RUN_NONE;
    uint32_t slot = 0;
    uint32_t from = 0;
    uint32_t to = 0;
    uint32_t built = 0;
    bool is_building = false;
    bool is_new = false;
  };
  struct Attach;

  // batch.cc
  size_t apply_store(uint32_t slot, const uint64_t* words, size_t left, const uint32_t** tokens,
                     size_t* tokens_left);
  void attach_announced();
  void publish_stats();
  // store.cc
  void store(uint32_t slot, Place parent, uint64_t root, const uint64_t* hashes,
             const uint64_t* tokens, uint32_t count);
  bool step(uint32_t slot, Place* at, uint64_t key, uint64_t hash, uint32_t more);
  bool step_new(uint32_t slot, Place* at, uint64_t key, uint64_t hash, uint32_t more);
  void hold_existing(uint32_t slot, Place at, uint64_t hash);
  void hold_alias(uint32_t slot, Place at, uint32_t alias);
  void cover(uint32_t slot, uint32_t run, uint32_t from, uint32_t to);
  void flush();
  bool start_run(uint32_t slot, Place parent, uint32_t room);
  void append(uint64_t key, uint64_t hash);
  void enter(uint64_t hash, uint64_t ref);
  uint32_t cover_on(uint32_t slot, Place* at, uint64_t* key, const uint64_t* hashes,
                    const uint64_t* tokens, uint32_t count);
  uint32_t build_on(Place* at, uint64_t* key, const uint64_t* hashes, const uint64_t* tokens,
                    uint32_t count);
  bool make_room(uint32_t run, uint32_t wanted);
  bool fits(uint32_t blocks);
  void rebuild_engine_map(uint64_t more);
  // hold.cc
  bool holds(uint32_t slot, uint64_t ref);
  uint64_t find_held(uint32_t slot, uint64_t hash);
  bool find_place(uint32_t slot, uint64_t hash, Place* out);
  uint64_t hash_at(uint64_t ref);
  uint64_t block_of(uint64_t ref) {
    return ref_is_alias(ref) ? copies_.alias(ref_alias(ref)).block : ref;
  }
  // remove.cc
  void remove(uint32_t slot, uint64_t hash);
  size_t remove_tails(uint32_t slot, const uint64_t* words, size_t events);
  void drop_copy(uint32_t slot, uint64_t ref);
  void uncover(uint32_t slot, uint32_t run, uint32_t offset);
  void release_primary(uint32_t run, uint32_t offset);
  void release_alias(uint32_t alias);
  void count_release(uint32_t run, uint32_t offset);
  void settle(uint32_t run);
  uint32_t free_run(uint32_t run);
  void trim_room(uint32_t run);
  void clear_blocks(uint32_t slot);
  void drop_from_run(uint32_t slot, uint32_t run);
  void sweep_runs(SlotState& state, uint32_t slot);
  // merge.cc
  void merge_some();
  void note_mergeable(uint32_t run);
  bool is_mergeable(uint32_t run);
  void merge(uint32_t run);
  void rename_block(uint32_t run, uint32_t offset, uint32_t to_run, uint32_t to_offset);

  Head& head(uint32_t run) { return *heads_.at(runs_[run].head); }
  uint64_t& engine(uint32_t run, uint32_t offset) {
    return arena_.engine(runs_[run].base + offset);
  }
  uint64_t bytes_total() const;

  const uint32_t block_size_;
  const uint64_t bytes_max_;
  HeadTable heads_;
  BlockArena arena_;
  Coverage coverage_;
  RunTable runs_;
  EngineMap engine_map_;
  Copies copies_;
  Orphans orphans_;
  Visible visible_[SLOTS_MAX];
  SlotState slots_[SLOTS_MAX];
  Pending pending_;
  IndexStats stats_;
  IndexStats published_;
  uint64_t slot_list_bytes_ = 0;
  uint32_t sweep_ = 0;
  uint32_t writing_ = 0;
  bool has_disputes_ = false;        // two blocks had one hash; stays until `close`
  std::vector<uint64_t> hashes_;     // of the store at hand, scrambled
  std::vector<uint64_t> tokens_;     // token hashes of the store at hand
  std::vector<uint64_t> announced_;  // hashes that orphans may wait for
  std::vector<uint32_t> blanks_;     // runs that got blocks which nobody holds
  std::vector<uint32_t> dropped_;    // offsets of one run that a cleared slot held
  std::vector<uint32_t> mergeable_;
};

}  // namespace warmpath
