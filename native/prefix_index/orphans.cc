#include "prefix_index/orphans.h"

namespace warmpath {

uint32_t Orphans::park(uint64_t parent, uint32_t slot, const uint64_t* hashes,
                       const uint64_t* tokens, uint32_t count, uint64_t now) {
  auto parked = std::make_unique<Parked>();
  parked->parent = parent;
  parked->born = now;
  parked->slot = slot;
  parked->left = count;
  parked->blocks.reserve(count);
  for (uint32_t i = 0; i < count; i++) {
    parked->blocks.push_back({hashes[i], tokens[i]});
    Copies& copies = by_block_.at({hashes[i], slot});
    copies.newest = first_ + ring_.size();
    copies.count++;
  }
  by_parent_.at({parent})++;
  bytes_ += bytes_of(*parked);
  blocks_ += count;
  count_++;
  ring_.push_back(std::move(parked));
  uint32_t dropped = 0;
  while (count_ > limits_.stores_max || bytes_ > limits_.bytes_max) {
    trim_front();
    pull(first_);
    dropped++;
    trim_front();
  }
  return dropped;
}

uint32_t Orphans::expire(uint64_t now) {
  uint32_t dropped = 0;
  trim_front();
  while (count_ > 0 && now - ring_.front()->born > limits_.age_ops_max) {
    pull(first_);
    dropped++;
    trim_front();
  }
  return dropped;
}

bool Orphans::remove(uint64_t hash, uint32_t slot) {
  Copies* copies = count_ == 0 ? nullptr : by_block_.find({hash, slot});
  if (copies == nullptr) return false;
  for (uint64_t id = copies->newest + 1; id-- > first_;) {
    Parked* parked = get(id);
    if (parked == nullptr || parked->slot != slot) continue;
    for (ParkedBlock& block : parked->blocks) {
      if (block.hash != hash) continue;
      block.hash = 0;
      copies->newest = id;
      forget_block(hash, slot);
      blocks_--;
      if (--parked->left == 0) pull(id);
      return true;
    }
  }
  WARMPATH_CHECK(false && "parked block not found");
}

void Orphans::forget_block(uint64_t hash, uint32_t slot) {
  Copies* copies = by_block_.find({hash, slot});
  WARMPATH_CHECK(copies != nullptr);
  if (copies->count > 1) {
    copies->count--;
  } else {
    by_block_.erase({hash, slot});
  }
}

std::unique_ptr<Parked> Orphans::pull(uint64_t id) {
  std::unique_ptr<Parked> parked = std::move(ring_[id - first_]);
  for (const ParkedBlock& block : parked->blocks) {
    if (block.hash != 0) forget_block(block.hash, parked->slot);
  }
  uint32_t* waiting = by_parent_.find({parked->parent});
  if (*waiting > 1) {
    --*waiting;
  } else {
    by_parent_.erase({parked->parent});
  }
  bytes_ -= bytes_of(*parked);
  blocks_ -= parked->left;
  count_--;
  return parked;
}

void Orphans::trim_front() {
  while (!ring_.empty() && ring_.front() == nullptr) {
    ring_.pop_front();
    first_++;
  }
}

void Orphans::drop_slot(uint32_t slot) {
  for (uint64_t id = first_; id < first_ + ring_.size(); id++) {
    const Parked* parked = get(id);
    if (parked != nullptr && parked->slot == slot) pull(id);
  }
  trim_front();
}

void Orphans::clear() {
  ring_.clear();
  by_block_.clear();
  by_parent_.clear();
  count_ = 0;
  blocks_ = bytes_ = 0;
}

}  // namespace warmpath
