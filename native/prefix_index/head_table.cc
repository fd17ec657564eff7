#include "prefix_index/head_table.h"

namespace warmpath {

namespace {
// Places of the empty table: one page of heads.
constexpr uint64_t PLACES_MIN = 64;
// The table starts one line into its range; that line carries the mask.
constexpr size_t HEADER_BYTES = sizeof(Head);
}  // namespace

HeadTable::HeadTable() {
  publish(fresh(PLACES_MIN));
}

HeadTable::Range* HeadTable::fresh(uint64_t places) {
  for (const auto& range : ranges_) {
    if (range.get() != current_ && range->places == places) return range.get();
  }
  ranges_.push_back(std::make_unique<Range>());
  Range* range = ranges_.back().get();
  range->places = places;
  range->memory.reserve(places * sizeof(Head) + HEADER_BYTES);
  range->memory.use_huge_pages(places * sizeof(Head));
  return range;
}

// Order matters: the generation rises before and after the pointer, so that a reader that took an
// old pointer, or a mask of another table, cannot have seen one and the same even generation.
void HeadTable::publish(Range* range) {
  Head* heads = range->memory.as<Head>() + 1;
  shared_store(heads[-1].key, range->places - 1);
  shared_store(generation_, generation_ + 1);
  __atomic_store_n(&heads_, heads, __ATOMIC_RELEASE);
  mask_ = range->places - 1;
  shared_store(generation_, generation_ + 1);
  if (current_ != nullptr && current_ != range) current_->memory.discard();
  current_ = range;
}

HeadView HeadTable::view() const {
  for (;;) {
    const uint32_t generation = shared_load(generation_);
    if (generation % 2 != 0) continue;
    Head* heads = __atomic_load_n(&heads_, __ATOMIC_ACQUIRE);
    const uint64_t mask = shared_load(heads[-1].key);
    if (shared_load(generation_) == generation) return {heads, mask, generation};
  }
}

const Head* HeadTable::find(const HeadView& view, uint64_t key) {
  // The probe is bounded for the reader whose table is being emptied under it.
  for (uint64_t i = key & view.mask, left = view.mask; left > 0; i = (i + 1) & view.mask, left--) {
    const uint64_t found = shared_load(view.heads[i].key);
    if (found == key) return &view.heads[i];
    if (found == KEY_EMPTY) return nullptr;
  }
  return nullptr;
}

Head* HeadTable::find(uint64_t key) const {
  for (uint64_t i = key & mask_;; i = (i + 1) & mask_) {
    const uint64_t found = own_load(heads_[i].key);
    if (found == key) return &heads_[i];
    if (found == KEY_EMPTY) return nullptr;
  }
}

Head* HeadTable::place(uint64_t key, uint32_t run) {
  uint64_t i = key & mask_;
  while (own_load(heads_[i].key) > KEY_GONE) i = (i + 1) & mask_;
  Head* head = &heads_[i];
  if (own_load(head->key) == KEY_EMPTY) used_++;
  live_++;
  open(head);
  head->run = run;
  shared_store(head->key, key);
  return head;
}

void HeadTable::erase(Head* head) {
  open(head);
  const uint64_t place = static_cast<uint64_t>(head - heads_);
  const bool ends_probe = own_load(heads_[(place + 1) & mask_].key) == KEY_EMPTY;
  shared_store(head->key, ends_probe ? KEY_EMPTY : KEY_GONE);
  close(head);
  live_--;
  if (!ends_probe) return;
  used_--;
  // Gone places right before an empty one end no probe either.
  for (uint64_t i = (place - 1) & mask_; own_load(heads_[i].key) == KEY_GONE; i = (i - 1) & mask_) {
    shared_store(heads_[i].key, KEY_EMPTY);
    used_--;
  }
}

void HeadTable::rebuild() {
  Head* old = heads_;
  const uint64_t old_places = places();
  uint64_t wanted = old_places;
  if (uint64_t{live_} * 16 > old_places * 5) wanted *= 2;
  if (wanted > PLACES_MIN && uint64_t{live_} * 16 < old_places) wanted /= 2;
  Range* range = fresh(wanted);
  Head* heads = range->memory.as<Head>() + 1;
  const uint64_t mask = wanted - 1;
  for (uint64_t i = 0; i < old_places; i++) {
    const Head& from = old[i];
    if (own_load(from.key) <= KEY_GONE) continue;
    uint64_t at = own_load(from.key) & mask;
    while (own_load(heads[at].key) != KEY_EMPTY) at = (at + 1) & mask;
    Head& to = heads[at];
    to.run = from.run;
    shared_store(to.tail, own_load(from.tail));
    shared_store(to.span, own_load(from.span));
    for (uint32_t c = 0; c < COVER_INLINE; c++) shared_store(to.cover[c], own_load(from.cover[c]));
    shared_store(to.key, own_load(from.key));
  }
  used_ = live_;
  publish(range);
}

void HeadTable::clear() {
  Range* other = fresh(PLACES_MIN);
  other->memory.discard();
  used_ = live_ = 0;
  publish(other);
}

}  // namespace warmpath
