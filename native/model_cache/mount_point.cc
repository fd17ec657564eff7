#include "model_cache/mount_point.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>

namespace warmpath::model_cache {

namespace {

constexpr char TYPE[] = "fuse.warmpath";
// More dead mounts on one path than this were not left by us.
constexpr int DEAD_MOUNTS_MAX = 64;
// A daemon that does not answer statfs for so long is taken for alive, and left alone.
constexpr unsigned STATFS_SECONDS = 3;

// mountinfo writes blanks, tabs, newlines and backslashes as \ooo.
std::string unescaped(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); i++) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      out.push_back(static_cast<char>(std::strtol(text.substr(i + 1, 3).c_str(), nullptr, 8)));
      i += 3;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

// In a child, because statfs of a daemon that hangs would hold us for ever. A request that is under
// way while the last descriptor closes ends with ECONNABORTED, later ones with ENOTCONN.
bool is_dead(const std::string& path) {
  const pid_t child = fork();
  if (child < 0) return false;
  if (child == 0) {
    alarm(STATFS_SECONDS);
    struct statfs facts;
    const bool has_failed = statfs(path.c_str(), &facts) < 0;
    _exit(has_failed && (errno == ENOTCONN || errno == ECONNABORTED) ? 1 : 0);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 1;
}

std::string directory_problem(const std::string& path) {
  struct stat facts;
  if (stat(path.c_str(), &facts) < 0) return path + ": " + std::strerror(errno);
  if (!S_ISDIR(facts.st_mode)) return path + " is not a directory";
  DIR* folder = opendir(path.c_str());
  if (folder == nullptr) return path + ": " + std::strerror(errno);
  int entries = 0;
  while (readdir(folder) != nullptr) entries++;
  closedir(folder);
  return entries > 2 ? path + " is not empty: name an empty directory" : "";
}

}  // namespace

MountEntry mount_at(const std::string& path) {
  std::ifstream table("/proc/self/mountinfo");
  MountEntry found;
  std::string line;
  while (std::getline(table, line)) {
    // id parent major:minor root path options [fields] - type source options
    std::istringstream words(line);
    std::string id, parent, device, root, at, word;
    words >> id >> parent >> device >> root >> at;
    if (unescaped(at) != path) continue;
    while (words >> word && word != "-") {
    }
    found.id = std::strtoul(id.c_str(), nullptr, 10);
    found.device = device;
    words >> found.type;
  }
  return found;
}

std::string clear_mount_point(const std::string& path) {
  for (int i = 0; i < DEAD_MOUNTS_MAX; i++) {
    const MountEntry entry = mount_at(path);
    if (entry.id == 0) return directory_problem(path);
    if (entry.type != TYPE) {
      return path + " is a mount point already (" + entry.type + "): unmount it first";
    }
    if (!is_dead(path)) return path + " is served by another warmpath mount: end that one first";
    if (umount2(path.c_str(), MNT_DETACH) < 0) {
      return path + ": the dead mount cannot be detached: " + std::strerror(errno);
    }
    std::fprintf(stderr, "warmpath_supervisor: detached a dead mount at %s\n", path.c_str());
  }
  return path + " has too many dead mounts";
}

int mount_fuse(const std::string& path, bool allows_other) {
  const int device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
  if (device < 0) return -errno;
  char options[160];
  std::snprintf(options, sizeof options,
                "fd=%d,rootmode=40000,user_id=%u,group_id=%u,default_permissions,"
                "max_read=1048576%s",
                device, getuid(), getgid(), allows_other ? ",allow_other" : "");
  if (mount("warmpath", path.c_str(), TYPE, MS_RDONLY | MS_NOSUID | MS_NODEV, options) < 0) {
    const int error = errno;
    close(device);
    return -error;
  }
  return device;
}

}  // namespace warmpath::model_cache
