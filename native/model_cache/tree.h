// One version of the accelerated path's tree. Immutable: a new one takes its place as a whole.
//
//   names     "confi.jsonmodel-1.safe..."       one run of bytes
//   children  [file 1 | name][file 2 | name]    sorted by (folder, name)
//   folders   file id of a folder --> first child, number of children
//
//   / (0)            folders: 0 -> [0, 2)   4 -> [2, 2)
//   |- a.json (1)    children: {1, "a.json"} {4, "sub"}
//   `- sub/ (4)      find(0, "sub"): binary search in [0, 2) -> 4
//
// A folder that is being listed keeps the version that it was opened with, so a listing shows
// each name once however often the tree is swapped meanwhile.
//
// Costs: 24 bytes and the name an entry, n log n to build, log n to find. A swap builds the whole
// version again, some milliseconds for 10,000 files: right for model folders that change by the
// hour, wrong for a file system that somebody writes to.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace warmpath::model_cache {

inline constexpr std::uint32_t NO_FILE = UINT32_MAX;

struct TreeChild {
  std::uint32_t folder;
  std::uint32_t file;
  std::string_view name;
};

class Tree {
 public:
  // `children` may come in any order; their names are copied.
  explicit Tree(std::vector<TreeChild> children);
  Tree(const Tree&) = delete;
  Tree& operator=(const Tree&) = delete;

  std::uint32_t find(std::uint32_t folder, std::string_view name) const;
  // The children of a folder in the order of their names.
  const TreeChild* begin(std::uint32_t folder) const {
    return children_.data() + span(folder).first;
  }
  std::uint32_t count(std::uint32_t folder) const { return span(folder).count; }
  const std::vector<TreeChild>& all() const { return children_; }

 private:
  struct Span {
    std::uint32_t first;
    std::uint32_t count;
  };
  Span span(std::uint32_t folder) const;

  std::string names_;
  std::vector<TreeChild> children_;
  std::unordered_map<std::uint32_t, Span> folders_;
};

}  // namespace warmpath::model_cache
