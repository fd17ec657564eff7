// Own keys of prompt blocks: a 64-bit chain hash that no node can influence.
//
//   root  = xxh3(seed, model | block size | adapter | salt)     lengths are hashed too
//   key 0 = mix(root,  xxh3(seed, tokens of block 0) ^ extra)
//   key 1 = mix(key 0, xxh3(seed, tokens of block 1) ^ extra)   ...
//
// Worked example, block size 2, tokens 7 8 9 10 11: two keys, key 0 covers [7 8], key 1 covers
// [7 8 9 10]; token 11 starts a block that is not full and has no key. Another prompt 7 8 9 12
// shares key 0 and nothing after it: equal keys mean equal whole prefixes.
//
// Invariants: a key is never 0 or 1 (the tables use both as marks). The seed is random for each
// process, so a tenant cannot aim a collision at another; a collision would cost a wrong route,
// never a wrong answer. Keys are not stable across processes and are not stored.
//
// Costs: about 6 ns for a block of 16 tokens. 64 bits: about 3 in 10,000 for any collision among
// 10^8 blocks.
#pragma once

#include <cstddef>
#include <cstdint>

#define XXH_INLINE_ALL
#include "xxhash.h"

namespace warmpath {

constexpr uint64_t KEY_EMPTY = 0;  // no key: a free place in a table
constexpr uint64_t KEY_GONE = 1;   // no key: a place that was used

// Set once before the first key; read without a lock by all threads.
struct ChainSeed {
  uint64_t seed;
  uint64_t left;
  uint64_t right;
};
extern ChainSeed chain_seed;

void chain_seed_set(uint64_t seed);

uint64_t chain_root(const char* model, size_t model_bytes, uint32_t block_size, const char* adapter,
                    size_t adapter_bytes, const char* salt, size_t salt_bytes);

inline uint64_t block_hash(const uint32_t* tokens, uint32_t block_size) {
  return XXH3_64bits_withSeed(tokens, size_t{block_size} * 4, chain_seed.seed);
}

// An extra is what the node hashes into the block beside its tokens (an image, say); 0 is none.
inline uint64_t with_extra(uint64_t hash, uint64_t extra) {
  return extra == 0 ? hash : XXH3_64bits_withSeed(&extra, sizeof extra, hash);
}

inline uint64_t chain_mix(uint64_t key, uint64_t hash) {
  const auto product =
      static_cast<unsigned __int128>(key ^ chain_seed.left) * (hash ^ chain_seed.right);
  uint64_t mixed = static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  mixed ^= mixed >> 37;
  mixed *= 0x165667919e3779f9u;
  mixed ^= mixed >> 32;
  return mixed > KEY_GONE ? mixed : mixed + 2;
}

size_t chain_keys(uint64_t root, const uint32_t* tokens, size_t token_count, uint32_t block_size,
                  uint64_t* out);
size_t text_keys(uint64_t root, const uint8_t* text, size_t bytes, uint32_t chunk_bytes,
                 uint64_t* out);

}  // namespace warmpath
