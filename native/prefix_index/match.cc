// Lookups: lock-free, write nothing, and never name a block that was not held at one moment.
//
//   p = 0
//   while a head has key q[p]:
//     m = keys of its run that agree: all if the tail agrees, else by bisect
//     first run: every holder comes alive with depth min(cut, m)
//     later:     a holder that is alive gains min(cut, m); who covers less than m dies
//     stop when nobody is alive; p += m
//   all versions seen are as they were?  then it is one moment's answer; else look again
//
// A chain hash makes agreement monotone, so one compare at the run's end stands for all of it.
// After MATCH_TRIES_MAX collisions with the writer the first run alone answers: too short perhaps,
// never too long.
#include <vector>

#include "prefix_index/prefix_index.h"

namespace warmpath {

namespace {

constexpr uint32_t WORDS = SLOTS_MAX / 64;
// Looks at one head while its version is odd or moves; then the whole lookup starts again.
constexpr uint32_t SPINS_MAX = 256;

inline void pause_a_little() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

struct Seen {
  const Head* head;
  uint32_t version;
};

struct Lookup {
  const uint64_t* keys;
  uint32_t count;
  uint32_t* out_slots;
  uint32_t* out_depths;
  uint32_t found = 0;
  uint32_t matched = 0;  // keys walked so far
  bool is_alive = false;
  uint64_t alive[WORDS];
  uint16_t place[SLOTS_MAX];  // of a slot in the outputs, if it is alive
};

// Number of keys of the query, from its `at`-th on, that equal the run's.
uint32_t agreeing(const uint64_t* own, uint64_t span, uint64_t tail, const Lookup& look,
                  uint32_t at) {
  const uint32_t len = low_of(span);
  const uint32_t wanted = look.count - at < len ? look.count - at : len;
  const uint64_t* run = own + high_of(span);
  const uint64_t* query = look.keys + at;
  if (wanted == 0) return 0;
  const bool is_known = wanted == len && tail != KEY_EMPTY;
  const uint64_t last = is_known ? tail : shared_load(run[wanted - 1]);
  if (last == query[wanted - 1]) return wanted;
  uint32_t low = 1;            // agree: the head's own key did
  uint32_t high = wanted - 1;  // the block at `high` does not
  while (low < high) {
    const uint32_t middle = (low + high) / 2;
    if (shared_load(run[middle]) == query[middle]) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

void first_run(Lookup& look, CoverSpan all, uint32_t agreed) {
  for (uint64_t& word : look.alive) word = 0;
  look.found = 0;
  look.is_alive = false;
  for (uint32_t i = 0; i < all.count && look.found < SLOTS_MAX; i++) {
    const uint64_t entry = shared_load(all.entries[i]);
    const uint32_t slot = cover_slot(entry) % SLOTS_MAX;
    const uint32_t cut = cover_cut(entry);
    if (cut == 0) continue;
    look.out_slots[look.found] = slot;
    look.out_depths[look.found] = cut < agreed ? cut : agreed;
    look.place[slot] = static_cast<uint16_t>(look.found++);
    if (cut < agreed) continue;
    look.alive[slot / 64] |= uint64_t{1} << slot % 64;
    look.is_alive = true;
  }
}

void next_run(Lookup& look, CoverSpan all, uint32_t agreed) {
  uint64_t next[WORDS] = {};
  look.is_alive = false;
  for (uint32_t i = 0; i < all.count; i++) {
    const uint64_t entry = shared_load(all.entries[i]);
    const uint32_t slot = cover_slot(entry) % SLOTS_MAX;
    if ((look.alive[slot / 64] >> slot % 64 & 1) == 0) continue;
    const uint32_t cut = cover_cut(entry);
    look.out_depths[look.place[slot]] = look.matched + (cut < agreed ? cut : agreed);
    if (cut < agreed) continue;
    next[slot / 64] |= uint64_t{1} << slot % 64;
    look.is_alive = true;
  }
  for (uint32_t w = 0; w < WORDS; w++) look.alive[w] = next[w];
}

}  // namespace

uint32_t PrefixIndex::match(const uint64_t* keys, uint32_t count, uint32_t* out_slots,
                            uint32_t* out_depths) const {
  static thread_local std::vector<Seen> seen;
  Lookup look;
  look.keys = keys;
  look.count = count;
  look.out_slots = out_slots;
  look.out_depths = out_depths;
  for (uint32_t tries = 0;; tries++) {
    const bool is_last = tries >= MATCH_TRIES_MAX;
    seen.clear();
    look.found = look.matched = 0;
    const HeadView view = heads_.view();
    bool is_torn = false;
    while (look.matched < count) {
      const Head* head = HeadTable::find(view, keys[look.matched]);
      if (head == nullptr) break;
      uint32_t agreed = 0;
      uint32_t version = 0;
      bool is_stable = false;
      for (uint32_t spins = 0; spins < SPINS_MAX && !is_stable; spins++) {
        version = shared_load(head->version);
        if (version % 2 != 0) {
          pause_a_little();
          continue;
        }
        if (shared_load(head->key) != keys[look.matched]) break;
        agreed = agreeing(arena_.keys(), shared_load(head->span), shared_load(head->tail), look,
                          look.matched);
        if (seen.empty()) {
          first_run(look, coverage_.span(*head), agreed);
          is_stable = shared_load(head->version) == version;
        } else {
          is_stable = shared_load(head->version) == version;
          if (!is_stable) continue;
          next_run(look, coverage_.span(*head), agreed);
          is_torn = shared_load(head->version) != version;
        }
      }
      if (!is_stable || is_torn) {
        is_torn = true;
        break;
      }
      seen.push_back({head, version});
      look.matched += agreed;
      if (!look.is_alive || is_last) break;
    }
    if (is_torn && is_last && seen.empty()) return 0;
    if (!is_torn || (is_last && !seen.empty())) {
      bool is_one_moment = heads_.unchanged(view);
      uint32_t kept = 0;
      for (uint32_t i = 0; i < look.found; i++) {
        const Visible& state = visible_[out_slots[i]];
        if (shared_load(state.hidden) != shared_load(state.cleared)) continue;
        out_slots[kept] = out_slots[i];
        out_depths[kept++] = out_depths[i];
      }
      if (!is_last) {
        for (const Seen& one : seen) {
          is_one_moment = is_one_moment && shared_load(one.head->version) == one.version;
        }
      }
      if (is_one_moment) return kept;
    }
    if (is_last) return 0;
  }
}

}  // namespace warmpath
