// xxh3-128 of a chunk in canonical (big-endian) bytes, as it travels on the wire and in
// sidecars: hex of the bytes is what xxhsum prints.
#pragma once

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstdint>
#include <cstring>

namespace warmpath::model_cache {

// Largest piece that is hashed, copied and sent at once, in bytes: two huge pages, so that a
// write fills whole ones and the bounce buffer stays in the cache of the processor.
inline constexpr std::uint32_t CHUNK_BYTES_MAX = 4 << 20;
inline constexpr std::uint32_t HASH_BYTES = 16;

inline void hash_chunk(const void* data, std::size_t length, std::uint8_t* out) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(data, length));
  static_assert(sizeof canonical == HASH_BYTES);
  std::memcpy(out, &canonical, HASH_BYTES);
}

}  // namespace warmpath::model_cache
