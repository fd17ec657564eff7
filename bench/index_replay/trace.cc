#include "index_replay/trace.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <unordered_map>

#include "check.h"
#include "prefix_index/prefix_index.h"

namespace bench {

namespace {

// One node's cache: blocks in the order in which they will be evicted.
class NodeCache {
 public:
  explicit NodeCache(uint32_t capacity) : capacity_(capacity) {}

  bool has(uint64_t key) const { return places_.count(key) > 0; }
  uint32_t size() const { return static_cast<uint32_t>(places_.size()); }
  bool is_full() const { return size() + pinned_ >= capacity_; }
  void pin(uint64_t key) {
    unlink(key);
    pinned_++;
  }
  void pin_new() { pinned_++; }
  // The pinned blocks come back, the deepest first in line.
  void unpin(const std::vector<uint64_t>& keys) {
    for (size_t i = keys.size(); i-- > 0;) push(keys[i]);
    pinned_ = 0;
  }
  bool evict(uint64_t* key) {
    if (first_ == NONE) return false;
    *key = cells_[first_].key;
    unlink(*key);
    return true;
  }

 private:
  static constexpr uint32_t NONE = ~0u;
  struct Cell {
    uint64_t key;
    uint32_t next;
    uint32_t previous;
  };

  void unlink(uint64_t key) {
    const uint32_t at = places_[key];
    const Cell cell = cells_[at];
    (cell.previous == NONE ? first_ : cells_[cell.previous].next) = cell.next;
    (cell.next == NONE ? last_ : cells_[cell.next].previous) = cell.previous;
    places_.erase(key);
    free_.push_back(at);
  }
  void push(uint64_t key) {
    uint32_t at = static_cast<uint32_t>(cells_.size());
    if (free_.empty()) {
      cells_.emplace_back();
    } else {
      at = free_.back();
      free_.pop_back();
    }
    cells_[at] = {key, NONE, last_};
    (last_ == NONE ? first_ : cells_[last_].next) = at;
    last_ = at;
    places_[key] = at;
  }

  uint32_t capacity_;
  uint32_t pinned_ = 0;
  uint32_t first_ = NONE;
  uint32_t last_ = NONE;
  std::vector<Cell> cells_;
  std::vector<uint32_t> free_;
  std::unordered_map<uint64_t, uint32_t> places_;
};

uint64_t engine_hash(uint64_t key) {
  return warmpath::scramble(key ^ 0x656e67696e65u);
}

// Writes one step: what the node evicts for the new blocks, and their store.
void add_step(Trace* trace, const TraceOptions& options, NodeCache* node, uint32_t slot,
              const uint64_t* blocks, const uint64_t* hashes, uint32_t from, uint32_t to) {
  Step step = {slot, 0, to - from, trace->keys.size(), trace->words.size(), 0, trace->tokens.size(),
               0};
  for (uint32_t i = from; i < to; i++) {
    uint64_t gone = 0;
    if (node->is_full() && node->evict(&gone)) {
      trace->keys.push_back(gone);
      trace->words.push_back(warmpath::OP_REMOVE | uint64_t{1} << 32);
      trace->words.push_back(engine_hash(gone));
      step.removed++;
    }
    node->pin_new();
  }
  const uint64_t flags = (from > 0 ? warmpath::STORE_HAS_PARENT : 0) |
                         (options.has_tokens ? 0 : warmpath::STORE_HASHED);
  const uint64_t count = to - from;
  trace->words.push_back(warmpath::OP_STORE | flags << 8 | count << 32);
  trace->words.push_back(options.has_tokens ? count * BLOCK_SIZE : 0);
  trace->words.push_back(trace->root);
  if (from > 0) trace->words.push_back(engine_hash(blocks[from - 1]));
  for (uint32_t i = from; i < to; i++) {
    trace->keys.push_back(blocks[i]);
    trace->words.push_back(engine_hash(blocks[i]));
  }
  for (uint32_t i = from; i < to && !options.has_tokens; i++) trace->words.push_back(hashes[i]);
  if (options.has_tokens) {
    for (uint32_t i = from; i < to; i++) {
      for (uint32_t t = 0; t < BLOCK_SIZE; t++) {
        trace->tokens.push_back(static_cast<uint32_t>(hashes[i] >> t));
      }
    }
  }
  step.word_count = static_cast<uint32_t>(trace->words.size() - step.words);
  step.token_count = static_cast<uint32_t>(trace->tokens.size() - step.tokens);
  trace->steps.push_back(step);
  trace->block_ops += step.removed + step.stored;
  trace->events += step.removed + 1;
  trace->single_events += step.removed + (step.stored == 1);
}

uint64_t block_hash_of(uint64_t hash, bool has_tokens) {
  if (!has_tokens) return hash;
  uint32_t tokens[BLOCK_SIZE];
  for (uint32_t t = 0; t < BLOCK_SIZE; t++) tokens[t] = static_cast<uint32_t>(hash >> t);
  return warmpath::block_hash(tokens, BLOCK_SIZE);
}

uint64_t number_after(const std::string& line, const char* name) {
  const size_t at = line.find(name);
  WARMPATH_CHECK(at != std::string::npos);
  return std::strtoull(line.c_str() + at + std::strlen(name), nullptr, 10);
}

void add_request(Trace* trace, const TraceOptions& options, std::vector<NodeCache>* nodes,
                 const std::string& line) {
  const auto slot = static_cast<uint32_t>(trace->requests.size() % options.nodes);
  NodeCache& node = (*nodes)[slot];
  std::vector<uint64_t> hashes;
  const char* at = line.c_str() + line.find('[') + 1;
  while (*at != ']' && *at != '\0') {
    char* end = nullptr;
    const uint64_t id = std::strtoull(at, &end, 10);
    for (uint32_t i = 0; i < BLOCKS_AN_ID; i++) {
      hashes.push_back(warmpath::scramble(id * BLOCKS_AN_ID + i + 1));
    }
    at = *end == ',' ? end + 1 : end;
  }
  const uint64_t whole = number_after(line, "\"input_length\":") / BLOCK_SIZE;
  if (hashes.size() > whole) hashes.resize(whole);
  if (hashes.size() > options.capacity / 2) hashes.resize(options.capacity / 2);
  std::vector<uint64_t> blocks;
  uint64_t key = trace->root;
  const auto extend = [&](uint64_t hash) {
    key = warmpath::chain_mix(key, block_hash_of(hash, options.has_tokens));
    blocks.push_back(key);
  };
  for (const uint64_t hash : hashes) extend(hash);
  const auto count = static_cast<uint32_t>(blocks.size());
  Request request = {trace->keys.size(), count, trace->steps.size(), 0};
  trace->keys.insert(trace->keys.end(), blocks.begin(), blocks.end());
  trace->block_ops += count;

  uint32_t cached = 0;
  while (cached < count && node.has(blocks[cached])) node.pin(blocks[cached++]);
  uint32_t end = cached;
  while (end < count && !node.has(blocks[end])) end++;
  if (end > cached) {
    add_step(trace, options, &node, slot, blocks.data(), hashes.data(), cached, end);
  }
  blocks.resize(end);
  hashes.resize(end);
  if (options.has_decode && end == count && end > 0) {
    const uint64_t output = number_after(line, "\"output_length\":") / BLOCK_SIZE;
    key = blocks.back();
    for (uint64_t i = 0; i < output; i++) {
      hashes.push_back(warmpath::scramble(~(trace->requests.size() << 20 | i)));
      extend(hashes.back());
      const auto last = static_cast<uint32_t>(blocks.size()) - 1;
      add_step(trace, options, &node, slot, blocks.data(), hashes.data(), last, last + 1);
    }
  }
  node.unpin(blocks);
  request.step_count = static_cast<uint32_t>(trace->steps.size() - request.steps);
  trace->requests.push_back(request);
}

}  // namespace

Trace load_trace(const TraceOptions& options) {
  Trace trace;
  trace.root = warmpath::chain_root("bench", 5, BLOCK_SIZE, "", 0, "", 0);
  std::vector<NodeCache> nodes(options.nodes, NodeCache(options.capacity));
  std::ifstream in(options.file);
  WARMPATH_CHECK(in.good());
  std::string line;
  while (trace.requests.size() < options.requests_max && std::getline(in, line)) {
    if (!line.empty()) add_request(&trace, options, &nodes, line);
  }
  return trace;
}

}  // namespace bench
