#include "model_cache/probe.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include "model_cache/fuse_wire.h"

namespace warmpath::model_cache {

namespace {

// INIT is queued by the act of mounting; a kernel that takes longer is broken.
constexpr int INIT_WAIT_MS = 2000;

int set_text(int context, const char* key, const char* value) {
  return static_cast<int>(syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, key, value, 0));
}

int create(int context, int device) {
  char number[16];
  std::snprintf(number, sizeof number, "%d", device);
  if (set_text(context, "fd", number) < 0 || set_text(context, "rootmode", "40000") < 0) {
    return -errno;
  }
  if (set_text(context, "user_id", "0") < 0 || set_text(context, "group_id", "0") < 0) {
    return -errno;
  }
  const long made = syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0);
  return made < 0 ? -errno : 0;
}

// Reads INIT and accepts passthrough when it is offered.
int negotiate(int device) {
  pollfd ready{.fd = device, .events = POLLIN, .revents = 0};
  if (poll(&ready, 1, INIT_WAIT_MS) != 1) return -ETIMEDOUT;
  alignas(8) std::uint8_t bytes[16384];
  if (read(device, bytes, sizeof bytes) < static_cast<ssize_t>(sizeof(fuse::InHeader) + 16)) {
    return -EPROTO;
  }
  fuse::InHeader head;
  fuse::InitIn in{};
  std::memcpy(&head, bytes, sizeof head);
  std::memcpy(&in, bytes + sizeof head, std::min(sizeof in, head.length - sizeof head));
  const std::uint64_t offered = in.flags | std::uint64_t{in.flags2} << 32;
  fuse::InitOut out{};
  out.major = fuse::KERNEL_MAJOR;
  out.minor = fuse::KERNEL_MINOR;
  const std::uint64_t flags = offered & (fuse::INIT_EXT | fuse::PASSTHROUGH);
  out.flags = static_cast<std::uint32_t>(flags);
  out.flags2 = static_cast<std::uint32_t>(flags >> 32);
  out.write_bytes = 4096;
  out.stack_depth = 1;
  const fuse::OutHeader reply{sizeof reply + sizeof out, 0, head.unique};
  const iovec parts[] = {{const_cast<fuse::OutHeader*>(&reply), sizeof reply}, {&out, sizeof out}};
  if (writev(device, parts, 2) < 0) return -errno;
  return (offered & fuse::PASSTHROUGH) != 0 ? 0 : -EOPNOTSUPP;
}

int try_backing(int device) {
  if (const int error = negotiate(device); error < 0) return error;
  const int file = memfd_create("warmpath probe", MFD_CLOEXEC);
  if (file < 0) return -errno;
  const fuse::BackingMap map{file, 0, 0};
  const int backing_id = ioctl(device, fuse::BACKING_OPEN, &map);
  const int error = backing_id < 0 ? -errno : 0;
  if (backing_id > 0) (void)ioctl(device, fuse::BACKING_CLOSE, &backing_id);
  close(file);
  return error;
}

}  // namespace

FuseProbe probe_fuse() {
  const int device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
  if (device < 0) return {-errno, 0};
  const int context = static_cast<int>(syscall(SYS_fsopen, "fuse", FSOPEN_CLOEXEC));
  FuseProbe found{context < 0 ? -errno : create(context, device), 0};
  if (found.mount_error == 0) found.passthrough_error = try_backing(device);
  close(device);
  if (context >= 0) close(context);
  return found;
}

}  // namespace warmpath::model_cache
