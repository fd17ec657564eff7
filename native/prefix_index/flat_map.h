// A small open-addressing map for side tables of the writer: linear probing, backward-shift
// delete (no gone places), at most 3/4 full. Keys are trivially copyable and have `spread()`; the
// value type has a value that means "free": `Value{}`; it is never stored.
//
// Costs: one probe, some 5-20 ns; memory follows the peak within a factor of 4 (it shrinks too).
#pragma once

#include <cstdint>
#include <vector>

namespace warmpath {

template <typename Key, typename Value>
class FlatMap {
 public:
  Value* find(const Key& key) {
    if (size_ == 0) return nullptr;
    for (uint64_t i = home(key);; i = (i + 1) & mask()) {
      if (cells_[i].value == Value{}) return nullptr;
      if (cells_[i].key == key) return &cells_[i].value;
    }
  }

  // The place of the key's value; Value{} if it is new, to be filled by the caller at once.
  Value& at(const Key& key) {
    if ((size_ + 1) * 4 > cells_.size() * 3) resize(cells_.empty() ? 16 : cells_.size() * 2);
    uint64_t i = home(key);
    while (!(cells_[i].value == Value{})) {
      if (cells_[i].key == key) return cells_[i].value;
      i = (i + 1) & mask();
    }
    size_++;
    cells_[i].key = key;
    return cells_[i].value;
  }

  void erase(const Key& key) {
    if (size_ == 0) return;
    uint64_t i = home(key);
    while (!(cells_[i].key == key) || cells_[i].value == Value{}) {
      if (cells_[i].value == Value{}) return;
      i = (i + 1) & mask();
    }
    size_--;
    uint64_t hole = i;
    for (;;) {
      i = (i + 1) & mask();
      if (cells_[i].value == Value{}) break;
      if (((i - home(cells_[i].key)) & mask()) < ((i - hole) & mask())) continue;
      cells_[hole] = cells_[i];
      hole = i;
    }
    cells_[hole].value = Value{};
    if (cells_.size() > 64 && size_ * 8 < cells_.size()) resize(cells_.size() / 4);
  }

  void clear() {
    cells_ = {};
    size_ = 0;
  }
  uint64_t size() const { return size_; }
  uint64_t bytes() const { return cells_.capacity() * sizeof(Cell); }

 private:
  struct Cell {
    Key key{};
    Value value{};
  };
  uint64_t mask() const { return cells_.size() - 1; }
  uint64_t home(const Key& key) const { return key.spread() & mask(); }
  void resize(uint64_t places) {
    std::vector<Cell> old(places);
    old.swap(cells_);
    for (const Cell& cell : old) {
      if (cell.value == Value{}) continue;
      uint64_t i = home(cell.key);
      while (!(cells_[i].value == Value{})) i = (i + 1) & mask();
      cells_[i] = cell;
    }
  }

  std::vector<Cell> cells_;
  uint64_t size_ = 0;
};

}  // namespace warmpath
