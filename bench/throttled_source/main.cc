// A network file system of a known speed, for benches: shows the files of one folder, read-only,
// and gives away no more than so many bytes a second, to all readers together.
//
//   throttled_source FOLDER MOUNTPOINT BYTES_PER_SECOND        serves until SIGTERM
//
//   read --> bytes counted --> bucket: when are they due? --> sleep until then --> reply
//
//   The bucket holds BURST_BYTES at most: due = max(due, now - burst) + bytes / rate. A reader that
//   never pauses gets the rate exactly, because a reply that left late makes the next one early.
//
// Every read reaches it: files are opened with direct I/O, so the kernel keeps no page and nobody
// reads for free what another has read. That makes it an independent count of what was taken from
// the source, whoever reads: a plain reader, copies by native threads of several daemons, rclone.
//
// One thread answers everything in turn; it copies each byte once (from the mapped file to the
// reader), some 5 GB/s at most, which bounds the rates that it can imitate. Folders in the folder
// are not shown, and what is added later is not seen.
//
// Prints "ready" when it serves. A line on stdin is answered by {"bytes":N}, all that was read.
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "model_cache/fuse_wire.h"
#include "model_cache/mount_point.h"
#include "wire/clock.h"

namespace {

namespace fuse = warmpath::model_cache::fuse;

// Bytes that may be taken at once after a pause: one chunk.
constexpr std::uint64_t BURST_BYTES = 4 << 20;
// Pages of one read; more brings nothing.
constexpr std::uint16_t READ_PAGES = 256;
constexpr std::uint64_t VALID_SECONDS = 3600;
// Nodes are the root, then files in the order of names.
constexpr std::uint64_t FIRST_NODE = fuse::ROOT_NODE + 1;
constexpr std::uint64_t NANOSECONDS = 1'000'000'000;

struct File {
  std::string name;
  struct stat facts;
  const std::uint8_t* bytes;
};

struct Source {
  int device = -1;
  struct stat folder;
  std::vector<File> files;
  std::uint64_t rate = 0;
  std::uint64_t due_ns = 0;
  std::uint64_t bytes = 0;
};

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

const std::uint8_t* mapped(int folder, const char* name, std::size_t size) {
  static const std::uint8_t nothing = 0;
  if (size == 0) return &nothing;
  const int file = openat(folder, name, O_RDONLY | O_CLOEXEC);
  void* bytes = file < 0 ? MAP_FAILED : mmap(nullptr, size, PROT_READ, MAP_SHARED, file, 0);
  if (bytes == MAP_FAILED) fail(name);
  close(file);
  return static_cast<const std::uint8_t*>(bytes);
}

void read_folder(Source& source, const char* path) {
  DIR* folder = opendir(path);
  if (folder == nullptr || fstat(dirfd(folder), &source.folder) < 0) fail(path);
  while (const dirent* entry = readdir(folder)) {
    struct stat facts;
    if (fstatat(dirfd(folder), entry->d_name, &facts, 0) < 0) fail(entry->d_name);
    if (!S_ISREG(facts.st_mode)) continue;
    const auto size = static_cast<std::size_t>(facts.st_size);
    source.files.push_back({entry->d_name, facts, mapped(dirfd(folder), entry->d_name, size)});
  }
  closedir(folder);
  std::sort(source.files.begin(), source.files.end(),
            [](const File& a, const File& b) { return a.name < b.name; });
}

// Waits until so many bytes may leave.
void take(Source& source, std::uint64_t bytes) {
  const std::uint64_t now = wire::now_ns();
  const std::uint64_t burst_ns = BURST_BYTES * NANOSECONDS / source.rate;
  source.due_ns = std::max(source.due_ns, now - std::min(now, burst_ns));
  source.due_ns += bytes * NANOSECONDS / source.rate;
  source.bytes += bytes;
  if (source.due_ns <= now) return;
  const timespec until{static_cast<time_t>(source.due_ns / NANOSECONDS),
                       static_cast<long>(source.due_ns % NANOSECONDS)};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr) == EINTR) {
  }
}

void reply(const Source& source, std::uint64_t unique, int error, const void* body,
           std::size_t length) {
  fuse::OutHeader head{static_cast<std::uint32_t>(sizeof head + length), error, unique};
  const iovec parts[] = {{&head, sizeof head}, {const_cast<void*>(body), length}};
  (void)!writev(source.device, parts, 2);
}

fuse::Attributes attributes(const struct stat& facts, std::uint64_t node) {
  fuse::Attributes out{};
  out.inode = node;
  out.size = static_cast<std::uint64_t>(facts.st_size);
  out.blocks = static_cast<std::uint64_t>(facts.st_blocks);
  out.mtime = static_cast<std::uint64_t>(facts.st_mtim.tv_sec);
  out.mtime_ns = static_cast<std::uint32_t>(facts.st_mtim.tv_nsec);
  out.ctime = static_cast<std::uint64_t>(facts.st_ctim.tv_sec);
  out.ctime_ns = static_cast<std::uint32_t>(facts.st_ctim.tv_nsec);
  out.mode = facts.st_mode;
  out.links = 1;
  return out;
}

const File* file_of(const Source& source, std::uint64_t node) {
  if (node < FIRST_NODE || node - FIRST_NODE >= source.files.size()) return nullptr;
  return &source.files[node - FIRST_NODE];
}

void answer_init(const Source& source, const fuse::InHeader& head) {
  fuse::InitOut out{};
  out.major = fuse::KERNEL_MAJOR;
  out.minor = fuse::KERNEL_MINOR;
  const std::uint64_t flags =
      fuse::ASYNC_READ | fuse::PARALLEL_DIROPS | fuse::MAX_PAGES | fuse::INIT_EXT;
  out.flags = static_cast<std::uint32_t>(flags);
  out.write_bytes = 4096;
  out.pages = READ_PAGES;
  reply(source, head.unique, 0, &out, sizeof out);
  std::printf("ready\n");
  std::fflush(stdout);
}

void answer_lookup(const Source& source, const fuse::InHeader& head, const char* name) {
  for (std::size_t at = 0; at < source.files.size(); at++) {
    if (source.files[at].name != name) continue;
    fuse::EntryOut out{};
    out.node = FIRST_NODE + at;
    out.entry_valid = out.attributes_valid = VALID_SECONDS;
    out.attributes = attributes(source.files[at].facts, out.node);
    return reply(source, head.unique, 0, &out, sizeof out);
  }
  reply(source, head.unique, -ENOENT, nullptr, 0);
}

// Offset n: the entries from the n-th on.
void answer_listing(const Source& source, const fuse::InHeader& head, const fuse::ReadIn& in) {
  std::string out;
  for (std::uint64_t at = in.offset; at < source.files.size(); at++) {
    const std::string& name = source.files[at].name;
    const fuse::DirectoryEntry entry{FIRST_NODE + at, at + 1,
                                     static_cast<std::uint32_t>(name.size()), DT_REG};
    const std::size_t length = (sizeof entry + name.size() + 7) / 8 * 8;
    if (out.size() + length > in.size) break;
    const std::size_t from = out.size();
    out.resize(from + length);
    std::memcpy(out.data() + from, &entry, sizeof entry);
    std::memcpy(out.data() + from + sizeof entry, name.data(), name.size());
  }
  reply(source, head.unique, 0, out.data(), out.size());
}

void answer_read(Source& source, const fuse::InHeader& head, const fuse::ReadIn& in) {
  const File* file = file_of(source, head.node);
  if (file == nullptr) return reply(source, head.unique, -EISDIR, nullptr, 0);
  const auto size = static_cast<std::uint64_t>(file->facts.st_size);
  const std::uint64_t length =
      in.offset < size ? std::min<std::uint64_t>(in.size, size - in.offset) : 0;
  if (length > 0) take(source, length);
  reply(source, head.unique, 0, file->bytes + (length > 0 ? in.offset : 0), length);
}

void answer(Source& source, const fuse::InHeader& head, const std::uint8_t* body) {
  fuse::ReadIn in{};
  switch (head.opcode) {
    case fuse::INIT:
      return answer_init(source, head);
    case fuse::LOOKUP:
      return answer_lookup(source, head, reinterpret_cast<const char*>(body));
    case fuse::GETATTR: {
      const File* file = file_of(source, head.node);
      fuse::AttributesOut out{};
      out.valid = VALID_SECONDS;
      out.attributes = attributes(file == nullptr ? source.folder : file->facts, head.node);
      return reply(source, head.unique, 0, &out, sizeof out);
    }
    case fuse::OPEN:
    case fuse::OPENDIR: {
      const std::uint32_t flags = head.opcode == fuse::OPEN ? fuse::FOPEN_DIRECT_IO : 0;
      const fuse::OpenOut out{1, flags, 0};
      return reply(source, head.unique, 0, &out, sizeof out);
    }
    case fuse::READ:
      std::memcpy(&in, body, sizeof in);
      return answer_read(source, head, in);
    case fuse::READDIR:
      std::memcpy(&in, body, sizeof in);
      return answer_listing(source, head, in);
    case fuse::STATFS: {
      fuse::StatfsOut out{};
      out.block_bytes = out.fragment_bytes = 4096;
      out.name_bytes = NAME_MAX;
      return reply(source, head.unique, 0, &out, sizeof out);
    }
    case fuse::RELEASE:
    case fuse::RELEASEDIR:
      return reply(source, head.unique, 0, nullptr, 0);
    case fuse::FORGET:
    case fuse::BATCH_FORGET:
    case fuse::INTERRUPT:
      return;
    default:
      return reply(source, head.unique, -ENOSYS, nullptr, 0);
  }
}

// False: nobody will ask any more.
bool answer_question(const Source& source) {
  char line[64];
  if (read(STDIN_FILENO, line, sizeof line) <= 0) return false;
  std::printf("{\"bytes\":%llu}\n", static_cast<unsigned long long>(source.bytes));
  std::fflush(stdout);
  return true;
}

void serve(Source& source) {
  alignas(8) std::uint8_t bytes[16384];
  pollfd waits[] = {{source.device, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
  for (;;) {
    if (poll(waits, 2, -1) < 0 && errno != EINTR) return;
    if (waits[1].revents != 0 && !answer_question(source)) waits[1].fd = -1;
    if (waits[0].revents == 0) continue;
    const ssize_t got = read(source.device, bytes, sizeof bytes - 1);
    if (got < 0 && (errno == EINTR || errno == EAGAIN || errno == ENOENT)) continue;
    if (got <= 0) return;
    bytes[got] = 0;
    fuse::InHeader head;
    std::memcpy(&head, bytes, sizeof head);
    answer(source, head, bytes + sizeof head);
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
  Source source;
  source.rate = count == 4 ? std::strtoull(words[3], nullptr, 10) : 0;
  if (source.rate == 0) {
    std::fprintf(stderr, "usage: throttled_source FOLDER MOUNTPOINT BYTES_PER_SECOND\n");
    return 2;
  }
  read_folder(source, words[1]);
  mount_point = words[2];
  source.device = warmpath::model_cache::mount_fuse(mount_point, false);
  if (source.device < 0) {
    std::fprintf(stderr, "%s: %s\n", mount_point, std::strerror(-source.device));
    return 1;
  }
  (void)signal(SIGTERM, unmount);
  // Sleeps end when they should, not some 50 microseconds later.
  (void)prctl(PR_SET_TIMERSLACK, 1);
  serve(source);
  return 0;
}
