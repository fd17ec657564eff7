// Removals: one hash, or everything of a slot.
//
// Worked example: slot 1 holds run 1 [a b c] and run 2 [x y] that hangs on (1, 1). Removing c:
// the block is the tail, nobody else holds it, so its engine word becomes 0, its entry leaves the
// engine map, and the run ends at 2. Removing b and a: nobody holds them, yet run 2 hangs on b, so
// run 1 stays as a ghost of length 2. Removing y and x frees run 2, which unhangs it, which frees
// run 1.
#include "prefix_index/prefix_index.h"

namespace warmpath {

namespace {
// A run gives room back when at least this many blocks of it, and half of it, lie unused.
constexpr uint32_t TRIM_BLOCKS_MIN = 64;
// How far before the block at hand the engine words are fetched: a chain that is evicted is cold.
constexpr uint32_t FETCH_BLOCKS_AHEAD = 32;
}  // namespace

void PrefixIndex::remove(uint32_t slot, uint64_t hash) {
  stats_.blocks_removed++;
  SlotState& state = slots_[slot];
  // Engines evict the deepest block of a chain first, so the parent of the block removed before
  // is the one to expect; that saves the random access to the engine map in nearly all cases.
  const Place hint = state.next_removed;
  uint64_t ref = REF_NONE;
  const Run& expected = runs_[hint.run];
  if (hint.offset < expected.len && arena_.engine(expected.base + hint.offset) == hash) {
    ref = ref_of(hint.run, hint.offset);
  }
  if (ref == REF_NONE || !holds(slot, ref)) ref = find_held(slot, hash);
  if (ref == REF_NONE) {
    if (!orphans_.remove(hash, slot)) stats_.unknown_removals++;
    return;
  }
  const uint64_t block = block_of(ref);
  const uint32_t run = ref_run(block);
  const uint32_t offset = ref_offset(block);
  if (offset > 0) {
    state.next_removed = {run, offset - 1};
  } else {
    state.next_removed = {runs_[run].parent, runs_[run].parent_offset};
  }
  drop_copy(slot, ref);
}

// The fast part of removals: tails of a run that the slot alone holds, each under one hash, once,
// as an eviction sends them, one event a block. Returns how many of the events went this way.
size_t PrefixIndex::remove_tails(uint32_t slot, const uint64_t* words, size_t events) {
  SlotState& state = slots_[slot];
  const uint32_t run = state.next_removed.run;
  Run& record = runs_[run];
  uint32_t len = record.len;
  if (state.next_removed.offset + 1 != len || record.aliases != 0 || !copies_.is_empty()) return 0;
  Head& owner = *heads_.at(record.head);
  if (own_load(owner.cover[0]) != cover_entry(slot, 0, len)) return 0;
  if (own_load(owner.cover[1]) != COVER_NONE) return 0;
  // The last block, and a block on which a child hangs, take the long way.
  const uint32_t len_min = record.fork_end > 0 ? record.fork_end : 1;
  size_t done = 0;
  while (done < events && len > len_min && words[2 * done] == OP_REMOVE_ONE) {
    const uint64_t hash = scoped(words[2 * done + 1], state.group);
    uint64_t& word = arena_.engine(record.base + len - 1);
    if (word != hash) break;
    word = 0;
    engine_map_.erase(hash, ref_of(run, len - 1));
    len--;
    done++;
    if (len >= FETCH_BLOCKS_AHEAD) arena_.prefetch(record.base + len - FETCH_BLOCKS_AHEAD);
  }
  if (done == 0) return 0;
  HeadTable::open(&owner);
  shared_store(owner.cover[0], cover_entry(slot, 0, len));
  shared_store(owner.tail, KEY_EMPTY);
  shared_store(owner.span, pack(record.base, len));
  HeadTable::close(&owner);
  record.len = len;
  state.next_removed.offset = len - 1;
  shared_store(state.held, state.held - done);
  stats_.held_blocks -= done;
  stats_.distinct_blocks -= done;
  stats_.blocks_removed += done;
  if (record.fork_end == len) note_mergeable(run);
  trim_room(run);
  return done;
}

// The slot holds the hash (see copies.h) and gives one copy of it up.
void PrefixIndex::drop_copy(uint32_t slot, uint64_t ref) {
  const uint64_t block = block_of(ref);
  const uint32_t run = ref_run(block);
  const uint32_t offset = ref_offset(block);
  if (!ref_is_alias(ref)) {
    const bool is_plain = runs_[run].aliases == 0 || copies_.under_aliases(block, slot) == 0;
    if (!copies_.is_empty() && copies_.extra(ref, slot) > 0) {
      copies_.sub(ref, slot);
      if (is_plain || copies_.extra(ref, slot) > 0) return;
    } else {
      uncover(slot, run, offset);
    }
    release_primary(run, offset);
  } else {
    const uint32_t alias = ref_alias(ref);
    copies_.sub(ref, slot);
    if (copies_.extra(ref, slot) > 0) return;
    copies_.alias(alias).holders--;
    if (copies_.under_aliases(block, slot) == 0) {
      if (copies_.extra(block, slot) > 0) {
        copies_.sub(block, slot);
      } else {
        uncover(slot, run, offset);
      }
    }
    if (copies_.alias(alias).holders == 0) release_alias(alias);
  }
  if (offset + 1 == runs_[run].len) settle(run);
}

void PrefixIndex::uncover(uint32_t slot, uint32_t run, uint32_t offset) {
  Head& owner = head(run);
  HeadTable::open(&owner);
  const int gained = coverage_.unset(owner, slot, offset);
  HeadTable::close(&owner);
  SlotState& state = slots_[slot];
  if (gained < 0) {
    state.live_runs--;
    note_mergeable(run);
    note_mergeable(runs_[run].parent);
  }
  shared_store(state.held, state.held - 1);
  stats_.held_blocks--;
}

// The block's primary hash leaves the engine map if no slot holds it any more.
void PrefixIndex::release_primary(uint32_t run, uint32_t offset) {
  const uint64_t block = ref_of(run, offset);
  uint64_t& primary = engine(run, offset);
  if (primary == 0) return;
  if (runs_[run].aliases == 0) {
    if (coverage_.any(head(run), offset)) return;
  } else {
    const CoverSpan all = coverage_.span(head(run));
    for (uint32_t i = 0; i < all.count; i++) {
      if (holds(cover_slot(all.entries[i]), block)) return;
    }
  }
  const uint64_t hash = primary;
  primary = 0;
  engine_map_.erase(hash, block);
  if (runs_[run].aliases == 0 || copies_.first_alias(block) == ALIAS_NONE) {
    stats_.distinct_blocks--;
  }
}

void PrefixIndex::release_alias(uint32_t alias) {
  const Alias gone = copies_.alias(alias);
  engine_map_.erase(gone.hash, REF_ALIAS | alias);
  copies_.drop_alias(alias);
  const uint32_t run = ref_run(gone.block);
  runs_[run].aliases--;
  if (engine(run, ref_offset(gone.block)) == 0 && copies_.first_alias(gone.block) == ALIAS_NONE) {
    stats_.distinct_blocks--;
  }
}

// A run ends where the last holder or the last fork ends; one that ends at 0 is freed, which may
// let its parent go as well.
void PrefixIndex::settle(uint32_t run) {
  while (run != RUN_NONE) {
    Head& owner = head(run);
    uint32_t end = coverage_.end(owner);
    if (runs_[run].fork_end > end) end = runs_[run].fork_end;
    if (end == runs_[run].len) return;
    if (end > 0) {
      runs_[run].len = end;
      HeadTable::open(&owner);
      shared_store(owner.tail, arena_.key(runs_[run].base + end - 1));
      shared_store(owner.span, pack(runs_[run].base, end));
      HeadTable::close(&owner);
      trim_room(run);
      note_mergeable(run);
      return;
    }
    run = free_run(run);
  }
}

void PrefixIndex::trim_room(uint32_t run) {
  Run& record = runs_[run];
  const uint32_t kept = BlockArena::rounded(record.len + 4 + record.len / 8);
  if (record.room < kept + TRIM_BLOCKS_MIN || record.room < kept * 2) return;
  arena_.give(record.base + kept, record.room - kept);
  record.room = kept;
}

// Frees a run that nobody holds and nothing hangs on; returns its parent.
uint32_t PrefixIndex::free_run(uint32_t run) {
  Run& record = runs_[run];
  WARMPATH_CHECK(record.first_child == RUN_NONE && record.aliases == 0);
  Head& owner = head(run);
  HeadTable::open(&owner);
  coverage_.release(owner);
  HeadTable::close(&owner);
  heads_.erase(&owner);
  arena_.give(record.base, record.room);
  const uint32_t parent = record.parent;
  runs_.unhang(run);
  runs_.give(run);
  note_mergeable(parent);
  return parent;
}

// Everything that the slot holds or has parked: O(its blocks).
void PrefixIndex::clear_blocks(uint32_t slot) {
  SlotState& state = slots_[slot];
  std::vector<uint32_t> runs;
  runs.swap(state.runs);
  slot_list_bytes_ -= runs.capacity() * sizeof(uint32_t);
  for (const uint32_t run : runs) {
    if (runs_[run].room != 0) drop_from_run(slot, run);
  }
  WARMPATH_CHECK(state.held == 0 && state.live_runs == 0);
  state.next_removed = state.last_stored = {RUN_NONE, 0};
  orphans_.drop_slot(slot);
}

void PrefixIndex::drop_from_run(uint32_t slot, uint32_t run) {
  Head& owner = head(run);
  dropped_.clear();
  HeadTable::open(&owner);
  const int gained =
      coverage_.drop(owner, slot, [&](uint32_t offset) { dropped_.push_back(offset); });
  HeadTable::close(&owner);
  if (gained == 0) return;
  note_mergeable(run);
  note_mergeable(runs_[run].parent);
  SlotState& state = slots_[slot];
  state.live_runs--;
  shared_store(state.held, state.held - dropped_.size());
  stats_.held_blocks -= dropped_.size();
  for (const uint32_t offset : dropped_) {
    const uint64_t block = ref_of(run, offset);
    if (runs_[run].aliases > 0) {
      uint32_t next = ALIAS_NONE;
      for (uint32_t a = copies_.first_alias(block); a != ALIAS_NONE; a = next) {
        next = copies_.alias(a).next;
        if (copies_.extra(REF_ALIAS | a, slot) == 0) continue;
        copies_.forget(REF_ALIAS | a, slot);
        if (--copies_.alias(a).holders == 0) release_alias(a);
      }
    }
    if (!copies_.is_empty()) copies_.forget(block, slot);
    release_primary(run, offset);
  }
  settle(run);
}

// Drops from the slot's list what it does not hold any more, and what is there twice.
void PrefixIndex::sweep_runs(SlotState& state, uint32_t slot) {
  sweep_++;
  size_t kept = 0;
  for (const uint32_t run : state.runs) {
    if (runs_[run].room == 0 || runs_[run].stamp == sweep_) continue;
    if (coverage_.entry(head(run), slot) == COVER_NONE) continue;
    runs_[run].stamp = sweep_;
    state.runs[kept++] = run;
  }
  state.runs.resize(kept);
}

void PrefixIndex::clear_slot(uint32_t slot) {
  WARMPATH_CHECK(slot < SLOTS_MAX);
  const uint32_t hidden = __atomic_load_n(&visible_[slot].hidden, __ATOMIC_ACQUIRE);
  stats_.clears++;
  clear_blocks(slot);
  __atomic_store_n(&visible_[slot].cleared, hidden, __ATOMIC_RELEASE);
  merge_some();
  publish_stats();
}

void PrefixIndex::remove_slot(uint32_t slot) {
  clear_slot(slot);
  slots_[slot].group = 0;
}

}  // namespace warmpath
