// See stored_bytes.h.
#include "response_log/stored_bytes.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "check.h"

namespace warmpath {

namespace {

// Room in an array of `T` for one more item after `count`, of which the first `first` are dead:
// they are squeezed out where that frees half of it, else the array doubles.
template <typename T>
void make_room(T*& items, std::uint32_t& first, std::uint32_t& count, std::uint32_t& room) {
  if (count < room) return;
  if (first > room / 2) {
    std::memmove(items, items + first, (count - first) * sizeof(T));
    count -= first;
    first = 0;
    return;
  }
  const std::uint32_t grown = room == 0 ? 16 : room * 2;
  T* const moved = static_cast<T*>(std::realloc(items, grown * sizeof(T)));
  WARMPATH_CHECK(moved != nullptr);
  store_budget().force((grown - room) * sizeof(T));
  items = moved;
  room = grown;
}

template <typename T>
void drop_room(T*& items, std::uint32_t& first, std::uint32_t& count, std::uint32_t& room) {
  std::free(items);
  store_budget().give(room * sizeof(T));
  items = nullptr;
  first = count = room = 0;
}

}  // namespace

bool StoreBudget::take(std::uint64_t bytes) {
  if (faults_.load(std::memory_order_relaxed) >= 0) [[unlikely]] {
    if (faults_.fetch_sub(1, std::memory_order_relaxed) <= 0) {
      faults_.store(0, std::memory_order_relaxed);
      return false;
    }
  }
  const std::uint64_t before = held_.fetch_add(bytes, std::memory_order_relaxed);
  if (before + bytes <= bytes_max_.load(std::memory_order_relaxed)) return true;
  held_.fetch_sub(bytes, std::memory_order_relaxed);
  return false;
}

void StoreBudget::give(std::uint64_t bytes) {
  const std::uint64_t before = held_.fetch_sub(bytes, std::memory_order_relaxed);
  WARMPATH_CHECK(before >= bytes);
}

StoreBudget& store_budget() {
  static StoreBudget budget;
  return budget;
}

void StoredBytes::clear(std::uint64_t position, std::uint64_t events) {
  drop_last_blocks(blocks_count_ - blocks_first_);
  drop_room(blocks_, blocks_first_, blocks_count_, blocks_room_);
  drop_room(ends_, ends_first_, ends_count_, ends_room_);
  base_ = bytes_end_ = capacity_end_ = position;
  events_before_ = events;
}

void StoredBytes::drop_last_blocks(std::uint32_t count) {
  WARMPATH_CHECK(count <= blocks_count_ - blocks_first_);
  for (; count > 0; count--) {
    const Block& block = blocks_[--blocks_count_];
    std::free(block.bytes);
    store_budget().give(block.capacity);
    capacity_end_ -= block.capacity;
  }
}

// Blocks double with the stored span, between the two bounds.
bool StoredBytes::add_block(std::size_t wanted) {
  const std::uint64_t span = capacity_end_ - base_;
  std::size_t capacity = STORED_BLOCK_BYTES_MIN;
  while (capacity < STORED_BLOCK_BYTES_MAX && (capacity < wanted || capacity <= span)) {
    capacity *= 2;
  }
  if (!store_budget().take(capacity)) return false;
  auto* const bytes = static_cast<std::uint8_t*>(std::malloc(capacity));
  if (bytes == nullptr) {
    store_budget().give(capacity);
    return false;
  }
  make_room(blocks_, blocks_first_, blocks_count_, blocks_room_);
  blocks_[blocks_count_++] = {bytes, static_cast<std::uint32_t>(capacity), low_of(capacity_end_)};
  capacity_end_ += capacity;
  return true;
}

bool StoredBytes::append(const std::uint8_t* bytes, std::size_t size) {
  if (size == 0) return true;
  WARMPATH_CHECK(bytes != nullptr);
  WARMPATH_CHECK(bytes_end_ + size - base_ <= STORED_SPAN_BYTES_MAX - STORED_BLOCK_BYTES_MAX * 2);
  std::uint32_t added = 0;
  while (capacity_end_ < bytes_end_ + size) {
    if (!add_block(static_cast<std::size_t>(bytes_end_ + size - capacity_end_))) {
      drop_last_blocks(added);
      return false;
    }
    added++;
  }
  std::uint32_t index = block_of(bytes_end_);
  while (size > 0) {
    const Block& block = blocks_[index++];
    const std::uint32_t at = low_of(bytes_end_) - block.first_low;
    const std::size_t part = std::min<std::size_t>(size, block.capacity - at);
    std::memcpy(block.bytes + at, bytes, part);
    bytes += part;
    bytes_end_ += part;
    size -= part;
  }
  return true;
}

// The block that holds `position`, which lies in [first block's start, capacity_end_).
std::uint32_t StoredBytes::block_of(std::uint64_t position) const {
  WARMPATH_CHECK(blocks_count_ > blocks_first_ && position < capacity_end_);
  const std::uint32_t start = blocks_[blocks_first_].first_low;
  const std::uint32_t wanted = low_of(position) - start;
  std::uint32_t low = blocks_first_;
  std::uint32_t high = blocks_count_;
  while (high - low > 1) {
    const std::uint32_t middle = low + (high - low) / 2;
    if (blocks_[middle].first_low - start <= wanted) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

void StoredBytes::add_end(std::uint64_t position) {
  WARMPATH_CHECK(position >= base_);
  make_room(ends_, ends_first_, ends_count_, ends_room_);
  ends_[ends_count_++] = low_of(position);
}

void StoredBytes::free_before(std::uint64_t position) {
  WARMPATH_CHECK(position <= bytes_end_);
  if (position <= base_) return;
  const std::uint32_t passed = ends_not_after(position);
  events_before_ += passed - ends_first_;
  ends_first_ = passed;
  base_ = position;
  while (blocks_first_ < blocks_count_) {
    const Block& block = blocks_[blocks_first_];
    // The last block stays while it has room, since no position is past its end then.
    if (low_of(position) - block.first_low < block.capacity) break;
    std::free(block.bytes);
    store_budget().give(block.capacity);
    blocks_first_++;
  }
}

std::size_t StoredBytes::copy(std::uint64_t position, std::uint8_t* out, std::size_t size) const {
  WARMPATH_CHECK(position >= base_ && position <= bytes_end_);
  std::size_t left = static_cast<std::size_t>(std::min<std::uint64_t>(size, bytes_end_ - position));
  const std::size_t copied = left;
  if (left == 0) return 0;
  std::uint32_t index = block_of(position);
  while (left > 0) {
    const Block& block = blocks_[index++];
    const std::uint32_t at = low_of(position) - block.first_low;
    const std::size_t part = std::min<std::size_t>(left, block.capacity - at);
    std::memcpy(out, block.bytes + at, part);
    out += part;
    position += part;
    left -= part;
  }
  return copied;
}

// Index after the last end that is at or before `position`.
std::uint32_t StoredBytes::ends_not_after(std::uint64_t position) const {
  WARMPATH_CHECK(position >= base_);
  std::uint32_t low = ends_first_;
  std::uint32_t high = ends_count_;
  while (low < high) {
    const std::uint32_t middle = low + (high - low) / 2;
    if (position_of(ends_[middle]) <= position) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

std::size_t StoredBytes::whole_length(std::uint64_t position, std::size_t size) const {
  const std::uint32_t after = ends_not_after(position + size);
  if (after == ends_first_) return 0;
  const std::uint64_t end = position_of(ends_[after - 1]);
  return end <= position ? 0 : static_cast<std::size_t>(end - position);
}

bool StoredBytes::end_of_event(std::uint64_t event, std::uint64_t* position) const {
  if (event <= events_before_ || event - events_before_ > ends_count_ - ends_first_) return false;
  *position =
      position_of(ends_[ends_first_ + static_cast<std::uint32_t>(event - events_before_) - 1]);
  return true;
}

}  // namespace warmpath
