// The index against a plain model, on one thread: random walks until the time is over, or until
// so many operations are done.
//
//   index_model_stress SECONDS [SEED] [OPERATIONS] [BREAK]
//
// After every operation the number of held blocks and a lookup are compared, after some the
// invariants are checked; the first difference ends the process with the seed of its walk. `break`
// 1 to 6 makes the model wrong in one small way, to show that the comparison would see it.
//
// Walks are shaped: alphabets of 1 to 3 tokens, chains of up to 80 blocks, some walks full of
// holes, some of forks, some with nodes that lie about hashes. One index serves some walks, so that
// memory is used again; after each walk nothing may be left.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "prefix_index/prefix_index.h"
#include "stress/plain_index.h"
#include "stress/stress.h"

namespace {

using stress::Hash;
using stress::SLOTS;
using warmpath::PrefixIndex;
using warmpath::Random;

constexpr uint32_t BLOCK = 1;
constexpr uint32_t STEPS_A_WALK = 500;
constexpr uint32_t WALKS_AN_INDEX = 4;
// Operations between two walks over all invariants.
constexpr uint32_t VERIFY_EACH = 8;

// How a walk is shaped.
struct Shape {
  uint32_t alphabet;
  uint32_t store_max;  // blocks of one store
  uint32_t depth_max;  // of its start
  uint32_t lies;       // one store in so many has arbitrary hashes, 0 = none
  uint32_t removals;   // of 10 operations
  bool tail_first;
};

class Walk {
 public:
  Walk(uint64_t seed, PrefixIndex& index, int broken) : random_{seed}, index_(index) {
    const uint32_t store_max = random_(4) == 0 ? 60 : 8;
    shape_ = {1 + random_(3), 1 + random_(store_max), 1 + random_(20),
              random_(2) * 5, 2 + random_(6),         random_(2) == 0};
    broken_ = broken;
  }

  void step() {
    const uint32_t slot = random_(SLOTS);
    const uint32_t kind = random_(200);
    if (kind == 0) {
      index_.clear_slot(slot);
      if (broken_ != 1) model_.clear(slot);
      model_.hidden.erase(slot);
    } else if (kind == 1) {
      index_.hide_slot(slot);
      if (broken_ != 2) model_.hidden.insert(slot);
    } else if (kind % 10 < shape_.removals) {
      remove(slot);
    } else {
      store(slot);
    }
  }

  // A lookup of a random chain; true if all slots have the depths of the model.
  bool compare() {
    std::string parts;
    const uint32_t root = random_(2);
    for (uint32_t i = 1 + random_(shape_.depth_max + shape_.store_max); i > 0; i--) {
      parts += letter();
    }
    const std::vector<uint32_t> tokens(parts.begin(), parts.end());
    std::vector<uint64_t> keys(tokens.size());
    warmpath::chain_keys(root + 7, tokens.data(), tokens.size(), BLOCK, keys.data());
    uint32_t slots[warmpath::SLOTS_MAX];
    uint32_t depths[warmpath::SLOTS_MAX];
    const uint32_t found =
        index_.match(keys.data(), static_cast<uint32_t>(keys.size()), slots, depths);
    uint32_t got[SLOTS] = {};
    for (uint32_t i = 0; i < found; i++) got[slots[i]] = depths[i];
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
      const auto& held = model_.paths[slot];
      if (index_.held_blocks(slot) != held.size()) return false;
      std::string path = root == 0 ? "A" : "B";
      uint32_t depth = 0;
      while (depth < parts.size() && held.count(path += parts[depth]) > 0) depth++;
      if (model_.hidden.count(slot) > 0) depth = 0;
      if (depth != got[slot]) return false;
    }
    return true;
  }

 private:
  char letter() { return static_cast<char>('a' + random_(random_(3) == 0 ? shape_.alphabet : 1)); }

  void store(uint32_t slot) {
    const uint32_t root = random_(2);
    const bool is_lie = shape_.lies != 0 && random_(shape_.lies) == 0;
    const uint32_t start = random_(3) == 0 ? 0 : random_(shape_.depth_max);
    const uint32_t count = 1 + random_(shape_.store_max);
    std::string path = root == 0 ? "A" : "B";
    std::string parts;
    Hash parent = 0;
    std::vector<Hash> hashes;
    for (uint32_t i = 0; i < start + count; i++) {
      const char next = letter();
      path += next;
      const Hash hash = is_lie ? 1 + random_(60) : std::hash<std::string>{}(path);
      if (i < start) {
        parent = hash;
        continue;
      }
      parts += next;
      hashes.push_back(hash);
    }
    const uint64_t flags = parent != 0 ? warmpath::STORE_HAS_PARENT : 0;
    ops_ = {warmpath::OP_STORE | flags << 8 | uint64_t{count} << 32, count, root + 7};
    if (parent != 0) ops_.push_back(parent);
    ops_.insert(ops_.end(), hashes.begin(), hashes.end());
    const std::vector<uint32_t> tokens(parts.begin(), parts.end());
    index_.apply(slot, stress::group_of(slot), ops_.data(), ops_.size(), tokens.data(),
                 tokens.size());
    if (broken_ == 3 && random_(100) == 0) hashes.pop_back();
    if (broken_ == 4 && parent != 0 && !model_.place(slot, parent)) return;
    model_.store(slot, root == 0 ? "A" : "B", parent, hashes, parts);
  }

  void remove(uint32_t slot) {
    std::vector<std::pair<std::string, Hash>> all;
    for (const auto& [hash, one] : model_.held[slot]) all.emplace_back(one.path, hash);
    for (const stress::Parked& one : model_.parked) {
      if (one.slot != slot) continue;
      for (const Hash hash : one.hashes) {
        if (hash != 0) all.emplace_back("~", hash);
      }
    }
    all.emplace_back("!", 1 + random_(60));
    std::sort(all.begin(), all.end());
    const uint32_t from = random_(static_cast<uint32_t>(all.size()));
    ops_.clear();
    for (uint32_t left = 1 + random_(8); left > 0; left--) {
      const size_t size = all.size();
      const size_t at = shape_.tail_first ? (from + size - left % size) % size
                                          : random_(static_cast<uint32_t>(size));
      const Hash hash = all[at].second;
      ops_.insert(ops_.end(), {warmpath::OP_REMOVE | uint64_t{1} << 32, hash});
      const auto held = model_.held[slot].find(hash);
      if (broken_ == 5 && held != model_.held[slot].end()) held->second.copies = 1;
      if (broken_ == 6 && held == model_.held[slot].end()) continue;
      model_.remove(slot, hash);
    }
    index_.apply(slot, stress::group_of(slot), ops_.data(), ops_.size(), nullptr, 0);
  }

  Random random_;
  PrefixIndex& index_;
  int broken_;
  Shape shape_;
  stress::PlainIndex model_;
  std::vector<uint64_t> ops_;
};

int fail(const char* what, uint64_t seed, uint32_t step) {
  std::fprintf(stderr, "index_model_stress: %s in walk %llu at step %u\n", what,
               static_cast<unsigned long long>(seed), step);
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 10;
  uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  const uint64_t operations_max = argc > 3 ? std::strtoull(argv[3], nullptr, 10) : ~uint64_t{0};
  const int broken = argc > 4 ? std::atoi(argv[4]) : 0;
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  warmpath::chain_seed_set(1);
  auto index = std::make_unique<PrefixIndex>(BLOCK, uint64_t{1} << 26, warmpath::OrphanLimits{});
  double stats[warmpath::STATS_COUNT];
  double merges = 0;
  double orphans = 0;
  double copies = 0;
  double aliases = 0;
  uint64_t operations = 0;
  for (; operations < operations_max && std::chrono::steady_clock::now() < end; seed++) {
    operations += STEPS_A_WALK;
    // What one walk leaves (ids, free space, marks) is the start of the next; then afresh.
    if (seed % WALKS_AN_INDEX == 0) {
      index = std::make_unique<PrefixIndex>(BLOCK, uint64_t{1} << 26, warmpath::OrphanLimits{});
    }
    Walk walk(seed, *index, broken);
    for (uint32_t i = 0; i < STEPS_A_WALK; i++) {
      walk.step();
      if (i % VERIFY_EACH == 0) index->verify();
      if (!walk.compare()) return fail("difference", seed, i);
    }
    index->stats(stats);
    merges += stats[15];
    orphans += stats[3];
    copies += stats[5];
    aliases += stats[6];
    for (uint32_t slot = 0; slot < SLOTS; slot++) index->remove_slot(slot);
    index->verify();
    index->stats(stats);
    const bool is_empty = stats[0] + stats[2] + stats[3] + stats[5] + stats[6] == 0;
    if (!is_empty) return fail("something left", seed, STEPS_A_WALK);
  }
  std::printf(
      "{\"operations\":%llu,\"differences\":0,\"merges\":%.0f,\"orphans\":%.0f,"
      "\"copies\":%.0f,\"aliases\":%.0f}\n",
      static_cast<unsigned long long>(operations), merges, orphans, copies, aliases);
  return 0;
}
