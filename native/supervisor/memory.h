// What the supervisor does when the kernel has killed the daemon for want of memory.
//
// Pages of the store belong to the mount, not to the daemon: its death frees none of them, and a
// daemon that is started again into the same shortage is killed again. So before that
//
//   killed once             files that were being loaded go, and the capacity is lowered to three
//                           quarters of what the store held
//   again within a minute   everything goes; whoever has a file open or mapped keeps its bytes,
//                           new opens load it anew, as far as the lowered capacity allows
//
//   cgroup limit 100   [ others 40 ][ daemon 10 ][ resident 30 ][ half loaded 20 ]  others want 1
//   after the kill     [ others 41 ][ daemon 10 ][ resident 30 ]      capacity 37, and 19 are free
//
// Whether a SIGKILL was the kernel's says the counter `oom_kill` of the cgroup: memory.events in
// version 2, memory.oom_control in version 1, /proc/vmstat outside of cgroups.
//
// What it does badly: a kill of a neighbour in the same cgroup, with a SIGKILL from somewhere else
// after it, is taken for one. And the capacity stays lowered for the life of the mount.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "supervisor/mounts.h"

namespace warmpath::supervisor {

// Processes of this cgroup that the kernel killed for want of memory, ever. `file` names a file to
// read in place of the kernel's; empty: the kernel's.
std::uint64_t oom_kills(const std::string& file);

// Gives memory back and lowers what the stores may hold; says so on stderr.
void free_memory(std::vector<Mount>& mounts, bool is_again);

}  // namespace warmpath::supervisor
