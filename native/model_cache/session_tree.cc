// The swap of the tree: which file id and which node each entry gets.
#include <sys/stat.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cerrno>

#include "check.h"
#include "model_cache/session.h"

namespace warmpath::model_cache {

namespace {

constexpr std::uint32_t PERMISSIONS = 0555;

FileKey key_of(const std::string& path, const NewEntry& entry) {
  std::string text = path;
  text.push_back('\0');
  text.push_back(entry.is_directory ? 'd' : 'f');
  text.append(entry.generation);
  const XXH128_hash_t hash = XXH3_128bits(text.data(), text.size());
  return {hash.low64, hash.high64};
}

Record record_of(const FileKey& key, const NewEntry& entry) {
  const std::uint32_t type = entry.is_directory ? S_IFDIR : S_IFREG;
  return Record{.key = key,
                .size = entry.size,
                .mtime = entry.mtime,
                .mtime_ns = entry.mtime_ns,
                .mode = type | (entry.mode & PERMISSIONS),
                .backing_id = 0,
                .is_replaced = 0,
                .serving = Serving::NOTHING,
                .unused = {}};
}

// Names that the old version shows otherwise than the new one.
std::vector<TreeChild> changed_names(const Tree& old_tree, const Tree& new_tree) {
  std::vector<TreeChild> changed;
  for (const TreeChild& child : old_tree.all()) {
    if (new_tree.find(child.folder, child.name) != child.file) changed.push_back(child);
  }
  return changed;
}

}  // namespace

int Session::set_tree(const std::vector<NewEntry>& entries, double* file_ids) {
  WARMPATH_CHECK(!entries.empty() && entries[0].is_directory);
  const std::int64_t now = now_ms();
  std::vector<std::string> paths(entries.size());
  std::vector<std::uint32_t> ids(entries.size());
  std::vector<TreeChild> children;
  children.reserve(entries.size());
  std::shared_ptr<const Tree> old_tree;
  {
    const Lock lock(mutex_);
    for (std::size_t i = 0; i < entries.size(); i++) {
      const NewEntry& entry = entries[i];
      WARMPATH_CHECK(i == 0 || entry.parent < i);
      if (i > 0) paths[i] = paths[entry.parent] + '/' + entry.name;
      const FileKey key = key_of(paths[i], entry);
      const auto [known, is_new] = file_of_key_.try_emplace(key, files_.size());
      ids[i] = known->second;
      if (is_new) {
        const auto record = record_of_key_.find(key);
        const std::uint32_t index =
            record != record_of_key_.end() ? record->second : table_.append(record_of(key, entry));
        if (index == RECORDS_MAX) {
          file_of_key_.erase(known);
          return -ENOSPC;
        }
        record_of_key_[key] = index;
        file_of_record_.resize(table_.count(), NO_FILE);
        file_of_record_[index] = ids[i];
        File& fresh = files_.emplace_back();
        fresh.record = index;
        fresh.is_directory = entry.is_directory;
      }
      File& file = files_[ids[i]];
      Record& record = table_.at(file.record);
      if (file.is_directory) record = record_of(key, entry);
      if (!file.is_listed) file.checked_at_ms = now;
      file_ids[i] = ids[i];
      if (i > 0) children.push_back({ids[entry.parent], ids[i], entry.name});
    }
    // The root's record is the first one ever, whatever else a table holds.
    WARMPATH_CHECK(files_[ids[0]].record == 0);
    for (File& file : files_) file.is_listed = false;
    for (const std::uint32_t id : ids) files_[id].is_listed = true;
    old_tree = std::move(tree_);
    tree_ = std::make_shared<const Tree>(std::move(children));
    for (const TreeChild& child : changed_names(*old_tree, *tree_)) {
      const std::uint64_t parent = files_[child.folder].record + fuse::ROOT_NODE;
      notices_.push_back({parent, std::string(child.name)});
    }
    if (!notices_.empty()) notices_changed_.notify_one();
  }
  answer_held(NO_FILE);
  return 0;
}

}  // namespace warmpath::model_cache
