#include "overlay/overlay.h"

#include "prefix_index/word.h"

namespace warmpath {

namespace {

constexpr uint64_t BUCKETS = OVERLAY_ENTRIES / 4;
constexpr uint32_t TIME_MASK = 0xffffff;
constexpr uint32_t SEQUENCE_MASK = 0x3fffff;
constexpr uint32_t PREFETCH_AHEAD = 8;

uint64_t relaxed(const uint64_t& word) {
  return __atomic_load_n(&word, __ATOMIC_RELAXED);
}
uint32_t relaxed(const uint32_t& word) {
  return __atomic_load_n(&word, __ATOMIC_RELAXED);
}

uint32_t slot_of(uint64_t data) {
  return data % SLOTS_MAX;
}
uint32_t epoch_of(uint64_t data) {
  return data >> 10 & 0xff;
}
uint32_t sequence_of(uint64_t data) {
  return data >> 18 & SEQUENCE_MASK;
}
uint32_t expiry_of(uint64_t data) {
  return static_cast<uint32_t>(data >> 40);
}

// Milliseconds of life left; 0 or an absurd number when it is dead.
uint32_t life_of(uint64_t data, uint32_t now) {
  return (expiry_of(data) - now) & TIME_MASK;
}

}  // namespace

static_assert(SLOTS_MAX == 1024);

bool SlotSet::is_empty() const {
  uint64_t all = 0;
  for (const uint64_t word : words) all |= word;
  return all == 0;
}

Overlay::Overlay() {
  range_.reserve(BUCKETS * sizeof(Bucket));
  buckets_ = range_.as<Bucket>();
}

Overlay::Bucket& Overlay::bucket(uint64_t key, uint32_t hop) const {
  const uint64_t at = hop == 0 ? key : scramble(key + hop * 0x9e3779b97f4a7c15u);
  return buckets_[at % BUCKETS];
}

bool Overlay::is_live(uint64_t data, uint32_t now) const {
  const uint32_t life = life_of(data, now);
  if (life == 0 || life > OVERLAY_TTL_MS_MAX) return false;
  const SlotState& state = slots_[slot_of(data)];
  if (epoch_of(data) != (relaxed(state.epoch) & 0xff)) return false;
  const uint32_t capacity = relaxed(state.capacity);
  if (capacity == 0) return true;
  // Insertions since; negative while the call that inserted it is still counting.
  const uint32_t newer = (relaxed(state.inserted) - sequence_of(data)) & SEQUENCE_MASK;
  return newer < capacity || newer > SEQUENCE_MASK / 2 + 1;
}

// True if the entry is new. The victim: this key and slot, else the dead, else who dies first
// among other keys. A bucket where this key has two entries and none is dead is passed, so that two
// keys of many slots that meet in one bucket do not push each other out; and one bucket that is
// full of other keys' live entries may be passed by readers and writers alike.
bool Overlay::write(uint32_t slot, uint64_t key, uint64_t data, uint32_t now) {
  bool has_passed = false;
  for (uint32_t hop = 0; hop < OVERLAY_HOPS_MAX; hop++) {
    Entry* victim = nullptr;
    uint32_t shortest = ~0u;
    uint32_t own = 0;
    bool is_renewal = false;
    for (Entry& entry : bucket(key, hop).entries) {
      const uint64_t found = relaxed(entry.data);
      const bool is_same_key = (relaxed(entry.check) ^ found) == key && found != 0;
      const bool is_alive = found != 0 && is_live(found, now);
      if (is_same_key && slot_of(found) == slot) {
        victim = &entry;
        shortest = 0;
        is_renewal = is_alive;
        break;
      }
      if (is_same_key && is_alive) {
        own++;
        continue;
      }
      const uint32_t life = is_alive ? life_of(found, now) : 0;
      if (life < shortest) {
        shortest = life;
        victim = &entry;
      }
    }
    if (shortest > 0) {
      if (own >= 2) continue;
      if (own == 0 && !has_passed) {
        has_passed = true;
        continue;
      }
    }
    __atomic_store_n(&victim->data, data, __ATOMIC_RELAXED);
    __atomic_store_n(&victim->check, key ^ data, __ATOMIC_RELAXED);
    return !is_renewal;
  }
  return false;
}

void Overlay::predict(uint32_t slot, const uint64_t* keys, uint32_t count, uint64_t now_ms,
                      uint64_t ttl_ms) {
  if (count == 0 || ttl_ms == 0) return;
  if (relaxed(is_used_) == 0) __atomic_store_n(&is_used_, 1, __ATOMIC_RELAXED);
  SlotState& state = slots_[slot];
  const uint64_t ttl = ttl_ms < OVERLAY_TTL_MS_MAX ? ttl_ms : OVERLAY_TTL_MS_MAX;
  const auto now = static_cast<uint32_t>(now_ms & TIME_MASK);
  const uint64_t head = uint64_t{(now + static_cast<uint32_t>(ttl)) & TIME_MASK} << 40 |
                        uint64_t{relaxed(state.epoch) & 0xff} << 10 | slot;
  const uint32_t start = relaxed(state.inserted);
  uint32_t fresh = 0;
  for (uint32_t i = count; i-- > 0;) {
    if (i >= PREFETCH_AHEAD) __builtin_prefetch(&bucket(keys[i - PREFETCH_AHEAD], 0), 1);
    // The sequence is that of the insertions before it, plus its own.
    const uint64_t sequence = (start + fresh + 1) & SEQUENCE_MASK;
    fresh += write(slot, keys[i], head | sequence << 18, now);
  }
  __atomic_fetch_add(&state.inserted, fresh, __ATOMIC_RELAXED);
}

void Overlay::set_capacity(uint32_t slot, uint32_t blocks) {
  const uint32_t bounded = blocks < OVERLAY_CAPACITY_MAX ? blocks : OVERLAY_CAPACITY_MAX;
  __atomic_store_n(&slots_[slot].capacity, bounded, __ATOMIC_RELAXED);
}

void Overlay::probe(uint64_t key, uint32_t now, SlotSet* found) const {
  bool has_passed = false;
  for (uint32_t hop = 0; hop < OVERLAY_HOPS_MAX; hop++) {
    uint32_t same = 0;
    uint32_t foreign = 0;
    for (const Entry& entry : bucket(key, hop).entries) {
      const uint64_t data = relaxed(entry.data);
      if (data == 0) continue;
      const bool is_alive = is_live(data, now);
      if ((relaxed(entry.check) ^ data) != key) {
        foreign += is_alive;
        continue;
      }
      same++;
      if (is_alive) found->add(slot_of(data));
    }
    if (foreign == 4 && !has_passed) {
      has_passed = true;
      continue;
    }
    if (same == 0 || (hop == 0 && same < 2 && foreign + same < 4)) return;
  }
}

uint32_t Overlay::match(const uint64_t* keys, uint32_t count, uint64_t now_ms, uint32_t* out_slots,
                        uint32_t* out_depths) const {
  if (count == 0 || relaxed(is_used_) == 0) return 0;
  const auto now = static_cast<uint32_t>(now_ms & TIME_MASK);
  // Ranges still to be searched: the slots of `set` have depth >= low and, if all entries are
  // there, <= high. Each probe splits one, so 2 log2(count) ranges lie here at most.
  struct Range {
    uint32_t low;
    uint32_t high;
    SlotSet set;
  };
  Range ranges[72];
  uint32_t depth_of[SLOTS_MAX];
  uint32_t top = 0;
  SlotSet first;
  probe(keys[0], now, &first);
  if (first.is_empty()) return 0;
  ranges[top++] = {1, count, first};
  while (top > 0) {
    const Range range = ranges[--top];
    if (range.low == range.high) {
      for (uint32_t w = 0; w < SLOTS_MAX / 64; w++) {
        for (uint64_t bits = range.set.words[w]; bits != 0; bits &= bits - 1) {
          depth_of[w * 64 + static_cast<uint32_t>(__builtin_ctzll(bits))] = range.low;
        }
      }
      continue;
    }
    const uint32_t middle = range.high == count ? count : (range.low + range.high + 1) / 2;
    SlotSet there;
    probe(keys[middle - 1], now, &there);
    Range deep = {middle, range.high, {}};
    Range shallow = {range.low, middle - 1, {}};
    for (uint32_t w = 0; w < SLOTS_MAX / 64; w++) {
      deep.set.words[w] = range.set.words[w] & there.words[w];
      shallow.set.words[w] = range.set.words[w] & ~there.words[w];
    }
    if (!shallow.set.is_empty()) ranges[top++] = shallow;
    if (!deep.set.is_empty()) ranges[top++] = deep;
  }
  uint32_t found = 0;
  for (uint32_t w = 0; w < SLOTS_MAX / 64; w++) {
    for (uint64_t bits = first.words[w]; bits != 0; bits &= bits - 1) {
      const uint32_t slot = w * 64 + static_cast<uint32_t>(__builtin_ctzll(bits));
      out_slots[found] = slot;
      out_depths[found++] = depth_of[slot];
    }
  }
  return found;
}

Overlay& overlay() {
  static Overlay one;
  return one;
}

}  // namespace warmpath
