#include "model_cache/store.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/mount.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "check.h"

namespace warmpath::model_cache {

namespace {

// glibc 2.36 has wrappers, older ones do not.
long set_option(int context, const char* key, const char* value) {
  return syscall(SYS_fsconfig, context, value == nullptr ? FSCONFIG_SET_FLAG : FSCONFIG_SET_STRING,
                 key, value, 0);
}

int failed(int file) {
  const int error = errno;
  if (file >= 0) close(file);
  return -error;
}

int set_immutable(int file, bool is_wanted) {
  int flags = 0;
  if (ioctl(file, FS_IOC_GETFLAGS, &flags) < 0) return -errno;
  flags = is_wanted ? flags | FS_IMMUTABLE_FL : flags & ~FS_IMMUTABLE_FL;
  return ioctl(file, FS_IOC_SETFLAGS, &flags) < 0 ? -errno : 0;
}

}  // namespace

int store_make(std::uint64_t bytes) {
  WARMPATH_CHECK(bytes > 0);
  const int context = static_cast<int>(syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC));
  if (context < 0) return -errno;
  char size[32];
  std::snprintf(size, sizeof size, "%llu", static_cast<unsigned long long>(bytes));
  if (set_option(context, "size", size) < 0) return failed(context);
  if (set_option(context, "mode", "0700") < 0) return failed(context);
  // Without these it works too, only slower, or with a risk of swapping.
  (void)set_option(context, "huge", "within_size");
  (void)set_option(context, "noswap", nullptr);
  if (syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) < 0) {
    return failed(context);
  }
  const int mount = static_cast<int>(
      syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV));
  if (mount < 0) return failed(context);
  close(context);
  return mount;
}

int store_create(int folder, const char* name, std::uint64_t size) {
  const int file = openat(folder, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (file < 0) return -errno;
  const auto length = static_cast<off_t>(size);
  const bool is_made =
      ftruncate(file, length) == 0 && (size == 0 || fallocate(file, 0, 0, length) == 0);
  if (is_made) return file;
  const int error = failed(file);
  (void)unlinkat(folder, name, 0);
  return error;
}

int store_seal(int folder, const char* name) {
  const int file = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (file < 0) return -errno;
  // Sealed by an earlier life of the daemon: an immutable file takes no chmod, nor needs it.
  int flags = 0;
  if (ioctl(file, FS_IOC_GETFLAGS, &flags) == 0 && (flags & FS_IMMUTABLE_FL) != 0) return file;
  if (fchmod(file, 0444) < 0) return failed(file);
  // Not everywhere permitted; the descriptor is read-only anyway.
  (void)set_immutable(file, true);
  return file;
}

int store_unlink(int folder, const char* name) {
  const int file = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (file < 0) return -errno;
  (void)set_immutable(file, false);
  close(file);
  return unlinkat(folder, name, 0) < 0 ? -errno : 0;
}

int store_is_idle(int file) {
  WARMPATH_CHECK(file >= 0);
  if (fcntl(file, F_SETLEASE, F_WRLCK) < 0) return errno == EAGAIN ? 0 : -errno;
  // At once: an open by somebody else would wait for us.
  return fcntl(file, F_SETLEASE, F_UNLCK) < 0 ? -errno : 1;
}

}  // namespace warmpath::model_cache
