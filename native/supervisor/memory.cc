#include "supervisor/memory.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <string_view>

#include "model_cache/fuse_wire.h"
#include "model_cache/hand_over.h"
#include "model_cache/store.h"

namespace warmpath::supervisor {

namespace {

constexpr char CGROUPS[] = "/sys/fs/cgroup";
// What is written beside the files of a store; the daemon tidies up those without a file.
constexpr std::string_view NOTE_SUFFIX = ".meta";
constexpr mode_t WRITABLE = 0222;

// The number behind `key` on a line of its own; false when the file has none.
bool read_count(const std::string& file, std::uint64_t* out) {
  std::ifstream lines(file);
  std::string key;
  std::uint64_t count = 0;
  while (lines >> key >> count) {
    if (key != "oom_kill") continue;
    *out = count;
    return true;
  }
  return false;
}

// Where the kernel counts for this process, most exact first: a container may see its own cgroup
// under the path that /proc names, or as the root.
std::vector<std::string> counters() {
  std::string root = CGROUPS;
  std::string group;
  std::string name = "/memory.events";
  std::ifstream lines("/proc/self/cgroup");
  for (std::string line; std::getline(lines, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = ',' + line.substr(first + 1, second - first - 1) + ',';
    if (controllers == ",,") {
      if (group.empty()) group = line.substr(second + 1);
    } else if (controllers.find(",memory,") != std::string::npos) {
      root = std::string(CGROUPS) + "/memory";
      group = line.substr(second + 1);
      name = "/memory.oom_control";
      break;
    }
  }
  return {root + group + name, root + name, "/proc/vmstat"};
}

std::uint64_t bytes_used(int store) {
  struct statfs facts;
  if (fstatfs(store, &facts) < 0) return 0;
  return (facts.f_blocks - facts.f_bfree) * static_cast<std::uint64_t>(facts.f_bsize);
}

std::vector<std::string> names_in(int store) {
  std::vector<std::string> names;
  const int folder = openat(store, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* listing = folder < 0 ? nullptr : fdopendir(folder);
  if (listing == nullptr) return names;
  while (const dirent* entry = readdir(listing)) {
    const std::string_view name = entry->d_name;
    if (name.starts_with('.') || name.ends_with(NOTE_SUFFIX)) continue;
    names.emplace_back(name);
  }
  (void)closedir(listing);
  return names;
}

// Removes the files that were not sealed yet, or all.
int remove_files(int store, bool is_all) {
  int removed = 0;
  for (const std::string& name : names_in(store)) {
    struct stat facts;
    if (fstatat(store, name.c_str(), &facts, AT_SYMLINK_NOFOLLOW) < 0) continue;
    const bool is_loading = S_ISREG(facts.st_mode) && (facts.st_mode & WRITABLE) != 0;
    if (!is_all && !is_loading) continue;
    if (model_cache::store_unlink(store, name.c_str()) == 0) removed++;
  }
  return removed;
}

// The kernel holds what is registered with it: ends that, and lets no open find the old nodes.
void forget_backings(const Mount& mount) {
  model_cache::HandOver table;
  if (table.open(mount.store) < 0) return;
  for (std::uint32_t i = 0; i < table.count(); i++) {
    model_cache::Record& record = table.at(i);
    if (record.backing_id == 0 || record.serving != model_cache::Serving::STORE) continue;
    const int backing_id = record.backing_id;
    record.is_replaced = 1;
    record.backing_id = 0;
    (void)ioctl(mount.fuse, model_cache::fuse::BACKING_CLOSE, &backing_id);
  }
}

}  // namespace

std::uint64_t oom_kills(const std::string& file) {
  std::uint64_t count = 0;
  if (!file.empty()) return read_count(file, &count) ? count : 0;
  for (const std::string& counter : counters()) {
    if (read_count(counter, &count)) return count;
  }
  return 0;
}

void free_memory(std::vector<Mount>& mounts, bool is_again) {
  for (Mount& mount : mounts) {
    const std::uint64_t used = bytes_used(mount.store);
    const std::uint64_t bound = std::min(mount.store_bytes_max, used);
    mount.store_bytes_max = bound / 4 * 3;
    const int removed = remove_files(mount.store, is_again);
    if (is_again) forget_backings(mount);
    std::fprintf(stderr,
                 "warmpath_supervisor: %s: the daemon was killed for want of memory: %d %s removed,"
                 " capacity lowered to %" PRIu64 " bytes (the store held %" PRIu64 ")\n",
                 mount.path.c_str(), removed, is_again ? "files" : "half loaded files",
                 mount.store_bytes_max, used);
  }
}

}  // namespace warmpath::supervisor
