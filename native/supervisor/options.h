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
};

struct Options {
  std::vector<MountOption> mounts;
  // The daemon's command, ended by nullptr.
  std::vector<char*> command;
};

// An empty text, or what is wrong.
std::string read_options(int count, char** words, Options* out);

}  // namespace warmpath::supervisor
