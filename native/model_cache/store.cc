#include "model_cache/store.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/mount.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

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

// PAGEMAP_SCAN of linux/fs.h, which older headers lack: what the page tables say of a range.
struct PageScan {
  std::uint64_t size;
  std::uint64_t flags;
  std::uint64_t start;
  std::uint64_t end;
  std::uint64_t walk_end;
  std::uint64_t regions;
  std::uint64_t regions_count;
  std::uint64_t pages_max;
  std::uint64_t inverted;
  std::uint64_t all_of;
  std::uint64_t any_of;
  std::uint64_t returned;
};
struct PageRegion {
  std::uint64_t start;
  std::uint64_t end;
  std::uint64_t categories;
};
constexpr unsigned long SCAN_PAGES = _IOWR('f', 16, PageScan);
constexpr std::uint64_t IS_HUGE = 1 << 6;
constexpr std::size_t REGIONS_A_CALL = 64;

// Bytes of a mapped range under huge entries. Neighbours come as one region.
std::int64_t huge_bytes_of(std::uint64_t start, std::uint64_t end) {
  const int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  if (pagemap < 0) return -errno;
  PageRegion regions[REGIONS_A_CALL];
  PageScan scan{};
  scan.size = sizeof scan;
  scan.end = end;
  scan.regions = reinterpret_cast<std::uint64_t>(regions);
  scan.regions_count = REGIONS_A_CALL;
  scan.all_of = scan.returned = IS_HUGE;
  std::int64_t found = 0;
  for (std::uint64_t at = start; at < end && found >= 0; at = scan.walk_end) {
    scan.start = at;
    const int count = ioctl(pagemap, SCAN_PAGES, &scan);
    if (count < 0) found = -errno;
    for (int i = 0; i < count; i++) {
      found += static_cast<std::int64_t>(regions[i].end - regions[i].start);
    }
  }
  close(pagemap);
  return found;
}

}  // namespace

int store_make(std::uint64_t bytes, bool has_huge_pages) {
  WARMPATH_CHECK(bytes > 0);
  const int context = static_cast<int>(syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC));
  if (context < 0) return -errno;
  char size[32];
  std::snprintf(size, sizeof size, "%llu", static_cast<unsigned long long>(bytes));
  if (set_option(context, "size", size) < 0) return failed(context);
  if (set_option(context, "mode", "0700") < 0) return failed(context);
  // Without these it works too, only slower, or with a risk of swapping.
  (void)set_option(context, "huge", has_huge_pages ? "within_size" : "never");
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

int store_stamp(const char* path, std::int64_t seconds, std::int64_t nanoseconds) {
  WARMPATH_CHECK(nanoseconds >= 0 && nanoseconds < 1'000'000'000);
  const timespec times[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT},
                             {.tv_sec = seconds, .tv_nsec = nanoseconds}};
  return utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

int store_is_idle(int file) {
  WARMPATH_CHECK(file >= 0);
  if (fcntl(file, F_SETLEASE, F_WRLCK) < 0) return errno == EAGAIN ? 0 : -errno;
  // At once: an open by somebody else would wait for us.
  return fcntl(file, F_SETLEASE, F_UNLCK) < 0 ? -errno : 1;
}

std::int64_t store_huge_bytes(int file) {
  WARMPATH_CHECK(file >= 0);
  struct stat facts;
  if (fstat(file, &facts) < 0) return -errno;
  const std::uint64_t length =
      static_cast<std::uint64_t>(facts.st_size) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
  if (length == 0) return 0;
  // A huge entry needs an address of its own alignment, so more is reserved than is mapped.
  const std::uint64_t reserved = length + HUGE_PAGE_BYTES;
  void* range =
      mmap(nullptr, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (range == MAP_FAILED) return -errno;
  const auto address = reinterpret_cast<std::uint64_t>(range);
  const std::uint64_t aligned = (address + HUGE_PAGE_BYTES - 1) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
  void* mapped =
      mmap(reinterpret_cast<void*>(aligned), length, PROT_READ, MAP_SHARED | MAP_FIXED, file, 0);
  std::int64_t found = mapped == MAP_FAILED ? -errno : 0;
  if (found == 0) {
    const auto* bytes = static_cast<const volatile std::uint8_t*>(mapped);
    for (std::uint64_t at = 0; at < length; at += HUGE_PAGE_BYTES) (void)bytes[at];
    found = huge_bytes_of(aligned, aligned + length);
  }
  (void)munmap(range, reserved);
  return found;
}

}  // namespace warmpath::model_cache
