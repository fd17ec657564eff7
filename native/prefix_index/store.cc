// Stores: walk the keys from the parent, hold what is there, build what is not.
//
// Worked example: slot 1 holds run 1 [a b c]; it stores d e behind c. c is the tail of a run that
// slot 1 holds alone, so d and e are appended to run 1: keys and engine hashes are written behind
// its published end, then the head is opened, gets tail, length and coverage, and is closed.
// Slot 2 then stores a b x: a and b are there (coverage [0, 2) of run 1 is pending), x is not and
// b is no tail, so run 2 [x] is built, hung on (1, 1), and published with its coverage.
#include <algorithm>

#include "prefix_index/prefix_index.h"

namespace warmpath {

namespace {

// How far ahead the engine-map line of a hash is fetched.
constexpr uint32_t PREFETCH_AHEAD = 16;

// Room for blocks to come at the end of a run (decode adds them one at a time).
uint32_t with_slack(uint32_t blocks) {
  return blocks + 4 + blocks / 16;
}

}  // namespace

void PrefixIndex::store(uint32_t slot, Place parent, uint64_t root, const uint64_t* hashes,
                        const uint64_t* tokens, uint32_t count) {
  while (count > 0 && hashes[count - 1] == 0) count--;
  if (count == 0) return;
  if (!fits(count)) {
    stats_.dropped_blocks += count;
    return;
  }
  const bool is_awaited = !orphans_.is_empty();
  for (uint32_t i = 0; i < PREFETCH_AHEAD && i < count; i++) engine_map_.prefetch(hashes[i]);
  Place at = parent;
  uint64_t key = at.run == RUN_NONE ? root : arena_.key(runs_[at.run].base + at.offset);
  for (uint32_t i = 0; i < count; i++) {
    if (i + PREFETCH_AHEAD < count) engine_map_.prefetch(hashes[i + PREFETCH_AHEAD]);
    const uint64_t hash = hashes[i];
    const uint64_t held = hash == 0 ? REF_NONE : find_held(slot, hash);
    if (held != REF_NONE) {
      copies_.add(held, slot);
      const uint64_t block = block_of(held);
      at = {ref_run(block), ref_offset(block)};
      key = arena_.key(runs_[at.run].base + at.offset);
    } else {
      key = chain_mix(key, tokens[i]);
      if (!step(slot, &at, key, hash, count - 1 - i)) {
        stats_.dropped_blocks += count - i;
        break;
      }
    }
    if (hash == 0) continue;
    stats_.blocks_stored++;
    if (is_awaited) {
      announced_.push_back(hash);
    } else if (at.run == pending_.run && at.offset + 1 == pending_.to) {
      const uint32_t next = i + 1;
      i += pending_.is_building
               ? build_on(&at, &key, hashes + next, tokens + next, count - next)
               : cover_on(slot, &at, &key, hashes + next, tokens + next, count - next);
    }
  }
  flush();
  slots_[slot].last_stored = at;
  for (const uint32_t run : blanks_) {
    if (runs_[run].room != 0) settle(run);
  }
  blanks_.clear();
}

// From the block `at` to the block with the next key, which the slot does not hold by this hash.
bool PrefixIndex::step(uint32_t slot, Place* at, uint64_t key, uint64_t hash, uint32_t more) {
  if (pending_.is_building) {
    if (at->run == pending_.run && at->offset + 1 == pending_.built) {
      return step_new(slot, at, key, hash, more);
    }
    flush();
  }
  // Run 0, which no block is in, has the length 0.
  const Run& here = runs_[at->run];
  const uint32_t next = at->offset + 1;
  if (next < here.len && arena_.key(here.base + next) == key) {
    at->offset = next;
  } else {
    const Head* found = heads_.find(key);
    if (found == nullptr) return step_new(slot, at, key, hash, more);
    *at = {found->run, 0};
  }
  if (hash != 0) hold_existing(slot, *at, hash);
  return true;
}

// The key is nowhere: it goes to the end of the run at hand if the slot alone holds that, else it
// starts a run. All keys behind it are new as well, so they are not looked for.
bool PrefixIndex::step_new(uint32_t slot, Place* at, uint64_t key, uint64_t hash, uint32_t more) {
  const uint32_t wanted = std::min(more + 1, RUN_BLOCKS_MAX);
  if (pending_.is_building && pending_.built == RUN_BLOCKS_MAX) flush();
  if (!pending_.is_building) {
    flush();
    const bool is_tail = at->run != RUN_NONE && at->offset + 1 == runs_[at->run].len &&
                         at->offset + 1 < RUN_BLOCKS_MAX &&
                         coverage_.held_alone(head(at->run), slot);
    if (is_tail) {
      const uint32_t end = at->offset + 1;
      if (!make_room(at->run, std::min(end + wanted, RUN_BLOCKS_MAX))) return false;
      pending_ = {at->run, slot, end, end, end, true, false};
    } else if (!start_run(slot, *at, wanted)) {
      return false;
    }
  } else if (pending_.built == runs_[pending_.run].room &&
             !make_room(pending_.run, std::min(pending_.built + wanted, RUN_BLOCKS_MAX))) {
    return false;
  }
  append(key, hash);
  *at = {pending_.run, pending_.built - 1};
  return true;
}

void PrefixIndex::append(uint64_t key, uint64_t hash) {
  if (hash != 0 && pending_.to != pending_.built) {
    // Blank blocks lie between: what is built so far is published, with a gap in its coverage.
    const Pending before = pending_;
    flush();
    pending_ = {before.run, before.slot, before.built, before.built, before.built, true, false};
  }
  const uint32_t offset = pending_.built++;
  runs_[pending_.run].len = pending_.built;
  arena_.set_key(runs_[pending_.run].base + offset, key);
  engine(pending_.run, offset) = hash;
  if (hash == 0) {
    blanks_.push_back(pending_.run);
    return;
  }
  pending_.to = pending_.built;
  enter(hash, ref_of(pending_.run, offset));
  stats_.distinct_blocks++;
}

// A new entry. From the first hash on that two blocks share (a node that lies, or hashes that
// collide), the place where a hash is expected does not prove that it is nowhere else.
void PrefixIndex::enter(uint64_t hash, uint64_t ref) {
  if (!has_disputes_) {
    const auto same = [&](uint64_t other) { return other != ref && hash_at(other) == hash; };
    has_disputes_ = engine_map_.find(hash, same) != REF_NONE;
  }
  engine_map_.insert(hash, ref);
}

// The other fast part: blocks of one run, under the hashes they have, that the slot does not cover
// yet. Returns how many.
uint32_t PrefixIndex::cover_on(uint32_t slot, Place* at, uint64_t* key, const uint64_t* hashes,
                               const uint64_t* tokens, uint32_t count) {
  const Run& record = runs_[at->run];
  if (record.aliases != 0 || has_disputes_) return 0;
  const uint64_t entry = coverage_.entry(head(at->run), slot);
  const uint32_t first = at->offset + 1;
  if (entry != COVER_NONE && (cover_flags(entry) != 0 || cover_cut(entry) > first)) return 0;
  const uint32_t end = std::min(record.len, first + count);
  uint32_t offset = first;
  for (; offset < end; offset++) {
    const uint64_t hash = hashes[offset - first];
    const uint64_t next = chain_mix(*key, tokens[offset - first]);
    if (hash == 0 || arena_.engine(record.base + offset) != hash) break;
    if (arena_.key(record.base + offset) != next) break;
    *key = next;
  }
  pending_.to = offset;
  at->offset = offset - 1;
  stats_.blocks_stored += offset - first;
  return offset - first;
}

// The fast part of a store: new blocks behind new blocks. Returns how many went this way; the next
// one needs a look, because its hash may be there, it is blank, or the room is used up.
uint32_t PrefixIndex::build_on(Place* at, uint64_t* key, const uint64_t* hashes,
                               const uint64_t* tokens, uint32_t count) {
  Run& record = runs_[pending_.run];
  if (pending_.to != pending_.built) return 0;
  const uint32_t first = pending_.built;
  const uint32_t end = std::min(record.room, first + count);
  uint32_t offset = first;
  for (; offset < end; offset++) {
    const uint32_t i = offset - first;
    if (i + PREFETCH_AHEAD < count) engine_map_.prefetch(hashes[i + PREFETCH_AHEAD]);
    const uint64_t hash = hashes[i];
    if (hash == 0) break;
    if (!engine_map_.insert_new(hash, ref_of(pending_.run, offset))) {
      const auto same = [&](uint64_t ref) { return hash_at(ref) == hash; };
      if (engine_map_.find(hash, same) != REF_NONE) break;
      engine_map_.insert(hash, ref_of(pending_.run, offset));
    }
    *key = chain_mix(*key, tokens[i]);
    arena_.set_key(record.base + offset, *key);
    arena_.engine(record.base + offset) = hash;
    // The next insert may look at this block, if their hashes are equal.
    record.len = offset + 1;
  }
  const uint32_t done = offset - first;
  pending_.built = pending_.to = offset;
  at->offset = offset - 1;
  stats_.blocks_stored += done;
  stats_.distinct_blocks += done;
  return done;
}

bool PrefixIndex::start_run(uint32_t slot, Place parent, uint32_t room) {
  const uint32_t roomy = BlockArena::rounded(std::min(with_slack(room), RUN_BLOCKS_MAX));
  const uint64_t arena_max = bytes_max_ - std::min(bytes_max_, bytes_total() - arena_.bytes());
  const uint32_t base = arena_.take(roomy, arena_max);
  if (base == NO_BLOCK) return false;
  const uint32_t run = runs_.take();
  runs_[run].base = base;
  runs_[run].room = roomy;
  runs_.hang(run, parent.run, parent.offset);
  pending_ = {run, slot, 0, 0, 0, true, true};
  return true;
}

// Room for `wanted` blocks: in place if the space behind is free, else somewhere else.
bool PrefixIndex::make_room(uint32_t run, uint32_t wanted) {
  Run& record = runs_[run];
  if (record.room >= wanted) return true;
  const uint32_t roomy = BlockArena::rounded(std::min(with_slack(wanted), RUN_BLOCKS_MAX));
  for (const uint32_t size : {roomy, BlockArena::rounded(wanted)}) {
    if (!arena_.extend(record.base, record.room, size)) continue;
    record.room = size;
    return true;
  }
  const uint64_t arena_max = bytes_max_ - std::min(bytes_max_, bytes_total() - arena_.bytes());
  const uint32_t base = arena_.take(roomy, arena_max);
  if (base == NO_BLOCK) return false;
  for (uint32_t offset = 0; offset < record.room; offset++) {
    arena_.set_key(base + offset, arena_.key(record.base + offset));
    arena_.engine(base + offset) = arena_.engine(record.base + offset);
  }
  const uint32_t old_base = record.base;
  const uint32_t old_room = record.room;
  record.base = base;
  record.room = roomy;
  if (!(pending_.is_new && pending_.run == run)) {
    Head& owner = head(run);
    HeadTable::open(&owner);
    shared_store(owner.span, pack(base, owner.len()));
    HeadTable::close(&owner);
  }
  arena_.give(old_base, old_room);
  return true;
}

// The slot holds a block that is there: under the hash it has, or under a new name.
void PrefixIndex::hold_existing(uint32_t slot, Place at, uint64_t hash) {
  uint64_t& primary = engine(at.run, at.offset);
  const uint64_t block = ref_of(at.run, at.offset);
  if (runs_[at.run].aliases == 0 && (primary == hash || primary == 0)) {
    if (primary == 0) {
      primary = hash;
      enter(hash, block);
      stats_.distinct_blocks++;
    }
    if (pending_.run == at.run && pending_.to == at.offset) {
      pending_.to++;
    } else {
      flush();
      pending_ = {at.run, slot, at.offset, at.offset + 1, 0, false, false};
    }
    return;
  }
  flush();
  uint32_t alias = copies_.first_alias(block);
  const bool is_named = primary != 0 || alias != ALIAS_NONE;
  while (alias != ALIAS_NONE && copies_.alias(alias).hash != hash)
    alias = copies_.alias(alias).next;
  if (alias == ALIAS_NONE && primary == 0) {
    primary = hash;
    enter(hash, block);
    if (!is_named) stats_.distinct_blocks++;
  }
  if (primary == hash) {
    if (coverage_.covers(head(at.run), slot, at.offset)) {
      copies_.add(block, slot);
    } else {
      cover(slot, at.run, at.offset, at.offset + 1);
    }
    return;
  }
  if (alias == ALIAS_NONE) {
    alias = copies_.add_alias(hash, block);
    runs_[at.run].aliases++;
    enter(hash, REF_ALIAS | alias);
  }
  hold_alias(slot, at, alias);
}

void PrefixIndex::hold_alias(uint32_t slot, Place at, uint32_t alias) {
  const uint64_t block = ref_of(at.run, at.offset);
  if (copies_.under_aliases(block, slot) == 0) {
    if (coverage_.covers(head(at.run), slot, at.offset)) {
      copies_.add(block, slot);
    } else {
      cover(slot, at.run, at.offset, at.offset + 1);
    }
  }
  copies_.add(REF_ALIAS | alias, slot);
  copies_.alias(alias).holders++;
}

// Blocks [from, to) of the run, none of which the slot covered.
void PrefixIndex::cover(uint32_t slot, uint32_t run, uint32_t from, uint32_t to) {
  Head& owner = head(run);
  HeadTable::open(&owner);
  const int gained = coverage_.set(owner, slot, from, to);
  HeadTable::close(&owner);
  SlotState& state = slots_[slot];
  shared_store(state.held, state.held + (to - from));
  stats_.held_blocks += to - from;
  if (gained > 0) {
    state.live_runs++;
    const size_t before = state.runs.capacity();
    if (state.runs.size() > 2 * size_t{state.live_runs} + 64) sweep_runs(state, slot);
    state.runs.push_back(run);
    slot_list_bytes_ += (state.runs.capacity() - before) * sizeof(uint32_t);
  }
  if (to == runs_[run].len) note_mergeable(runs_[run].parent);
}

// Publish what is pending.
void PrefixIndex::flush() {
  if (pending_.run == RUN_NONE) return;
  const Pending done = pending_;
  pending_ = Pending{};
  if (done.is_building) {
    Run& record = runs_[done.run];
    Head* owner = nullptr;
    if (done.is_new) {
      owner = heads_.insert(arena_.key(record.base), done.run,
                            [&](uint32_t run, uint32_t place) { runs_[run].head = place; });
      record.head = heads_.place_of(owner);
      Coverage::init(*owner);
    } else {
      owner = &head(done.run);
      HeadTable::open(owner);
    }
    shared_store(owner->tail, arena_.key(record.base + done.built - 1));
    shared_store(owner->span, pack(record.base, done.built));
    HeadTable::close(owner);
  }
  if (done.to > done.from) cover(done.slot, done.run, done.from, done.to);
}

bool PrefixIndex::fits(uint32_t blocks) {
  const uint64_t budget = bytes_max_ - bytes_max_ / BUDGET_RESERVE_SHARE;
  uint64_t bytes = bytes_total() + heads_.bytes_next();
  const bool is_growing = engine_map_.is_full_with(blocks);
  if (is_growing) bytes += engine_map_.bytes_for(blocks);
  if (bytes > budget) return false;
  if (is_growing) rebuild_engine_map(blocks);
  return true;
}

void PrefixIndex::rebuild_engine_map(uint64_t more) {
  engine_map_.resize(more);
  for (uint32_t run = 1; run < runs_.end(); run++) {
    if (runs_[run].room == 0) continue;
    const uint32_t len = runs_[run].len;
    for (uint32_t offset = 0; offset < len; offset++) {
      if (offset + PREFETCH_AHEAD < len) {
        engine_map_.prefetch(engine(run, offset + PREFETCH_AHEAD));
      }
      const uint64_t hash = engine(run, offset);
      if (hash != 0) engine_map_.insert(hash, ref_of(run, offset));
    }
  }
  copies_.each_alias([&](uint32_t alias, const Alias& record) {
    engine_map_.insert(record.hash, REF_ALIAS | alias);
  });
}

}  // namespace warmpath
