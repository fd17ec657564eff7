// Requests about names and attributes: answered from the current tree and the table.
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "check.h"
#include "model_cache/session.h"

namespace warmpath::model_cache {

namespace {

// How long the kernel may answer by itself, unless sources are to be looked at more often. Short,
// because what changes there has to be seen; a look-up a second and file costs nothing.
constexpr std::int64_t VALID_MS = 1000;
constexpr std::uint32_t BLOCK_BYTES = 4096;
// A reply to READDIR; the kernel asks for some pages, up to a megabyte.
constexpr std::size_t LISTING_BYTES_MAX = 1 << 20;

std::size_t padded(std::size_t bytes) {
  return (bytes + 7) & ~std::size_t{7};
}

}  // namespace

std::uint32_t Session::file_of_node(std::uint64_t node) const {
  const std::uint64_t record = node - fuse::ROOT_NODE;
  return record < file_of_record_.size() ? file_of_record_[record] : NO_FILE;
}

bool Session::is_current(std::uint32_t id, std::uint64_t node) const {
  if (id == NO_FILE) return false;
  const File& file = files_[id];
  return file.is_listed && file.record + fuse::ROOT_NODE == node;
}

bool Session::has_same_bytes(std::uint32_t id) const {
  return id != NO_FILE && files_[id].is_listed;
}

void Session::fill_attributes(fuse::Attributes* out, std::uint32_t record_index) {
  const Record& record = table_.at(record_index);
  const auto mtime = static_cast<std::uint64_t>(record.mtime);
  *out = fuse::Attributes{};
  out->inode = record_index + fuse::ROOT_NODE;
  out->size = record.size;
  out->blocks = (record.size + 511) / 512;
  out->atime = out->mtime = out->ctime = mtime;
  out->atime_ns = out->mtime_ns = out->ctime_ns = record.mtime_ns;
  out->mode = record.mode;
  out->links = 1;
  out->uid = getuid();
  out->gid = getgid();
  out->block_bytes = BLOCK_BYTES;
}

void Session::fill_entry(fuse::EntryOut* out, std::uint32_t id) {
  *out = fuse::EntryOut{};
  out->node = files_[id].record + fuse::ROOT_NODE;
  const std::int64_t valid_ms = std::min(VALID_MS, options_.revalidate_ms);
  out->entry_valid = out->attributes_valid = static_cast<std::uint64_t>(valid_ms / 1000);
  out->entry_valid_ns = out->attributes_valid_ns =
      static_cast<std::uint32_t>(valid_ms % 1000 * 1'000'000);
  fill_attributes(&out->attributes, files_[id].record);
}

void Session::lookup(const Request& request) {
  WARMPATH_CHECK(request.body_bytes > 0 && request.body[request.body_bytes - 1] == 0);
  const std::string_view name(reinterpret_cast<const char*>(request.body));
  fuse::EntryOut out;
  {
    Lock lock(mutex_);
    counts_.requests++;
    const std::uint32_t folder = file_of_node(request.head->node);
    const std::uint32_t found = folder == NO_FILE ? NO_FILE : tree_->find(folder, name);
    // A name that is not there may have come since: then the folder has to be looked at.
    const std::uint32_t watched = found == NO_FILE ? folder : found;
    if (watched != NO_FILE && must_check(watched)) return hold(lock, request, watched, true);
    if (found != NO_FILE) fill_entry(&out, found);
    lock.unlock();
    if (found == NO_FILE) {
      (void)reply(request.head->unique, -ENOENT);
      return;
    }
  }
  (void)reply(request.head->unique, 0, &out, sizeof out);
}

void Session::get_attributes(const Request& request) {
  fuse::AttributesOut out{};
  const std::uint64_t record = request.head->node - fuse::ROOT_NODE;
  {
    const Lock lock(mutex_);
    counts_.requests++;
    if (record < table_.count())
      fill_attributes(&out.attributes, static_cast<std::uint32_t>(record));
  }
  if (out.attributes.mode == 0) {
    (void)reply(request.head->unique, -ESTALE);
    return;
  }
  const std::int64_t valid_ms = std::min(VALID_MS, options_.revalidate_ms);
  out.valid = static_cast<std::uint64_t>(valid_ms / 1000);
  out.valid_ns = static_cast<std::uint32_t>(valid_ms % 1000 * 1'000'000);
  (void)reply(request.head->unique, 0, &out, sizeof out);
}

void Session::open_folder(const Request& request) {
  Lock lock(mutex_);
  counts_.requests++;
  const std::uint32_t id = file_of_node(request.head->node);
  if (!is_current(id, request.head->node)) {
    lock.unlock();
    (void)reply(request.head->unique, -ESTALE);
    return;
  }
  if (must_check(id)) return hold(lock, request, id, true);
  fuse::OpenOut out{};
  out.handle = add_handle({.file = id, .record = 0, .tree = tree_, .backing = nullptr});
  lock.unlock();
  (void)reply(request.head->unique, 0, &out, sizeof out);
}

std::size_t Session::put_entry(std::vector<std::uint8_t>& out, std::size_t bytes_max,
                               std::uint32_t id, std::string_view name, std::uint64_t next,
                               bool has_attributes) {
  const std::size_t head = (has_attributes ? sizeof(fuse::EntryOut) : 0);
  const std::size_t length = head + padded(sizeof(fuse::DirectoryEntry) + name.size());
  if (out.size() + length > bytes_max) return 0;
  const std::size_t at = out.size();
  out.resize(at + length, 0);
  if (has_attributes) {
    fuse::EntryOut entry{};
    // The kernel counts a look-up for each entry with a node; dots have none.
    if (name != "." && name != "..") fill_entry(&entry, id);
    std::memcpy(out.data() + at, &entry, sizeof entry);
  }
  const fuse::DirectoryEntry dirent{
      .inode = files_[id].record + fuse::ROOT_NODE,
      .offset = next,
      .name_bytes = static_cast<std::uint32_t>(name.size()),
      .type = static_cast<std::uint32_t>(files_[id].is_directory ? DT_DIR : DT_REG)};
  std::memcpy(out.data() + at + head, &dirent, sizeof dirent);
  std::memcpy(out.data() + at + head + sizeof dirent, name.data(), name.size());
  return length;
}

void Session::read_folder(const Request& request, bool has_attributes) {
  WARMPATH_CHECK(request.body_bytes >= sizeof(fuse::ReadIn));
  fuse::ReadIn in;
  std::memcpy(&in, request.body, sizeof in);
  const std::size_t bytes_max = std::min<std::size_t>(in.size, LISTING_BYTES_MAX);
  std::vector<std::uint8_t> out;
  out.reserve(bytes_max);
  {
    const Lock lock(mutex_);
    counts_.requests++;
    const std::uint32_t id = file_of_node(request.head->node);
    const auto handle = handles_.find(in.handle);
    // A handle of a daemon that is gone lists the version of today from the same place.
    const std::shared_ptr<const Tree> tree =
        handle != handles_.end() && handle->second.tree != nullptr ? handle->second.tree : tree_;
    const std::uint64_t count = id == NO_FILE ? 0 : tree->count(id) + 2u;
    for (std::uint64_t at = in.offset; at < count; at++) {
      const TreeChild* child = at < 2 ? nullptr : tree->begin(id) + (at - 2);
      const std::string_view name = child != nullptr ? child->name : at == 0 ? "." : "..";
      const std::uint32_t file = child != nullptr ? child->file : id;
      if (put_entry(out, bytes_max, file, name, at + 1, has_attributes) == 0) break;
    }
  }
  (void)reply(request.head->unique, 0, out.data(), out.size());
}

void Session::statfs(const Request& request) {
  fuse::StatfsOut out{};
  out.block_bytes = out.fragment_bytes = BLOCK_BYTES;
  out.name_bytes = NAME_MAX;
  {
    const Lock lock(mutex_);
    counts_.requests++;
    out.blocks = capacity_bytes_ / BLOCK_BYTES;
    out.free = (capacity_bytes_ - std::min(used_bytes_, capacity_bytes_)) / BLOCK_BYTES;
    out.available = out.free;
    out.files = files_.size();
  }
  (void)reply(request.head->unique, 0, &out, sizeof out);
}

}  // namespace warmpath::model_cache
