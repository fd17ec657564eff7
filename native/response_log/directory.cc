// See directory.h.
#include "response_log/directory.h"

#include <cstring>
#include <random>

#define XXH_INLINE_ALL
#include "check.h"
#include "xxhash.h"

namespace warmpath {

namespace {

constexpr std::uint32_t FIRST_CELLS = 1024;

}  // namespace

Directory::Directory() : cells_(new Cell[FIRST_CELLS]), mask_(FIRST_CELLS - 1) {
  std::random_device random;
  seed_ = static_cast<std::uint64_t>(random()) << 32 | random();
}

Directory::~Directory() {
  delete[] cells_;
}

DirectoryKey Directory::key_of(std::uint32_t tenant, const std::uint8_t* id,
                               std::size_t size) const {
  WARMPATH_CHECK(size > 0 && size <= DIRECTORY_ID_BYTES_MAX);
  std::uint8_t text[sizeof(tenant) + DIRECTORY_ID_BYTES_MAX];
  std::memcpy(text, &tenant, sizeof(tenant));
  std::memcpy(text + sizeof(tenant), id, size);
  const XXH128_hash_t hash = XXH3_128bits_withSeed(text, sizeof(tenant) + size, seed_);
  return {hash.low64, hash.high64};
}

// The cell of the key, or the free one where it would be put.
std::uint32_t Directory::place_of(const DirectoryKey& key) const {
  std::uint32_t place = static_cast<std::uint32_t>(key.low) & mask_;
  while (cells_[place].is_used() && !(cells_[place].key == key)) place = (place + 1) & mask_;
  return place;
}

void Directory::grow() {
  Cell* const old = cells_;
  const std::uint32_t old_mask = mask_;
  mask_ = mask_ * 2 + 1;
  cells_ = new Cell[mask_ + 1];
  for (std::uint32_t i = 0; i <= old_mask; i++) {
    if (old[i].is_used()) cells_[place_of(old[i].key)] = old[i];
  }
  delete[] old;
}

bool Directory::add(const DirectoryKey& key, LogName name) {
  WARMPATH_CHECK(name.generation != 0);
  const std::lock_guard<std::mutex> lock(mutex_);
  std::uint32_t place = place_of(key);
  if (cells_[place].is_used()) return false;
  if ((count_ + 1) * 2 > mask_) {
    grow();
    place = place_of(key);
  }
  cells_[place] = {key, name};
  count_++;
  return true;
}

bool Directory::find(const DirectoryKey& key, LogName* name) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const Cell& cell = cells_[place_of(key)];
  if (!cell.is_used()) return false;
  *name = cell.name;
  return true;
}

void Directory::remove(const DirectoryKey& key) {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::uint32_t hole = place_of(key);
  WARMPATH_CHECK(cells_[hole].is_used());
  for (std::uint32_t next = (hole + 1) & mask_; cells_[next].is_used(); next = (next + 1) & mask_) {
    const std::uint32_t ideal = static_cast<std::uint32_t>(cells_[next].key.low) & mask_;
    // May move back when its own place does not lie between the hole and where it stands.
    if (((next - ideal) & mask_) < ((next - hole) & mask_)) continue;
    cells_[hole] = cells_[next];
    hole = next;
  }
  cells_[hole] = Cell{};
  count_--;
}

std::uint32_t Directory::count() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return count_;
}

}  // namespace warmpath
