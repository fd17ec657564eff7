#include "prefix_index/coverage.h"

#include <bit>

namespace warmpath {

namespace {
// Words that a row starts with; below it growing costs more than it saves.
constexpr uint32_t ROOM_MIN = 8;
}

Coverage::Coverage(uint64_t bytes_max) {
  pool_range_.reserve(bytes_max + SLOTS_MAX * 16 * sizeof(uint64_t));
  pool_ = pool_range_.as<uint64_t>();
}

void Coverage::clear() {
  pool_range_.discard();
  pool_end_ = 0;
  for (uint64_t& list : free_lists_) list = 0;
  holes_index_.clear();
  holes_.clear();
  holes_free_.clear();
  holes_bytes_ = 0;
}

void Coverage::init(Head& head) {
  for (uint64_t& entry : head.cover) shared_store(entry, COVER_NONE);
}

uint64_t* Coverage::find(const Head& head, uint32_t slot) const {
  const CoverSpan all = span(head);
  for (uint32_t i = 0; i < all.count; i++) {
    if (cover_slot(own_load(all.entries[i])) == slot) return const_cast<uint64_t*>(all.entries + i);
  }
  return nullptr;
}

uint64_t Coverage::entry(const Head& head, uint32_t slot) const {
  const uint64_t* found = find(head, slot);
  return found == nullptr ? COVER_NONE : *found;
}

bool Coverage::covers(const Head& head, uint32_t slot, uint32_t offset) {
  const uint64_t found = entry(head, slot);
  if (found == COVER_NONE) return false;
  if (offset < cover_cut(found)) return true;
  return (cover_flags(found) & COVER_HOLES) != 0 && test(holes_of(head, slot), offset);
}

bool Coverage::any(const Head& head, uint32_t offset) {
  const CoverSpan all = span(head);
  for (uint32_t i = 0; i < all.count; i++) {
    const uint64_t found = own_load(all.entries[i]);
    if (offset < cover_cut(found)) return true;
    if ((cover_flags(found) & COVER_HOLES) != 0 &&
        test(holes_of(head, cover_slot(found)), offset)) {
      return true;
    }
  }
  return false;
}

uint32_t Coverage::end(const Head& head) {
  const CoverSpan all = span(head);
  uint32_t end = 0;
  for (uint32_t i = 0; i < all.count; i++) {
    const uint64_t found = own_load(all.entries[i]);
    uint32_t last = cover_cut(found);
    if ((cover_flags(found) & COVER_HOLES) != 0) {
      const Holes& holes = holes_of(head, cover_slot(found));
      auto words = static_cast<uint32_t>(holes.words.size());
      while (holes.words[words - 1] == 0) words--;
      last = words * 64 - static_cast<uint32_t>(std::countl_zero(holes.words[words - 1]));
    }
    if (last > end) end = last;
  }
  return end;
}

bool Coverage::held_alone(const Head& head, uint32_t slot) const {
  const CoverSpan all = span(head);
  if (all.count != 1) return false;
  const uint64_t only = own_load(all.entries[0]);
  return cover_slot(only) == slot && cover_cut(only) == head.len();
}

int Coverage::set(Head& head, uint32_t slot, uint32_t from, uint32_t to) {
  uint64_t* found = find(head, slot);
  if (found == nullptr) {
    if (from == 0) {
      add(head, cover_entry(slot, 0, to));
      return 1;
    }
    Holes& fresh = make_holes(head, slot, 0);
    for (uint32_t offset = from; offset < to; offset++) put(fresh, offset);
    add(head, cover_entry(slot, COVER_HOLES, 0));
    return 1;
  }
  uint32_t cut = cover_cut(*found);
  if ((cover_flags(*found) & COVER_HOLES) == 0) {
    if (from <= cut) {
      if (to > cut) shared_store(*found, cover_entry(slot, 0, to));
      return 0;
    }
    make_holes(head, slot, cut);
  }
  Holes& holes = holes_of(head, slot);
  const uint64_t before = holes.words.capacity();
  for (uint32_t offset = from; offset < to; offset++) put(holes, offset);
  holes_bytes_ += (holes.words.capacity() - before) * 8;
  if (from <= cut) {
    while (test(holes, cut)) cut++;
  }
  const bool is_whole = cut == holes.ones;
  if (is_whole) drop_holes(head, slot);
  shared_store(*found, cover_entry(slot, is_whole ? 0 : COVER_HOLES, cut));
  return 0;
}

int Coverage::unset(Head& head, uint32_t slot, uint32_t offset) {
  uint64_t* found = find(head, slot);
  WARMPATH_CHECK(found != nullptr);
  uint32_t cut = cover_cut(*found);
  if ((cover_flags(*found) & COVER_HOLES) == 0) {
    WARMPATH_CHECK(offset < cut);
    if (offset == cut - 1) {
      if (offset == 0) {
        remove(head, found);
        return -1;
      }
      shared_store(*found, cover_entry(slot, 0, offset));
      return 0;
    }
    make_holes(head, slot, cut);
  }
  Holes& holes = holes_of(head, slot);
  WARMPATH_CHECK(test(holes, offset));
  holes.words[offset / 64] &= ~(uint64_t{1} << offset % 64);
  holes.ones--;
  if (offset < cut) cut = offset;
  const bool is_whole = cut == holes.ones;
  if (is_whole) drop_holes(head, slot);
  if (is_whole && cut == 0) {
    remove(head, found);
    return -1;
  }
  shared_store(*found, cover_entry(slot, is_whole ? 0 : COVER_HOLES, cut));
  return 0;
}

void Coverage::add(Head& head, uint64_t entry) {
  const CoverSpan all = span(head);
  const bool is_list = all.entries != head.cover;
  uint32_t room = is_list ? static_cast<uint32_t>(own_load(head.cover[1])) : COVER_INLINE;
  if (all.count == room) {
    uint64_t* list = take_list(room < ROOM_MIN ? ROOM_MIN : room * 2);
    for (uint32_t i = 0; i < all.count; i++) shared_store(list[i], own_load(all.entries[i]));
    if (is_list) give_list(static_cast<uint32_t>(all.entries - pool_), room);
    room = room < ROOM_MIN ? ROOM_MIN : room * 2;
    shared_store(list[all.count], entry);
    shared_store(head.cover[1], uint64_t{room});
    shared_store(head.cover[0],
                 COVER_LIST | pack(all.count + 1, static_cast<uint32_t>(list - pool_)));
    return;
  }
  shared_store(const_cast<uint64_t*>(all.entries)[all.count], entry);
  if (is_list) {
    shared_store(head.cover[0], COVER_LIST | pack(all.count + 1, low_of(own_load(head.cover[0]))));
  }
}

void Coverage::remove(Head& head, uint64_t* entry) {
  const CoverSpan all = span(head);
  const uint32_t left = all.count - 1;
  shared_store(*entry, own_load(all.entries[left]));
  if (all.entries == head.cover) {
    shared_store(head.cover[left], COVER_NONE);
    return;
  }
  const uint32_t index = low_of(own_load(head.cover[0]));
  if (left > COVER_INLINE / 2) {
    shared_store(head.cover[0], COVER_LIST | pack(left, index));
    return;
  }
  const auto room = static_cast<uint32_t>(own_load(head.cover[1]));
  for (uint32_t i = 0; i < COVER_INLINE; i++) {
    shared_store(head.cover[i], i < left ? own_load(pool_[index + i]) : COVER_NONE);
  }
  give_list(index, room);
}

void Coverage::release(Head& head) {
  const CoverSpan all = span(head);
  if (all.entries != head.cover) {
    give_list(static_cast<uint32_t>(all.entries - pool_),
              static_cast<uint32_t>(own_load(head.cover[1])));
  }
  init(head);
}

uint64_t* Coverage::take_list(uint32_t room) {
  const int order = std::countr_zero(room / ROOM_MIN);
  WARMPATH_CHECK(room <= SLOTS_MAX * 2 && order < 8);
  if (free_lists_[order] != 0) {
    uint64_t* list = pool_ + (free_lists_[order] - 1);
    free_lists_[order] = own_load(list[0]);
    return list;
  }
  uint64_t* list = pool_ + pool_end_;
  pool_end_ += room;
  WARMPATH_CHECK(pool_end_ * 8 <= pool_range_.bytes());
  return list;
}

void Coverage::give_list(uint32_t index, uint32_t room) {
  const int order = std::countr_zero(room / ROOM_MIN);
  shared_store(pool_[index], free_lists_[order]);
  free_lists_[order] = uint64_t{index} + 1;
}

Coverage::Holes& Coverage::holes_of(const Head& head, uint32_t slot) {
  uint32_t* found = holes_index_.find(key_of(head, slot));
  WARMPATH_CHECK(found != nullptr);
  return holes_[*found - 1];
}

Coverage::Holes& Coverage::make_holes(const Head& head, uint32_t slot, uint32_t ones) {
  uint32_t index = static_cast<uint32_t>(holes_.size());
  if (holes_free_.empty()) {
    holes_.emplace_back();
  } else {
    index = holes_free_.back();
    holes_free_.pop_back();
  }
  holes_index_.at(key_of(head, slot)) = index + 1;
  Holes& holes = holes_[index];
  holes.words.assign((head.len() + 63) / 64, 0);
  holes.ones = 0;
  for (uint32_t offset = 0; offset < ones; offset++) put(holes, offset);
  holes_bytes_ += holes.words.capacity() * 8 + sizeof(Holes);
  return holes;
}

void Coverage::drop_holes(const Head& head, uint32_t slot) {
  uint32_t* found = holes_index_.find(key_of(head, slot));
  const uint32_t index = *found - 1;
  Holes& holes = holes_[index];
  holes_bytes_ -= holes.words.capacity() * 8 + sizeof(Holes);
  holes = Holes{};
  holes_free_.push_back(index);
  holes_index_.erase(key_of(head, slot));
}

void Coverage::put(Holes& holes, uint32_t offset) {
  if (offset / 64 >= holes.words.size()) holes.words.resize(offset / 64 + 1, 0);
  uint64_t& word = holes.words[offset / 64];
  const uint64_t bit = uint64_t{1} << offset % 64;
  holes.ones += (word & bit) == 0;
  word |= bit;
}

bool Coverage::test(const Holes& holes, uint32_t offset) {
  return offset / 64 < holes.words.size() && (holes.words[offset / 64] >> offset % 64 & 1) != 0;
}

}  // namespace warmpath
