#include "supervisor/options.h"

#include <climits>
#include <cstdlib>
#include <cstring>

namespace warmpath::supervisor {

namespace {

constexpr char USAGE[] =
    "usage: warmpath_supervisor [--memory-events FILE]"
    " (--mount PATH --store-bytes N [--allow-other] [--no-huge-pages])... -- COMMAND...";

// Resolves the folder that holds the mount point and not the point itself, which may be dead.
std::string resolved(const std::string& path) {
  std::string trimmed = path;
  while (trimmed.size() > 1 && trimmed.back() == '/') trimmed.pop_back();
  const std::size_t slash = trimmed.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : trimmed.substr(0, slash + 1);
  const std::string name = slash == std::string::npos ? trimmed : trimmed.substr(slash + 1);
  if (name.empty() || name == "." || name == "..") return "";
  char real[PATH_MAX];
  if (realpath(folder.c_str(), real) == nullptr) return "";
  const std::string base = real;
  return base == "/" ? base + name : base + '/' + name;
}

std::string read_bytes(const char* text, std::uint64_t* out) {
  char* end = nullptr;
  *out = std::strtoull(text, &end, 10);
  if (*out == 0 || *end != 0) return std::string("--store-bytes needs a number, not ") + text;
  return "";
}

}  // namespace

std::string read_options(int count, char** words, Options* out) {
  int at = 1;
  for (; at < count && std::strcmp(words[at], "--") != 0; at++) {
    const std::string word = words[at];
    const char* value = at + 1 < count ? words[at + 1] : "";
    if (word == "--memory-events") {
      out->memory_events = value;
      at++;
    } else if (word == "--mount") {
      out->mounts.push_back({.path = resolved(value)});
      if (out->mounts.back().path.empty()) return std::string(value) + ": no such mount point";
      at++;
    } else if (out->mounts.empty()) {
      return USAGE;
    } else if (word == "--store-bytes") {
      const std::string problem = read_bytes(value, &out->mounts.back().store_bytes);
      if (!problem.empty()) return problem;
      at++;
    } else if (word == "--allow-other") {
      out->mounts.back().allows_other = true;
    } else if (word == "--no-huge-pages") {
      out->mounts.back().has_huge_pages = false;
    } else {
      return USAGE;
    }
  }
  for (const MountOption& mount : out->mounts) {
    if (mount.store_bytes == 0) return USAGE;
  }
  if (out->mounts.empty() || at + 1 >= count) return USAGE;
  for (int i = at + 1; i < count; i++) out->command.push_back(words[i]);
  out->command.push_back(nullptr);
  return "";
}

}  // namespace warmpath::supervisor
