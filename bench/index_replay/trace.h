// A request trace turned into the operations that a fleet of engines would cause, prepared in
// full before anything is timed, so that every index replays the same bytes.
//
//   trace line   {"input_length": 6758, "output_length": 500, "hash_ids": [0, 1, ..]}
//   request      422 keys (input_length / 16; an id stands for 32 blocks), to be looked up
//   step         batch of one node: single-hash removals, then one store (the uncached blocks)
//   steps        one for each decoded block: a removal, a store of one block
//
// Request i goes to node i mod n. A node keeps `capacity` blocks and evicts the least recently
// used, the deepest of a chain first, as vLLM does. A block op is one requested, stored or removed
// hash. The engine's hash of a block is a scramble of its own key.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace bench {

struct TraceOptions {
  std::string file;
  uint32_t nodes;
  uint32_t capacity;
  uint32_t requests_max;
  bool has_decode;
  bool has_tokens;  // stores carry tokens to be hashed, not the blocks' hashes
};

struct Step {
  uint32_t slot;
  uint32_t removed;  // keys, at `keys`
  uint32_t stored;   // keys, behind the removed
  uint64_t keys;     // in Trace::keys
  uint64_t words;    // of the batch, in Trace::words
  uint32_t word_count;
  uint64_t tokens;  // in Trace::tokens
  uint32_t token_count;
};

struct Request {
  uint64_t keys;
  uint32_t count;
  uint64_t steps;  // in Trace::steps
  uint32_t step_count;
};

struct Trace {
  std::vector<Request> requests;
  std::vector<Step> steps;
  std::vector<uint64_t> keys;
  std::vector<uint64_t> words;
  std::vector<uint32_t> tokens;
  uint64_t root = 0;
  uint64_t block_ops = 0;
  uint64_t single_events = 0;  // events of one block
  uint64_t events = 0;
};

constexpr uint32_t BLOCK_SIZE = 16;
constexpr uint32_t BLOCKS_AN_ID = 32;

Trace load_trace(const TraceOptions& options);

}  // namespace bench
