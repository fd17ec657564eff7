#include "model_cache/chunk_hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstring>

#include "model_cache/chunk_hash_avx2.h"

namespace warmpath::model_cache {

namespace {

using Hash = void (*)(const void*, std::size_t, std::uint8_t*);

void hash_plain(const void* data, std::size_t length, std::uint8_t* out) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(data, length));
  static_assert(sizeof canonical == HASH_BYTES);
  std::memcpy(out, &canonical, HASH_BYTES);
}

Hash fastest() {
#ifdef WARMPATH_HAS_AVX2_HASH
  if (__builtin_cpu_supports("avx2") != 0) return hash_chunk_avx2;
#endif
  return hash_plain;
}

}  // namespace

void hash_chunk(const void* data, std::size_t length, std::uint8_t* out) {
  static const Hash hash = fastest();
  hash(data, length, out);
}

}  // namespace warmpath::model_cache
