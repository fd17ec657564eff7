// The place where the accelerated path is mounted: what is there, and the mounting itself.
//
// mount(2) on a directory that is a mount point already stacks silently, and the lower mount
// comes back after the upper one's clean end. So the mount table is read first:
//
//   nothing                       free
//   fuse.warmpath, dead           left by a daemon and supervisor that were both killed: detached
//   fuse.warmpath, alive          somebody serves it: refused
//   anything else                 refused
//
// Dead or alive is asked by statfs, which always goes to the daemon; stat of a dead mount's root
// may still be answered from the cache of attributes.
#pragma once

#include <string>

namespace warmpath::model_cache {

struct MountEntry {
  // 0: no mount at this path.
  unsigned long id = 0;
  std::string type;
  // "major:minor".
  std::string device;
};

// The uppermost mount at exactly this path (absolute, without links).
MountEntry mount_at(const std::string& path);

// Detaches dead mounts of ours. An empty text: the path is free, an empty directory; else the
// reason why not, with the remedy.
std::string clear_mount_point(const std::string& path);

// Returns the descriptor of /dev/fuse, or a negative errno.
int mount_fuse(const std::string& path, bool allows_other);

}  // namespace warmpath::model_cache
