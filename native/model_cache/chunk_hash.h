// xxh3-128 of a chunk in canonical (big-endian) bytes, as it travels on the wire and in
// sidecars: hex of the bytes is what xxhsum prints.
//
// The addon is built for the oldest processor of its architecture. Where the one it runs on has
// AVX2 the hash is done with that: 24 GB/s of a core become 40 (EPYC, bytes in the cache).
#pragma once

#include <cstddef>
#include <cstdint>

namespace warmpath::model_cache {

// Largest piece that is hashed, copied and sent at once, in bytes: two huge pages, so that a
// write fills whole ones and the bounce buffer stays in the cache of the processor.
inline constexpr std::uint32_t CHUNK_BYTES_MAX = 4 << 20;
inline constexpr std::uint32_t HASH_BYTES = 16;

// `out` takes HASH_BYTES.
void hash_chunk(const void* data, std::size_t length, std::uint8_t* out);

}  // namespace warmpath::model_cache
