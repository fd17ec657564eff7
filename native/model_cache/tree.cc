#include "model_cache/tree.h"

#include <algorithm>
#include <tuple>

namespace warmpath::model_cache {

Tree::Tree(std::vector<TreeChild> children) : children_(std::move(children)) {
  std::size_t bytes = 0;
  for (const TreeChild& child : children_) bytes += child.name.size();
  names_.reserve(bytes);
  for (TreeChild& child : children_) {
    const std::size_t at = names_.size();
    names_.append(child.name);
    child.name = std::string_view(names_).substr(at);
  }
  std::sort(children_.begin(), children_.end(), [](const TreeChild& a, const TreeChild& b) {
    return std::tie(a.folder, a.name) < std::tie(b.folder, b.name);
  });
  for (std::uint32_t i = 0; i < children_.size(); i++) {
    Span& of = folders_.try_emplace(children_[i].folder, Span{i, 0}).first->second;
    of.count++;
  }
}

Tree::Span Tree::span(std::uint32_t folder) const {
  const auto found = folders_.find(folder);
  return found == folders_.end() ? Span{0, 0} : found->second;
}

std::uint32_t Tree::find(std::uint32_t folder, std::string_view name) const {
  const TreeChild* first = begin(folder);
  const TreeChild* last = first + count(folder);
  const TreeChild* found = std::lower_bound(
      first, last, name, [](const TreeChild& a, std::string_view b) { return a.name < b; });
  return found != last && found->name == name ? found->file : NO_FILE;
}

}  // namespace warmpath::model_cache
