// The least that a FUSE passthrough mirror can be: one folder, one file, one thread, no state.
//
//   passthrough_mirror BACKING MOUNTPOINT       serves MOUNTPOINT/file until SIGTERM
//
// It is the baseline of open and close: every open costs one request and every close one, and
// this answers them with nothing in between. Prints "ready" when it serves.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include "model_cache/fuse_wire.h"
#include "model_cache/mount_point.h"

namespace {

namespace fuse = warmpath::model_cache::fuse;

constexpr std::uint64_t FILE_NODE = 2;
constexpr std::uint64_t VALID_SECONDS = 3600;

struct Mirror {
  int device;
  std::uint64_t size;
  int file;
  int backing_id;
};

void reply(const Mirror& mirror, std::uint64_t unique, int error, const void* body,
           std::size_t length) {
  fuse::OutHeader head{static_cast<std::uint32_t>(sizeof head + length), error, unique};
  const iovec parts[] = {{&head, sizeof head}, {const_cast<void*>(body), length}};
  (void)!writev(mirror.device, parts, 2);
}

fuse::Attributes attributes(const Mirror& mirror, std::uint64_t node) {
  fuse::Attributes out{};
  out.inode = node;
  out.size = node == FILE_NODE ? mirror.size : 4096;
  out.mode = node == FILE_NODE ? S_IFREG | 0444 : S_IFDIR | 0555;
  out.links = 1;
  return out;
}

void accept_init(Mirror& mirror, const fuse::InHeader& head) {
  fuse::InitOut out{};
  out.major = fuse::KERNEL_MAJOR;
  out.minor = fuse::KERNEL_MINOR;
  const std::uint64_t flags = fuse::INIT_EXT | fuse::PASSTHROUGH | fuse::PARALLEL_DIROPS;
  out.flags = static_cast<std::uint32_t>(flags);
  out.flags2 = static_cast<std::uint32_t>(flags >> 32);
  out.write_bytes = 4096;
  out.stack_depth = 1;
  reply(mirror, head.unique, 0, &out, sizeof out);
  const fuse::BackingMap map{mirror.file, 0, 0};
  mirror.backing_id = ioctl(mirror.device, fuse::BACKING_OPEN, &map);
  std::printf(mirror.backing_id > 0 ? "ready\n" : "refused\n");
  std::fflush(stdout);
}

void answer(Mirror& mirror, const fuse::InHeader& head) {
  switch (head.opcode) {
    case fuse::INIT:
      return accept_init(mirror, head);
    case fuse::LOOKUP: {
      fuse::EntryOut out{};
      out.node = FILE_NODE;
      out.entry_valid = out.attributes_valid = VALID_SECONDS;
      out.attributes = attributes(mirror, FILE_NODE);
      return reply(mirror, head.unique, 0, &out, sizeof out);
    }
    case fuse::GETATTR: {
      fuse::AttributesOut out{};
      out.valid = VALID_SECONDS;
      out.attributes = attributes(mirror, head.node);
      return reply(mirror, head.unique, 0, &out, sizeof out);
    }
    case fuse::OPEN: {
      const fuse::OpenOut out{1, fuse::FOPEN_PASSTHROUGH, mirror.backing_id};
      return reply(mirror, head.unique, 0, &out, sizeof out);
    }
    case fuse::RELEASE:
      return reply(mirror, head.unique, 0, nullptr, 0);
    case fuse::FORGET:
    case fuse::BATCH_FORGET:
    case fuse::INTERRUPT:
      return;
    default:
      return reply(mirror, head.unique, -ENOSYS, nullptr, 0);
  }
}

const char* mount_point = nullptr;

void unmount(int signal) {
  (void)signal;
  (void)umount2(mount_point, MNT_DETACH);
  _exit(0);
}

}  // namespace

int main(int count, char** words) {
  if (count != 3) {
    std::fprintf(stderr, "usage: passthrough_mirror BACKING MOUNTPOINT\n");
    return 2;
  }
  mount_point = words[2];
  Mirror mirror{-1, 0, open(words[1], O_RDONLY | O_CLOEXEC), 0};
  struct stat facts;
  if (mirror.file < 0 || fstat(mirror.file, &facts) < 0) {
    std::perror(words[1]);
    return 1;
  }
  mirror.size = static_cast<std::uint64_t>(facts.st_size);
  mirror.device = warmpath::model_cache::mount_fuse(mount_point, false);
  if (mirror.device < 0) {
    std::fprintf(stderr, "%s: %s\n", mount_point, std::strerror(-mirror.device));
    return 1;
  }
  (void)signal(SIGTERM, unmount);
  alignas(8) std::uint8_t bytes[16384];
  while (read(mirror.device, bytes, sizeof bytes) > 0) {
    fuse::InHeader head;
    std::memcpy(&head, bytes, sizeof head);
    answer(mirror, head);
  }
  return 0;
}
