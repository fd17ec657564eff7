// The shared engine-hash table: engine hash -> where the block is. Writer only.
//
//   a bucket, one cache line
//   ┌──────────────────┬──────────┬──────────────────────────────┐
//   │ tags[7], 1 B each│ overflow │ refs[7], 8 B each            │
//   └──────────────────┴──────────┴──────────────────────────────┘
//   ref   ┌ tag: 8 ┬ alias: 1 ┬ run: 31 ┬ offset: 24 ┐
//
// The table holds no hash: a candidate (16 bits of the hash agree) is checked against the engine
// word of the block it names, which the caller does. All slots of a hash-agreement group share the
// entry of a block; two entries may have one hash (nodes that disagree about its content), so a
// search goes on until the caller accepts.
//
// Worked example: hash h has home bucket 5, which is full: the entry goes to bucket 6 and the
// overflow count of 5 becomes 1, so a search for h looks at 5, sees overflow, and looks at 6. When
// h is erased the count of 5 falls back to 0, and the next search for a missing hash ends at 5.
// So there are no gone places and no clean-up pauses under any churn.
//
// Erasing waits: the bucket is fetched when the entry is given up and changed ERASES_WAITING calls
// later, when its line has come, so that a removal does not stand and wait for memory. Until then
// the entry names a block whose engine word is 0 or another hash, which no search accepts.
//
// Invariants: overflow counts (saturating at 255, then sticky until the next rebuild) the entries
// that passed the bucket; at most 80 % of the places are used; the number of buckets is any number
// (multiply-shift), so that growth by 3/2 keeps 53..80 % in use: 11.4..17 B a block.
// Costs: one random cache line an operation. Bad at: the rebuild, 10-20 ns a block at once.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>

#include "prefix_index/block_arena.h"
#include "prefix_index/reserved.h"

namespace warmpath {

constexpr uint64_t REF_NONE = ~uint64_t{0};
constexpr uint64_t REF_ALIAS = uint64_t{1} << 55;
constexpr uint64_t REF_MASK = (uint64_t{1} << 56) - 1;
constexpr uint32_t REF_OFFSET_BITS = 24;
static_assert(RUN_BLOCKS_MAX <= 1u << REF_OFFSET_BITS);

inline uint64_t ref_of(uint32_t run, uint32_t offset) {
  return uint64_t{run} << REF_OFFSET_BITS | offset;
}
inline uint32_t ref_run(uint64_t ref) {
  return static_cast<uint32_t>(ref >> REF_OFFSET_BITS & 0x7fffffff);
}
inline uint32_t ref_offset(uint64_t ref) {
  return ref & ((1u << REF_OFFSET_BITS) - 1);
}
inline bool ref_is_alias(uint64_t ref) {
  return (ref & REF_ALIAS) != 0;
}
inline uint32_t ref_alias(uint64_t ref) {
  return low_of(ref);
}

class EngineMap {
 public:
  EngineMap();

  // The first entry that might have this hash and that accept(ref) takes, or REF_NONE.
  template <typename Accept>
  uint64_t find(uint64_t hash, Accept&& accept) const {
    const uint8_t tag = tag_of(hash);
    const uint64_t first = home(hash);
    uint64_t b = first;
    do {
      const Bucket& bucket = table_[b];
      for (uint64_t hits = matches(bucket, tag); hits != 0; hits &= hits - 1) {
        const uint64_t entry = bucket.refs[__builtin_ctzll(hits) / 8];
        if (entry >> 56 == second_tag_of(hash) && accept(entry & REF_MASK)) {
          return entry & REF_MASK;
        }
      }
      if (bucket.overflow == 0) return REF_NONE;
      b = b + 1 == buckets_ ? 0 : b + 1;
    } while (b != first);
    return REF_NONE;
  }

  void insert(uint64_t hash, uint64_t ref);
  // Inserts unless an entry might have this hash already (8 bits agree), or the bucket is or was
  // full: then false, and the caller takes the long way. The common way of a store.
  bool insert_new(uint64_t hash, uint64_t ref) {
    Bucket& bucket = table_[home(hash)];
    const uint64_t tags = tags_of(bucket);
    const uint64_t tag = tag_of(hash);
    const uint64_t free = zeros(tags) & HIGH;
    // The overflow count is the top byte of the word.
    if (tags >> 56 != 0 || free == 0 || (zeros(tags ^ LOW * tag) & HIGH) != 0) return false;
    const uint32_t way = static_cast<uint32_t>(__builtin_ctzll(free)) / 8;
    bucket.tags[way] = static_cast<uint8_t>(tag);
    bucket.refs[way] = second_tag_of(hash) << 56 | ref;
    size_++;
    return true;
  }
  // The caller has changed the word that `ref` names, so the entry is dead from here on.
  void erase(uint64_t hash, uint64_t ref) {
    Erase& oldest = waiting_[next_wait_++ % ERASES_WAITING];
    if (oldest.ref != REF_NONE && !erase_at_home(oldest)) erase_now(oldest.hash, oldest.ref);
    oldest = {hash, ref};
    prefetch(hash);
  }
  // Erases what waits.
  void settle();
  // The entry of `hash` that named `from` names `to`.
  void move(uint64_t hash, uint64_t from, uint64_t to);
  void prefetch(uint64_t hash) const { __builtin_prefetch(&table_[home(hash)], 1); }

  bool is_full_with(uint64_t more) const { return (size_ + more) * 5 > buckets_ * WAYS * 4; }
  // Bytes of the table that `resize` would make for this many more entries.
  uint64_t bytes_for(uint64_t more) const { return buckets_for(more) * sizeof(Bucket); }
  // An empty table with room for the present entries and `more`; the caller inserts them again.
  void resize(uint64_t more);
  void clear();

  uint64_t size() const { return size_; }
  uint64_t bytes() const { return buckets_ * sizeof(Bucket); }

 private:
  static constexpr uint32_t WAYS = 7;
  static constexpr uint32_t ERASES_WAITING = 16;
  static constexpr uint64_t BUCKETS_MIN = 16;
  struct alignas(64) Bucket {
    uint8_t tags[WAYS];  // 0 = free
    uint8_t overflow;
    uint64_t refs[WAYS];
  };
  static_assert(sizeof(Bucket) == 64);
  struct Erase {
    uint64_t hash = 0;
    uint64_t ref = REF_NONE;
  };

  static uint8_t tag_of(uint64_t hash) {
    const auto tag = static_cast<uint8_t>(hash);
    return tag == 0 ? 1 : tag;
  }
  static uint64_t second_tag_of(uint64_t hash) { return hash >> 8 & 0xff; }
  uint64_t home(uint64_t hash) const { return (hash >> 32) * buckets_ >> 32; }
  static constexpr uint64_t LOW = 0x0001010101010101u;  // the lowest bit of each tag
  static constexpr uint64_t HIGH = LOW << 7;
  static uint64_t tags_of(const Bucket& bucket) {
    uint64_t word;
    std::memcpy(&word, bucket.tags, 8);
    return word;
  }
  // Bit 8 i + 7 is set where byte i is 0, and perhaps at bytes above the first such (where the
  // borrow went): the first is right, the others are candidates.
  static uint64_t zeros(uint64_t word) { return (word - LOW) & ~word; }
  static uint64_t matches(const Bucket& bucket, uint8_t tag) {
    return zeros(tags_of(bucket) ^ LOW * tag) & HIGH;
  }
  uint64_t buckets_for(uint64_t more) const;
  void allocate(uint64_t buckets);
  bool erase_at_home(const Erase& erase) {
    Bucket& bucket = table_[home(erase.hash)];
    const uint64_t hits = matches(bucket, tag_of(erase.hash));
    if (hits == 0) return false;
    const uint32_t way = static_cast<uint32_t>(__builtin_ctzll(hits)) / 8;
    if (bucket.refs[way] != (second_tag_of(erase.hash) << 56 | erase.ref)) return false;
    bucket.tags[way] = 0;
    size_--;
    return true;
  }
  void erase_now(uint64_t hash, uint64_t ref);
  Bucket* locate(uint64_t hash, uint64_t ref, uint32_t* way);

  Erase waiting_[ERASES_WAITING];
  uint32_t next_wait_ = 0;
  std::unique_ptr<Reserved> range_;
  Bucket* table_ = nullptr;
  uint64_t buckets_ = 0;
  uint64_t size_ = 0;
};

}  // namespace warmpath
