// What the prefix index means, as plain maps of strings: the oracle of index_model. The same as
// test/model/prefix_index.ts, which explains it; that one is for shrinking, this one for volume.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace stress {

using Hash = uint64_t;
constexpr uint32_t SLOTS = 6;

inline uint32_t group_of(uint32_t slot) {
  return slot < 3 ? 1 : slot < 5 ? 2 : 3;
}

struct Held {
  std::string path;
  int copies;
};

struct Parked {
  uint64_t id;
  uint32_t slot;
  Hash parent;
  std::vector<Hash> hashes;  // 0: removed while parked
  std::string parts;
};

struct PlainIndex {
  std::map<Hash, Held> held[SLOTS];
  std::map<std::string, int> paths[SLOTS];  // of `held`, and by how many hashes
  std::set<uint32_t> hidden;
  std::vector<Parked> parked;
  uint64_t next_id = 0;

  std::optional<std::string> place(uint32_t slot, Hash hash) {
    const auto own = held[slot].find(hash);
    if (own != held[slot].end()) return own->second.path;
    std::set<std::string> paths;
    for (uint32_t other = 0; other < SLOTS; other++) {
      if (group_of(other) != group_of(slot)) continue;
      const auto found = held[other].find(hash);
      if (found != held[other].end()) paths.insert(found->second.path);
    }
    if (paths.size() != 1) return std::nullopt;
    return *paths.begin();
  }

  void hold(uint32_t slot, std::string path, const std::vector<Hash>& hashes,
            const std::string& parts) {
    for (size_t i = 0; i < hashes.size(); i++) {
      const auto known = hashes[i] == 0 ? held[slot].end() : held[slot].find(hashes[i]);
      if (known != held[slot].end()) {
        known->second.copies++;
        path = known->second.path;
        continue;
      }
      path += parts[i];
      if (hashes[i] == 0) continue;
      held[slot][hashes[i]] = {path, 1};
      paths[slot][path]++;
    }
  }

  void store(uint32_t slot, const std::string& root, Hash parent, const std::vector<Hash>& hashes,
             const std::string& parts) {
    for (size_t i = 0; i < hashes.size(); i++) {
      if (hashes[i] == (i == 0 ? parent : hashes[i - 1])) return;
    }
    std::optional<std::string> start = root;
    if (parent != 0) start = place(slot, parent);
    if (!start) {
      parked.push_back({next_id++, slot, parent, hashes, parts});
      return;
    }
    hold(slot, *start, hashes, parts);
    std::vector<Hash> announced = hashes;
    for (size_t at = 0; at < announced.size(); at++) attach(slot, &announced, announced[at]);
  }

  void attach(uint32_t slot, std::vector<Hash>* announced, Hash parent) {
    std::vector<Parked> waiting;
    for (const Parked& one : parked) {
      if (one.parent == parent && group_of(one.slot) == group_of(slot)) waiting.push_back(one);
    }
    for (const Parked& one : waiting) {
      const auto there = place(one.slot, one.parent);
      if (!there) continue;
      std::erase_if(parked, [&](const Parked& p) { return p.id == one.id; });
      hold(one.slot, *there, one.hashes, one.parts);
      for (const Hash hash : one.hashes) {
        if (hash != 0) announced->push_back(hash);
      }
    }
  }

  void remove(uint32_t slot, Hash hash) {
    const auto found = held[slot].find(hash);
    if (found != held[slot].end()) {
      if (--found->second.copies > 0) return;
      if (--paths[slot][found->second.path] == 0) paths[slot].erase(found->second.path);
      held[slot].erase(found);
      return;
    }
    for (size_t i = parked.size(); i-- > 0;) {
      auto& hashes = parked[i].hashes;
      const auto at = std::find(hashes.begin(), hashes.end(), hash);
      if (parked[i].slot != slot || at == hashes.end()) continue;
      *at = 0;
      if (std::all_of(hashes.begin(), hashes.end(), [](Hash h) { return h == 0; })) {
        parked.erase(parked.begin() + static_cast<long>(i));
      }
      return;
    }
  }

  void clear(uint32_t slot) {
    held[slot].clear();
    paths[slot].clear();
    std::erase_if(parked, [&](const Parked& p) { return p.slot == slot; });
  }
};

}  // namespace stress
