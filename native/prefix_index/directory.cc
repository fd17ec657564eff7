#include "prefix_index/directory.h"

#include "overlay/overlay.h"

namespace warmpath {

namespace {
PrefixIndex* indexes[INDEXES_MAX + 1];
uint32_t index_count = 0;
}  // namespace

uint32_t index_create(uint32_t block_size, uint64_t bytes_max, const OrphanLimits& limits) {
  const uint32_t id = __atomic_add_fetch(&index_count, 1, __ATOMIC_ACQ_REL);
  if (id > INDEXES_MAX) {
    __atomic_sub_fetch(&index_count, 1, __ATOMIC_ACQ_REL);
    return 0;
  }
  __atomic_store_n(&indexes[id], new PrefixIndex(block_size, bytes_max, limits), __ATOMIC_RELEASE);
  return id;
}

PrefixIndex* index_find(uint32_t id) {
  return id > INDEXES_MAX ? nullptr : __atomic_load_n(&indexes[id], __ATOMIC_ACQUIRE);
}

uint32_t match_prefix(const PrefixIndex* index, const uint64_t* keys, uint32_t count,
                      uint64_t now_ms, uint32_t* out_slots, uint32_t* out_depths,
                      uint32_t* out_index_depths) {
  uint32_t found = index == nullptr ? 0 : index->match(keys, count, out_slots, out_depths);
  for (uint32_t i = 0; i < found; i++) out_index_depths[i] = out_depths[i];
  uint32_t slots[SLOTS_MAX];
  uint32_t depths[SLOTS_MAX];
  const uint32_t predicted = overlay().match(keys, count, now_ms, slots, depths);
  if (predicted == 0) return found;
  uint16_t place[SLOTS_MAX];
  SlotSet known;
  for (uint32_t i = 0; i < found; i++) {
    known.add(out_slots[i]);
    place[out_slots[i]] = static_cast<uint16_t>(i);
  }
  for (uint32_t i = 0; i < predicted; i++) {
    const uint32_t slot = slots[i];
    if ((known.words[slot / 64] >> slot % 64 & 1) != 0) {
      uint32_t& depth = out_depths[place[slot]];
      if (depths[i] > depth) depth = depths[i];
      continue;
    }
    out_slots[found] = slot;
    out_depths[found] = depths[i];
    out_index_depths[found++] = 0;
  }
  return found;
}

}  // namespace warmpath
