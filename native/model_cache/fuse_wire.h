// The part of the kernel's FUSE protocol (7.45) that this daemon speaks, native byte order.
//
// Written out here and not taken from <linux/fuse.h>: the headers of the oldest system that we
// build on end at 7.38 and know nothing of passthrough. Every message is
//
//   request:  InHeader (40 B), then the operation's struct, then names with a NUL
//   reply:    OutHeader (16 B), then the operation's struct        unique ties the two
//   notice:   OutHeader with unique 0 and the code in `error`
#pragma once

#include <sys/ioctl.h>

#include <cstdint>

namespace warmpath::model_cache::fuse {

enum Opcode : std::uint32_t {
  LOOKUP = 1,
  FORGET = 2,
  GETATTR = 3,
  OPEN = 14,
  READ = 15,
  STATFS = 17,
  RELEASE = 18,
  INIT = 26,
  OPENDIR = 27,
  READDIR = 28,
  RELEASEDIR = 29,
  INTERRUPT = 36,
  DESTROY = 38,
  BATCH_FORGET = 42,
  READDIRPLUS = 44,
};

// Bits of INIT; those above 31 travel in flags2.
inline constexpr std::uint64_t ASYNC_READ = 1ull << 0;
inline constexpr std::uint64_t DO_READDIRPLUS = 1ull << 13;
inline constexpr std::uint64_t READDIRPLUS_AUTO = 1ull << 14;
inline constexpr std::uint64_t PARALLEL_DIROPS = 1ull << 18;
inline constexpr std::uint64_t ABORT_ERROR = 1ull << 21;
inline constexpr std::uint64_t MAX_PAGES = 1ull << 22;
inline constexpr std::uint64_t INIT_EXT = 1ull << 30;
inline constexpr std::uint64_t DIRECT_IO_ALLOW_MMAP = 1ull << 36;
inline constexpr std::uint64_t PASSTHROUGH = 1ull << 37;
inline constexpr std::uint64_t HAS_RESEND = 1ull << 39;

inline constexpr std::uint32_t FOPEN_DIRECT_IO = 1u << 0;
inline constexpr std::uint32_t FOPEN_KEEP_CACHE = 1u << 1;
inline constexpr std::uint32_t FOPEN_PASSTHROUGH = 1u << 7;

inline constexpr std::int32_t NOTIFY_INVAL_ENTRY = 3;
inline constexpr std::int32_t NOTIFY_RESEND = 7;
// Set in the unique of a request that is delivered a second time.
inline constexpr std::uint64_t UNIQUE_RESENT = 1ull << 63;

inline constexpr std::uint32_t KERNEL_MAJOR = 7;
// Passthrough came with 40, and 41 changed nothing of ours; newer kernels accept this answer.
inline constexpr std::uint32_t KERNEL_MINOR = 41;
inline constexpr std::uint64_t ROOT_NODE = 1;

struct InHeader {
  std::uint32_t length;
  std::uint32_t opcode;
  std::uint64_t unique;
  std::uint64_t node;
  std::uint32_t uid, gid, pid;
  std::uint16_t extensions, padding;
};

struct OutHeader {
  std::uint32_t length;
  std::int32_t error;
  std::uint64_t unique;
};

struct InitIn {
  std::uint32_t major, minor, read_ahead_bytes, flags, flags2, unused[11];
};

struct InitOut {
  std::uint32_t major, minor, read_ahead_bytes, flags;
  std::uint16_t background, congestion;
  std::uint32_t write_bytes, time_granularity;
  std::uint16_t pages, map_alignment;
  std::uint32_t flags2, stack_depth;
  std::uint16_t request_timeout, unused[11];
};

struct Attributes {
  std::uint64_t inode, size, blocks, atime, mtime, ctime;
  std::uint32_t atime_ns, mtime_ns, ctime_ns, mode, links, uid, gid, device, block_bytes, flags;
};

struct EntryOut {
  std::uint64_t node, generation, entry_valid, attributes_valid;
  std::uint32_t entry_valid_ns, attributes_valid_ns;
  Attributes attributes;
};

struct AttributesOut {
  std::uint64_t valid;
  std::uint32_t valid_ns, padding;
  Attributes attributes;
};

struct OpenIn {
  std::uint32_t flags, open_flags;
};

struct OpenOut {
  std::uint64_t handle;
  std::uint32_t flags;
  std::int32_t backing_id;
};

struct ReadIn {
  std::uint64_t handle, offset;
  std::uint32_t size, read_flags;
  std::uint64_t lock_owner;
  std::uint32_t flags, padding;
};

struct ReleaseIn {
  std::uint64_t handle;
  std::uint32_t flags, release_flags;
  std::uint64_t lock_owner;
};

struct InterruptIn {
  std::uint64_t unique;
};

struct StatfsOut {
  std::uint64_t blocks, free, available, files, files_free;
  std::uint32_t block_bytes, name_bytes, fragment_bytes, padding, spare[6];
};

// The name follows, padded to 8 bytes.
struct DirectoryEntry {
  std::uint64_t inode, offset;
  std::uint32_t name_bytes, type;
};

// The name and a NUL follow.
struct InvalidateEntry {
  std::uint64_t parent;
  std::uint32_t name_bytes, flags;
};

struct BackingMap {
  std::int32_t file;
  std::uint32_t flags;
  std::uint64_t padding;
};

static_assert(sizeof(InHeader) == 40 && sizeof(OutHeader) == 16);
static_assert(sizeof(InitIn) == 64 && sizeof(InitOut) == 64);
static_assert(sizeof(Attributes) == 88 && sizeof(EntryOut) == 128 && sizeof(AttributesOut) == 104);
static_assert(sizeof(OpenOut) == 16 && sizeof(ReadIn) == 40 && sizeof(ReleaseIn) == 24);
static_assert(sizeof(StatfsOut) == 80 && sizeof(DirectoryEntry) == 24 && sizeof(BackingMap) == 16);

inline constexpr unsigned long BACKING_OPEN = _IOW(229, 1, BackingMap);
inline constexpr unsigned long BACKING_CLOSE = _IOW(229, 2, std::uint32_t);

}  // namespace warmpath::model_cache::fuse
