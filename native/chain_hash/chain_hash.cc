#include "chain_hash/chain_hash.h"

#include <random>

namespace warmpath {

namespace {

// Text and token blocks of equal bytes must not share keys.
constexpr uint64_t TEXT_DOMAIN = 0x7465787400000001u;

ChainSeed spread(uint64_t seed) {
  const uint64_t words[2] = {seed, ~seed};
  return {seed, XXH3_64bits_withSeed(words, sizeof words, 1),
          XXH3_64bits_withSeed(words, sizeof words, 2)};
}

uint64_t random_seed() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

uint64_t absorb(uint64_t state, const char* data, size_t bytes) {
  const uint64_t hash = XXH3_64bits_withSeed(data, bytes, chain_seed.seed);
  return chain_mix(chain_mix(state, bytes), hash);
}

}  // namespace

ChainSeed chain_seed = spread(random_seed());

void chain_seed_set(uint64_t seed) {
  chain_seed = spread(seed);
}

uint64_t chain_root(const char* model, size_t model_bytes, uint32_t block_size, const char* adapter,
                    size_t adapter_bytes, const char* salt, size_t salt_bytes) {
  uint64_t state = chain_mix(KEY_GONE, block_size);
  state = absorb(state, model, model_bytes);
  state = absorb(state, adapter, adapter_bytes);
  return absorb(state, salt, salt_bytes);
}

size_t chain_keys(uint64_t root, const uint32_t* tokens, size_t token_count, uint32_t block_size,
                  uint64_t* out) {
  const size_t blocks = token_count / block_size;
  uint64_t key = root;
  for (size_t i = 0; i < blocks; i++) {
    key = chain_mix(key, block_hash(tokens + i * block_size, block_size));
    out[i] = key;
  }
  return blocks;
}

size_t text_keys(uint64_t root, const uint8_t* text, size_t bytes, uint32_t chunk_bytes,
                 uint64_t* out) {
  const size_t chunks = bytes / chunk_bytes;
  const uint64_t seed = chain_seed.seed ^ TEXT_DOMAIN;
  uint64_t key = root;
  for (size_t i = 0; i < chunks; i++) {
    key = chain_mix(key, XXH3_64bits_withSeed(text + i * chunk_bytes, chunk_bytes, seed));
    out[i] = key;
  }
  return chunks;
}

}  // namespace warmpath
