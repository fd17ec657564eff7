// What warmpath_supervisor is told on its command line.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace warmpath::supervisor {

struct MountOption {
  // Absolute and without links.
  std::string path;
  std::uint64_t store_bytes = 0;
  bool allows_other = false;
  bool has_huge_pages = true;
};

struct Options {
  std::vector<MountOption> mounts;
  // Where kills for want of memory are counted, in place of the cgroup's file.
  std::string memory_events;
  // The daemon's command, ended by nullptr.
  std::vector<char*> command;
};

// An empty text, or what is wrong.
std::string read_options(int count, char** words, Options* out);

}  // namespace warmpath::supervisor
