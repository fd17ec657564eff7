// Whether this machine lets us serve FUSE, and with passthrough: tried, not guessed.
//
// The probe makes a FUSE mount that is attached nowhere, answers its INIT and registers a memory
// file as a backing; closing the descriptors takes all of it away. So it needs no mount point and
// leaves nothing, and it finds what a look at versions and capabilities would miss: a user
// namespace (the mount works, BACKING_OPEN is EPERM), a kernel without CONFIG_FUSE_PASSTHROUGH.
#pragma once

namespace warmpath::model_cache {

struct FuseProbe {
  // 0, or the negative errno of opening /dev/fuse or of mounting.
  int mount_error;
  // 0, -EOPNOTSUPP when the kernel does not offer it, or what BACKING_OPEN said.
  int passthrough_error;
};

FuseProbe probe_fuse();

}  // namespace warmpath::model_cache
