// The mounts that a supervisor holds: made at start, taken away at the end, whole in between.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "supervisor/options.h"

namespace warmpath::supervisor {

struct Mount {
  std::string path;
  // Of mountinfo; what lies at the path by another id is not ours.
  unsigned long id = 0;
  std::string device;
  int fuse = -1;
  int store = -1;
  // What the daemon may hold, lowered after it was killed for want of memory.
  std::uint64_t store_bytes_max = UINT64_MAX;
};

// Mounts all or none. An empty text, or what went wrong, with the remedy.
std::string make_mounts(const std::vector<MountOption>& wanted, std::vector<Mount>* out);

// Unmounts; one that is busy is given some time and then detached: its readers go on.
void end_mounts(const std::vector<Mount>& mounts);

// Whether a daemon has ever said that all is ready.
bool is_ready(const std::vector<Mount>& mounts);

}  // namespace warmpath::supervisor
