// Merging of runs: what forks left behind becomes one run again.
//
//   run 1 [a b c] ── run 2 [x y] ── run 3 [z]        all held by slots 1 and 4
//                └── run 5 [q]      (freed: its holder evicted it)
//
// With run 5 gone, run 2 is the only child, hangs on the tail of run 1 and has the same holders:
// run 1 becomes [a b c x y], then [a b c x y z]. Without this every fork that ever was would stay
// as a boundary (a peer grew by 20 GB an hour), and each lookup would pay a cache miss for it.
//
// A run is noted when it may have become mergeable: a child was freed, its end moved to a fork,
// its or its child's set of holders changed. A few noted runs are tried after each batch, so the
// writer never pauses. Merging costs about 10-20 ns a block of the child (its entries in the
// engine map name run and offset), hence the bound on the child's length: a boundary between long
// runs costs less than a byte a block.
#include "prefix_index/prefix_index.h"

namespace warmpath {

namespace {

// Blocks of a child that is still merged: bounds the pause to some 20 us.
constexpr uint32_t MERGE_BLOCKS_MAX = 1024;
// Children of the child, which all get another parent.
constexpr uint32_t MERGE_CHILDREN_MAX = 64;
// Noted runs tried after one batch.
constexpr uint32_t MERGE_TRIES_MAX = 16;

}  // namespace

void PrefixIndex::note_mergeable(uint32_t run) {
  if (run == RUN_NONE || !runs_.has_one_child(run) || runs_[run].is_noted) return;
  runs_[run].is_noted = 1;
  mergeable_.push_back(run);
}

void PrefixIndex::merge_some() {
  for (uint32_t tries = 0; tries < MERGE_TRIES_MAX && !mergeable_.empty(); tries++) {
    const uint32_t run = mergeable_.back();
    mergeable_.pop_back();
    if (run >= runs_.end() || runs_[run].room == 0) continue;
    runs_[run].is_noted = 0;
    if (is_mergeable(run)) merge(run);
  }
}

bool PrefixIndex::is_mergeable(uint32_t run) {
  if (!runs_.has_one_child(run)) return false;
  const uint32_t child = runs_[run].first_child;
  const uint32_t len = runs_[run].len;
  const uint32_t more = runs_[child].len;
  if (runs_[child].parent_offset + 1 != len || more > MERGE_BLOCKS_MAX) return false;
  if (len + more > RUN_BLOCKS_MAX) return false;
  uint32_t children = 0;
  for (uint32_t id = runs_[child].first_child; id != RUN_NONE; id = runs_[id].next) {
    if (++children > MERGE_CHILDREN_MAX) return false;
  }
  const CoverSpan holders = coverage_.span(head(run));
  const CoverSpan heirs = coverage_.span(head(child));
  if (holders.count != heirs.count) return false;
  for (uint32_t i = 0; i < heirs.count; i++) {
    const uint64_t heir = own_load(heirs.entries[i]);
    const uint64_t holder = coverage_.entry(head(run), cover_slot(heir));
    if (holder == COVER_NONE || cover_cut(holder) != len || cover_flags(heir) != 0) return false;
  }
  return true;
}

void PrefixIndex::merge(uint32_t run) {
  const uint32_t child = runs_[run].first_child;
  const uint32_t len = runs_[run].len;
  const uint32_t more = runs_[child].len;
  if (!make_room(run, len + more)) return;
  for (uint32_t offset = 0; offset < more; offset++) {
    arena_.set_key(runs_[run].base + len + offset, arena_.key(runs_[child].base + offset));
    engine(run, len + offset) = engine(child, offset);
    rename_block(child, offset, run, len + offset);
  }
  runs_[run].len = len + more;
  runs_[run].aliases += runs_[child].aliases;
  runs_[child].aliases = 0;

  Head& owner = head(run);
  Head& gone = head(child);
  HeadTable::open(&owner);
  shared_store(owner.tail, own_load(gone.tail));
  shared_store(owner.span, pack(runs_[run].base, len + more));
  const CoverSpan heirs = coverage_.span(gone);
  for (uint32_t i = 0; i < heirs.count; i++) {
    const uint64_t heir = own_load(heirs.entries[i]);
    coverage_.set(owner, cover_slot(heir), len, len + cover_cut(heir));
    slots_[cover_slot(heir)].live_runs--;
  }
  HeadTable::close(&owner);

  HeadTable::open(&gone);
  coverage_.release(gone);
  HeadTable::close(&gone);
  heads_.erase(&gone);
  arena_.give(runs_[child].base, runs_[child].room);
  runs_.adopt(run, child, len);
  runs_.give(child);
  stats_.merges++;
  note_mergeable(run);
}

// All that names a block by place follows it.
void PrefixIndex::rename_block(uint32_t run, uint32_t offset, uint32_t to_run, uint32_t to_offset) {
  const uint64_t from = ref_of(run, offset);
  const uint64_t to = ref_of(to_run, to_offset);
  const uint64_t hash = engine(to_run, to_offset);
  if (hash != 0) engine_map_.move(hash, from, to);
  if (runs_[run].aliases > 0) copies_.move_block(from, to);
  if (copies_.is_empty()) return;
  const CoverSpan holders = coverage_.span(head(run));
  for (uint32_t i = 0; i < holders.count; i++) {
    const uint32_t slot = cover_slot(own_load(holders.entries[i]));
    for (uint32_t left = copies_.extra(from, slot); left > 0; left--) {
      copies_.sub(from, slot);
      copies_.add(to, slot);
    }
  }
}

}  // namespace warmpath
