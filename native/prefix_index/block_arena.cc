#include "prefix_index/block_arena.h"

#include <algorithm>
#include <bit>

namespace warmpath {

namespace {
constexpr uint32_t NONE = 0xffffffffu;
constexpr uint32_t ORDERS = ARENA_ORDER_MAX + 1;
}  // namespace

BlockArena::BlockArena(uint64_t bytes_max) {
  const uint64_t blocks = std::min<uint64_t>(bytes_max / 16 + RUN_BLOCKS_MAX, NO_BLOCK - 1);
  granules_max_ = blocks / GRANULE_BLOCKS;
  own_range_.reserve(granules_max_ * GRANULE_BLOCKS * 8);
  engine_range_.reserve(granules_max_ * GRANULE_BLOCKS * 8);
  order_range_.reserve(granules_max_ + 1);
  own_ = own_range_.as<uint64_t>();
  engine_ = engine_range_.as<uint64_t>();
  order_ = order_range_.as<uint8_t>();
  std::fill(first_, first_ + ORDERS, NONE);
}

void BlockArena::clear() {
  own_range_.discard();
  engine_range_.discard();
  order_range_.discard();
  end_ = free_ = huge_ = 0;
  std::fill(first_, first_ + ORDERS, NONE);
}

void BlockArena::insert(uint32_t granule, uint32_t order) {
  order_[granule] = static_cast<uint8_t>(order + 1);
  const uint32_t next = first_[order];
  link(granule) = pack(NONE, next);
  if (next != NONE) link(next) = pack(granule, low_of(link(next)));
  first_[order] = granule;
}

void BlockArena::remove(uint32_t granule, uint32_t order) {
  order_[granule] = 0;
  const uint32_t previous = high_of(link(granule));
  const uint32_t next = low_of(link(granule));
  if (previous == NONE) {
    first_[order] = next;
  } else {
    link(previous) = pack(high_of(link(previous)), next);
  }
  if (next != NONE) link(next) = pack(previous, low_of(link(next)));
}

// Free a stretch of any length: cut into aligned buddies, each joined upward as far as it goes.
void BlockArena::release(uint32_t granule, uint32_t count) {
  free_ += count;
  while (count > 0) {
    const uint32_t aligned = granule == 0 ? ARENA_ORDER_MAX : std::countr_zero(granule);
    uint32_t order =
        std::min({aligned, static_cast<uint32_t>(std::bit_width(count)) - 1, ARENA_ORDER_MAX});
    const uint32_t step = 1u << order;
    uint32_t start = granule;
    while (order < ARENA_ORDER_MAX) {
      const uint32_t buddy = start ^ (1u << order);
      if (buddy >= end_ || order_[buddy] != order + 1) break;
      remove(buddy, order);
      start = std::min(start, buddy);
      order++;
    }
    insert(start, order);
    granule += step;
    count -= step;
  }
}

bool BlockArena::grow(uint32_t order, uint64_t bytes_max) {
  const uint64_t size = uint64_t{1} << std::max(order, ARENA_ORDER_GROWTH);
  const uint64_t start = (end_ + size - 1) & ~(size - 1);
  const uint64_t end = start + size;
  if (end > granules_max_ || end * GRANULE_BLOCKS * BLOCK_BYTES > bytes_max) return false;
  const uint64_t before = end_;
  end_ = end;
  if (end_ > huge_ && end_ * GRANULE_BLOCKS * 8 >= HUGE_BYTES_MIN) {
    huge_ = end_ * 2;
    own_range_.use_huge_pages(huge_ * GRANULE_BLOCKS * 8);
    engine_range_.use_huge_pages(huge_ * GRANULE_BLOCKS * 8);
  }
  release(static_cast<uint32_t>(before), static_cast<uint32_t>(end - before));
  return true;
}

uint32_t BlockArena::take(uint32_t count, uint64_t bytes_max) {
  WARMPATH_CHECK(count > 0 && count <= RUN_BLOCKS_MAX);
  const uint32_t granules = rounded(count) / GRANULE_BLOCKS;
  const uint32_t wanted = std::bit_width(granules - 1);
  uint32_t order = wanted;
  while (order < ORDERS && first_[order] == NONE) order++;
  if (order == ORDERS) {
    if (!grow(wanted, bytes_max)) return NO_BLOCK;
    order = wanted;
    while (first_[order] == NONE) order++;
  }
  const uint32_t start = first_[order];
  remove(start, order);
  free_ -= uint64_t{1} << order;
  const uint32_t rest = (1u << order) - granules;
  if (rest > 0) release(start + granules, rest);
  return start * GRANULE_BLOCKS;
}

void BlockArena::give(uint32_t base, uint32_t count) {
  WARMPATH_CHECK(base % GRANULE_BLOCKS == 0 && count % GRANULE_BLOCKS == 0);
  release(base / GRANULE_BLOCKS, count / GRANULE_BLOCKS);
}

bool BlockArena::extend(uint32_t base, uint32_t count, uint32_t wanted) {
  const uint32_t start = (base + count) / GRANULE_BLOCKS;
  const uint32_t need = (rounded(wanted) - count) / GRANULE_BLOCKS;
  if (need == 0) return true;
  if (start >= end_ || order_[start] == 0) return false;
  const uint32_t order = order_[start] - 1u;
  const uint32_t have = 1u << order;
  if (have < need) return false;
  remove(start, order);
  free_ -= have;
  if (have > need) release(start + need, have - need);
  return true;
}

}  // namespace warmpath
