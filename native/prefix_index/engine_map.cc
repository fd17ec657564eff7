#include "prefix_index/engine_map.h"

namespace warmpath {

EngineMap::EngineMap() {
  allocate(BUCKETS_MIN);
}

void EngineMap::allocate(uint64_t buckets) {
  range_ = std::make_unique<Reserved>();
  range_->reserve(buckets * sizeof(Bucket));
  range_->use_huge_pages(buckets * sizeof(Bucket));
  table_ = range_->as<Bucket>();
  buckets_ = buckets;
  size_ = 0;
  for (Erase& erase : waiting_) erase.ref = REF_NONE;
}

void EngineMap::settle() {
  for (Erase& erase : waiting_) {
    if (erase.ref != REF_NONE) erase_now(erase.hash, erase.ref);
    erase.ref = REF_NONE;
  }
}

void EngineMap::clear() {
  allocate(BUCKETS_MIN);
}

uint64_t EngineMap::buckets_for(uint64_t more) const {
  uint64_t buckets = buckets_;
  while ((size_ + more) * 5 > buckets * WAYS * 4) buckets += buckets / 2;
  return buckets;
}

void EngineMap::resize(uint64_t more) {
  allocate(buckets_for(more));
}

void EngineMap::insert(uint64_t hash, uint64_t ref) {
  const uint8_t tag = tag_of(hash);
  for (uint64_t b = home(hash);; b = b + 1 == buckets_ ? 0 : b + 1) {
    Bucket& bucket = table_[b];
    const uint64_t free = matches(bucket, 0);
    if (free != 0) {
      const uint32_t way = static_cast<uint32_t>(__builtin_ctzll(free)) / 8;
      bucket.tags[way] = tag;
      bucket.refs[way] = second_tag_of(hash) << 56 | ref;
      size_++;
      return;
    }
    if (bucket.overflow < 255) bucket.overflow++;
  }
}

EngineMap::Bucket* EngineMap::locate(uint64_t hash, uint64_t ref, uint32_t* way) {
  const uint8_t tag = tag_of(hash);
  const uint64_t wanted = second_tag_of(hash) << 56 | ref;
  for (uint64_t b = home(hash);; b = b + 1 == buckets_ ? 0 : b + 1) {
    Bucket& bucket = table_[b];
    for (uint64_t hits = matches(bucket, tag); hits != 0; hits &= hits - 1) {
      *way = static_cast<uint32_t>(__builtin_ctzll(hits)) / 8;
      if (bucket.refs[*way] == wanted && bucket.tags[*way] == tag) return &bucket;
    }
    WARMPATH_CHECK(bucket.overflow != 0);
  }
}

void EngineMap::erase_now(uint64_t hash, uint64_t ref) {
  uint32_t way = 0;
  Bucket* found = locate(hash, ref, &way);
  found->tags[way] = 0;
  size_--;
  for (uint64_t b = home(hash); &table_[b] != found; b = b + 1 == buckets_ ? 0 : b + 1) {
    if (table_[b].overflow < 255) table_[b].overflow--;
  }
}

void EngineMap::move(uint64_t hash, uint64_t from, uint64_t to) {
  uint32_t way = 0;
  Bucket* found = locate(hash, from, &way);
  found->refs[way] = second_tag_of(hash) << 56 | to;
}

}  // namespace warmpath
