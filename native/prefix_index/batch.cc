// Batches of operations: decoding, orphans, counters.
#include "prefix_index/prefix_index.h"

namespace warmpath {

PrefixIndex::PrefixIndex(uint32_t block_size, uint64_t bytes_max, const OrphanLimits& limits)
    : block_size_(block_size),
      bytes_max_(bytes_max),
      arena_(bytes_max),
      coverage_(bytes_max),
      orphans_(limits) {
  WARMPATH_CHECK(block_size > 0);
}

void PrefixIndex::apply(uint32_t slot, uint32_t group, const uint64_t* ops, size_t op_words,
                        const uint32_t* tokens, size_t token_words) {
  WARMPATH_CHECK(slot < SLOTS_MAX);
  // Two writers would corrupt everything; this catches most of such mistakes at no cost.
  WARMPATH_CHECK(__atomic_load_n(&writing_, __ATOMIC_RELAXED) == 0);
  __atomic_store_n(&writing_, 1, __ATOMIC_RELAXED);
  SlotState& state = slots_[slot];
  if (state.group != group) {
    // Hashes of another group mean other blocks.
    clear_blocks(slot);
    state.group = group;
  }
  size_t at = 0;
  while (at < op_words) {
    if (ops[at] == OP_REMOVE_ONE) {
      const size_t done = remove_tails(slot, ops + at, (op_words - at) / 2);
      stats_.ops += done;
      at += 2 * done;
      if (done > 0) continue;
    }
    const uint64_t kind = ops[at] & 0xff;
    stats_.ops++;
    if (!orphans_.is_empty()) stats_.dropped_orphans += orphans_.expire(stats_.ops);
    if (kind == OP_STORE) {
      at += apply_store(slot, ops + at, op_words - at, &tokens, &token_words);
    } else if (kind == OP_REMOVE) {
      const uint64_t count = ops[at] >> 32;
      WARMPATH_CHECK(count < op_words - at);
      for (uint64_t i = 1; i <= count; i++) remove(slot, scoped(ops[at + i], group));
      at += 1 + count;
    } else {
      WARMPATH_CHECK(kind == OP_CLEAR);
      stats_.clears++;
      clear_blocks(slot);
      at++;
    }
  }
  WARMPATH_CHECK(at == op_words && token_words == 0);
  merge_some();
  publish_stats();
  __atomic_store_n(&writing_, 0, __ATOMIC_RELAXED);
}

size_t PrefixIndex::apply_store(uint32_t slot, const uint64_t* words, size_t left,
                                const uint32_t** tokens, size_t* tokens_left) {
  const uint32_t group = slots_[slot].group;
  const uint64_t flags = words[0] >> 8 & 0xff;
  const auto count = static_cast<uint32_t>(words[0] >> 32);
  const bool has_parent = (flags & STORE_HAS_PARENT) != 0;
  const bool has_extras = (flags & STORE_HAS_EXTRAS) != 0;
  const bool is_hashed = (flags & STORE_HASHED) != 0;
  const size_t size = 3 + has_parent + size_t{count} * (1 + (has_extras || is_hashed));
  WARMPATH_CHECK(size <= left);
  const uint64_t token_count = words[1];
  WARMPATH_CHECK(token_count <= *tokens_left);
  const uint32_t* own_tokens = *tokens;
  *tokens += token_count;
  *tokens_left -= token_count;
  const uint64_t* hashes = words + 3 + has_parent;
  const uint64_t* extras = hashes + count;

  if (!is_hashed && token_count != uint64_t{count} * block_size_) {
    stats_.misfit_stores++;
    return size;
  }
  if (count == 0) return size;
  hashes_.resize(count);
  uint64_t previous = has_parent ? words[3] : ~hashes[0];
  for (uint32_t i = 0; i < count; i++) {
    if (hashes[i] == previous) {
      stats_.misfit_stores++;
      return size;
    }
    previous = hashes[i];
    hashes_[i] = scoped(hashes[i], group);
  }
  const uint64_t* block_hashes = extras;
  if (!is_hashed) {
    tokens_.resize(count);
    for (uint32_t i = 0; i < count; i++) {
      tokens_[i] = with_extra(block_hash(own_tokens + size_t{i} * block_size_, block_size_),
                              has_extras ? extras[i] : 0);
    }
    block_hashes = tokens_.data();
  }
  Place parent = {RUN_NONE, 0};
  if (has_parent) {
    const uint64_t parent_hash = scoped(words[3], group);
    if (!find_place(slot, parent_hash, &parent)) {
      stats_.dropped_orphans +=
          orphans_.park(parent_hash, slot, hashes_.data(), tokens_.data(), count, stats_.ops);
      return size;
    }
  }
  store(slot, parent, words[2], hashes_.data(), block_hashes, count);
  attach_announced();
  return size;
}

// Takes the parked stores of one parent as far as the parent's place is undisputed for them.
struct PrefixIndex::Attach {
  PrefixIndex& index;
  Place parent = {RUN_NONE, 0};

  bool accepts(const Parked& parked) {
    return index.find_place(parked.slot, parked.parent, &parent);
  }
  void store(const Parked& parked) {
    const auto count = static_cast<uint32_t>(parked.blocks.size());
    index.hashes_.resize(count);
    index.tokens_.resize(count);
    for (uint32_t i = 0; i < count; i++) {
      index.hashes_[i] = parked.blocks[i].hash;
      index.tokens_[i] = parked.blocks[i].tokens_hash;
    }
    index.store(parked.slot, parent, 0, index.hashes_.data(), index.tokens_.data(), count);
  }
};

void PrefixIndex::attach_announced() {
  for (size_t i = 0; i < announced_.size(); i++) {
    const uint64_t hash = announced_[i];
    if (orphans_.waits(hash)) orphans_.attach(hash, Attach{*this});
  }
  announced_.clear();
}

uint64_t PrefixIndex::bytes_total() const {
  return heads_.bytes() + arena_.bytes() + coverage_.bytes() + runs_.bytes() + engine_map_.bytes() +
         copies_.bytes() + orphans_.bytes() + slot_list_bytes_;
}

void PrefixIndex::publish_stats() {
  stats_.runs = runs_.live();
  stats_.orphan_stores = orphans_.count();
  stats_.orphan_blocks = orphans_.blocks();
  stats_.extra_copies = copies_.count();
  stats_.aliases = copies_.aliases();
  stats_.bytes_reserved = bytes_total();
  stats_.bytes_live = stats_.bytes_reserved - arena_.bytes() + arena_.bytes_used();
  const auto* from = reinterpret_cast<const uint64_t*>(&stats_);
  auto* to = reinterpret_cast<uint64_t*>(&published_);
  for (uint32_t i = 0; i < STATS_COUNT; i++) {
    if (own_load(to[i]) != from[i]) shared_store(to[i], from[i]);
  }
}

void PrefixIndex::stats(double* out) const {
  const auto* from = reinterpret_cast<const uint64_t*>(&published_);
  for (uint32_t i = 0; i < STATS_COUNT; i++) out[i] = static_cast<double>(shared_load(from[i]));
}

void PrefixIndex::close() {
  for (uint32_t slot = 0; slot < SLOTS_MAX; slot++) {
    hide_slot(slot);
    slots_[slot] = SlotState{};
  }
  heads_.clear();
  arena_.clear();
  coverage_.clear();
  runs_.clear();
  engine_map_.clear();
  copies_.clear();
  orphans_.clear();
  mergeable_.clear();
  slot_list_bytes_ = 0;
  has_disputes_ = false;
  stats_ = IndexStats{};
  publish_stats();
}

}  // namespace warmpath
