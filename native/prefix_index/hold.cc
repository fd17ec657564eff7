// Who holds what: from an engine hash to a block, and copies.
#include "prefix_index/prefix_index.h"

namespace warmpath {

uint64_t PrefixIndex::hash_at(uint64_t ref) {
  if (ref_is_alias(ref)) return copies_.alias(ref_alias(ref)).hash;
  // An entry that waits to be erased may name what is not there any more.
  const Run& run = runs_[ref_run(ref)];
  return ref_offset(ref) < run.len ? arena_.engine(run.base + ref_offset(ref)) : 0;
}

bool PrefixIndex::holds(uint32_t slot, uint64_t ref) {
  if (ref_is_alias(ref)) return copies_.extra(ref, slot) > 0;
  const uint32_t run = ref_run(ref);
  const uint32_t offset = ref_offset(ref);
  if (run == pending_.run && slot == pending_.slot && offset >= pending_.from) {
    if (offset < pending_.to) return true;
  }
  if (run == pending_.run && pending_.is_new) return false;
  if (!coverage_.covers(head(run), slot, offset)) return false;
  if (runs_[run].aliases == 0 || copies_.under_aliases(ref, slot) == 0) return true;
  return copies_.extra(ref, slot) > 0;
}

uint64_t PrefixIndex::find_held(uint32_t slot, uint64_t hash) {
  return engine_map_.find(hash,
                          [&](uint64_t ref) { return hash_at(ref) == hash && holds(slot, ref); });
}

// Where the block with this hash lies: as the slot itself says, else as all others agree.
bool PrefixIndex::find_place(uint32_t slot, uint64_t hash, Place* out) {
  const Place hint = slots_[slot].last_stored;
  if (hint.run != RUN_NONE && hint.offset < runs_[hint.run].len &&
      engine(hint.run, hint.offset) == hash && holds(slot, ref_of(hint.run, hint.offset))) {
    *out = hint;
    return true;
  }
  uint64_t block = REF_NONE;
  const uint64_t held = find_held(slot, hash);
  if (held != REF_NONE) {
    block = block_of(held);
  } else {
    bool is_disputed = false;
    engine_map_.find(hash, [&](uint64_t ref) {
      if (hash_at(ref) != hash) return false;
      is_disputed = block != REF_NONE && block != block_of(ref);
      block = block_of(ref);
      return is_disputed;
    });
    if (is_disputed || block == REF_NONE) return false;
  }
  *out = {ref_run(block), ref_offset(block)};
  return true;
}

}  // namespace warmpath
