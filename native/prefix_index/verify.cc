// Walks the whole index and checks every invariant: O(everything), for tests only.
#include "prefix_index/prefix_index.h"

namespace warmpath {

void PrefixIndex::verify() {
  engine_map_.settle();
  uint64_t held = 0;
  uint64_t distinct = 0;
  uint64_t engine_words = 0;
  uint32_t live = 0;
  for (uint32_t run = 1; run < runs_.end(); run++) {
    if (runs_[run].room == 0) continue;
    live++;
    Head& owner = head(run);
    const uint32_t len = owner.len();
    WARMPATH_CHECK(len == runs_[run].len);
    WARMPATH_CHECK(own_load(owner.version) % 2 == 0 && owner.run == run);
    WARMPATH_CHECK(owner.base() == runs_[run].base && len > 0 && len <= runs_[run].room);
    WARMPATH_CHECK(own_load(owner.key) == arena_.key(runs_[run].base));
    const uint64_t tail = own_load(owner.tail);
    WARMPATH_CHECK(tail == KEY_EMPTY || tail == arena_.key(runs_[run].base + len - 1));
    WARMPATH_CHECK(heads_.find(own_load(owner.key)) == &owner);
    uint32_t end = coverage_.end(owner);
    if (runs_[run].fork_end > end) end = runs_[run].fork_end;
    WARMPATH_CHECK(end == len);
    uint32_t fork_end = 0;
    for (uint32_t child = runs_[run].first_child; child != RUN_NONE; child = runs_[child].next) {
      WARMPATH_CHECK(runs_[child].parent == run && runs_[child].room != 0);
      if (runs_[child].parent_offset + 1 > fork_end) fork_end = runs_[child].parent_offset + 1;
    }
    WARMPATH_CHECK(fork_end == runs_[run].fork_end);
    const CoverSpan all = coverage_.span(owner);
    for (uint32_t offset = 0; offset < len; offset++) {
      uint32_t holders = 0;
      for (uint32_t i = 0; i < all.count; i++) {
        holders += coverage_.covers(owner, cover_slot(all.entries[i]), offset);
      }
      held += holders;
      distinct += holders > 0;
      const uint64_t block = ref_of(run, offset);
      const bool is_named = engine(run, offset) != 0 || copies_.first_alias(block) != ALIAS_NONE;
      WARMPATH_CHECK(is_named == (holders > 0));
      if (engine(run, offset) == 0) continue;
      engine_words++;
      WARMPATH_CHECK(engine_map_.find(engine(run, offset),
                                      [&](uint64_t ref) { return ref == block; }) == block);
    }
  }
  WARMPATH_CHECK(held == stats_.held_blocks && distinct == stats_.distinct_blocks);
  WARMPATH_CHECK(engine_words + copies_.aliases() == engine_map_.size());
  WARMPATH_CHECK(live == runs_.live() && live == heads_.count());
  WARMPATH_CHECK(pending_.run == RUN_NONE);
  uint64_t by_slot = 0;
  for (const SlotState& state : slots_) by_slot += state.held;
  WARMPATH_CHECK(by_slot == held);
}

}  // namespace warmpath
