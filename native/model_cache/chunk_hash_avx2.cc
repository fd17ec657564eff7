#include "model_cache/chunk_hash_avx2.h"

#ifdef WARMPATH_HAS_AVX2_HASH

#include <immintrin.h>

#include <cstring>

// Behind the headers of the language, so that none of their functions needs AVX2. The pragma comes
// too late for the macros by which xxhash.h would choose (g++ reads a whole file first).
#pragma GCC target("avx2")
#define XXH_INLINE_ALL
#define XXH_VECTOR XXH_AVX2
#include <xxhash.h>

namespace warmpath::model_cache {

void hash_chunk_avx2(const void* data, std::size_t length, std::uint8_t* out) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(data, length));
  std::memcpy(out, &canonical, sizeof canonical);
}

}  // namespace warmpath::model_cache

#endif
