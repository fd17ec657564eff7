// The same hash as chunk_hash.h's, for processors with AVX2; only to be called on these.
#pragma once

#include <cstddef>
#include <cstdint>

// GCC alone says by a pragma what one file is compiled for, headers included.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define WARMPATH_HAS_AVX2_HASH
#endif

namespace warmpath::model_cache {

void hash_chunk_avx2(const void* data, std::size_t length, std::uint8_t* out);

}  // namespace warmpath::model_cache
