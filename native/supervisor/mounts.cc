#include "supervisor/mounts.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <ctime>

#include "model_cache/hand_over.h"
#include "model_cache/mount_point.h"
#include "model_cache/store.h"

namespace warmpath::supervisor {

namespace {

using model_cache::MountEntry;

// A reader that is about to close gets this long before the mount is detached under it.
constexpr int BUSY_TRIES = 40;
constexpr timespec BUSY_PAUSE{0, 50'000'000};

std::string store_problem(int error) {
  std::string text = std::string("the store cannot be made: ") + std::strerror(-error);
  if (error == -EPERM) text += " (CAP_SYS_ADMIN is needed; --mode tmpfs does without)";
  return text;
}

std::string mount_problem(const std::string& path, int error) {
  std::string text = path + " cannot be mounted: " + std::strerror(-error);
  if (error == -ENOENT || error == -ENXIO || error == -ENODEV) {
    text +=
        " (/dev/fuse is missing: load the module fuse, give the container the device, or use"
        " --mode tmpfs)";
  } else if (error == -EPERM || error == -EACCES) {
    text += " (/dev/fuse and CAP_SYS_ADMIN are needed; --mode tmpfs does without)";
  }
  return text;
}

std::string make_one(const MountOption& wanted, Mount* out) {
  out->path = wanted.path;
  std::string problem = model_cache::clear_mount_point(wanted.path);
  if (!problem.empty()) return problem;
  out->store = model_cache::store_make(wanted.store_bytes, wanted.has_huge_pages);
  if (out->store < 0) return store_problem(out->store);
  out->fuse = model_cache::mount_fuse(wanted.path, wanted.allows_other);
  if (out->fuse < 0) return mount_problem(wanted.path, out->fuse);
  const MountEntry entry = model_cache::mount_at(wanted.path);
  out->id = entry.id;
  out->device = entry.device;
  return "";
}

void end_one(const Mount& mount) {
  for (int i = 0; i < BUSY_TRIES; i++) {
    if (model_cache::mount_at(mount.path).id != mount.id) return;
    if (umount2(mount.path.c_str(), 0) == 0 || errno != EBUSY) return;
    nanosleep(&BUSY_PAUSE, nullptr);
  }
  std::fprintf(stderr, "warmpath_supervisor: %s is in use: detached, its readers go on\n",
               mount.path.c_str());
  if (umount2(mount.path.c_str(), MNT_DETACH) == 0) return;
  std::fprintf(stderr, "warmpath_supervisor: %s cannot be detached: %s\n", mount.path.c_str(),
               std::strerror(errno));
}

}  // namespace

std::string make_mounts(const std::vector<MountOption>& wanted, std::vector<Mount>* out) {
  for (const MountOption& one : wanted) {
    Mount mount;
    const std::string problem = make_one(one, &mount);
    if (!problem.empty()) {
      end_mounts(*out);
      return problem;
    }
    out->push_back(mount);
  }
  return "";
}

void end_mounts(const std::vector<Mount>& mounts) {
  for (const Mount& mount : mounts) end_one(mount);
}

bool is_ready(const std::vector<Mount>& mounts) {
  for (const Mount& mount : mounts) {
    const int file = openat(mount.store, model_cache::HAND_OVER_NAME, O_RDONLY | O_CLOEXEC);
    if (file < 0) return false;
    std::uint32_t ready = 0;
    const ssize_t got =
        pread(file, &ready, sizeof ready, offsetof(model_cache::HandOverHeader, is_ready));
    close(file);
    if (got != sizeof ready || ready == 0) return false;
  }
  return true;
}

}  // namespace warmpath::supervisor
