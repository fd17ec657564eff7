// One link of the chain over text: the key of a chunk from the key before it.
#pragma once

#include <cstddef>
#include <cstdint>

#define XXH_INLINE_ALL
#include "xxhash.h"

namespace warmpath::json_scan {

inline uint64_t chain_bytes(uint64_t previous, const uint8_t* bytes, size_t length) {
  return XXH3_64bits_withSeed(bytes, length, previous);
}

}  // namespace warmpath::json_scan
