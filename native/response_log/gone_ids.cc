// See gone_ids.h.
#include "response_log/gone_ids.h"

#include <algorithm>

namespace warmpath {

namespace {

constexpr std::size_t WAYS = 4;
constexpr std::size_t SETS = GONE_IDS_MAX / WAYS;

// Offset of the first tag of the key's set.
std::size_t set_of(const DirectoryKey& key) {
  return static_cast<std::size_t>(key.low % SETS) * WAYS;
}

}  // namespace

void GoneIds::add(const DirectoryKey& key) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (tags_.empty()) tags_.resize(GONE_IDS_MAX);
  std::uint64_t* const set = tags_.data() + set_of(key);
  // One that is there moves to the front; else the last one makes room.
  std::uint64_t* const known = std::find(set, set + WAYS - 1, key.high);
  std::copy_backward(set, known, known + 1);
  *set = key.high;
}

bool GoneIds::has(const DirectoryKey& key) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (tags_.empty() || key.high == 0) return false;
  const std::uint64_t* const set = tags_.data() + set_of(key);
  return std::find(set, set + WAYS, key.high) != set + WAYS;
}

}  // namespace warmpath
