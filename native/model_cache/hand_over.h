// The hand-over table: what a daemon must know of the session that its dead predecessor served.
//
//   file `.hand_over` in the store, mapped shared
//
//   0      Header: magic, epoch (lives of a daemon), what INIT agreed on, is_ready, records
//   4096   Record 0   the root folder, node id 1
//   4160   Record 1   node id 2                 node id = index of the record + 1
//   ...    64 bytes each, appended only, written before the reply that shows them to the kernel
//
// A record says which bytes a node id stands for: a key (xxh3-128 of path and generation), the
// attributes that the kernel may ask for even after the file has left the tree, and the id under
// which its store file is registered with the kernel. The kernel lets an inode have one backing
// at a time and answers a second one with EBUSY, which an application sees as EIO; so a daemon
// that starts again must find the old id here and must not register anew.
//
// Worked example. Life 1 serves a/x (generation G): record 5 {key(a/x, G), backing 3}. The daemon
// is killed while a reader has node 6 open. Life 2 maps the table, is given the same tree by
// JavaScript, computes key(a/x, G), finds record 5 and with it node 6 and backing 3: a new open
// of node 6 is answered with backing 3. Had the source changed meanwhile, key(a/x, G') would find
// nothing and get record 6, and opens of node 6 would be answered ESTALE.
//
// What it costs: 64 bytes for each (path, generation) ever shown, never reclaimed while the mount
// lives, because a FORGET that the dead daemon swallowed is lost: nobody knows which node ids the
// kernel still holds. RECORDS_MAX bounds it; past it new files cannot be shown.
//
// It is not a log: only the order "record, then count" matters, since a crash of the machine
// takes the mount with it. Memory is reserved 2 MiB ahead by fallocate, since touching a mapping
// of a full tmpfs would end the process by SIGBUS.
#pragma once

#include <atomic>
#include <cstdint>

namespace warmpath::model_cache {

// Versions of files and folders that one mount can show in its life: 64 MiB of table at most.
inline constexpr std::uint32_t RECORDS_MAX = 1 << 20;
inline constexpr char HAND_OVER_NAME[] = ".hand_over";

struct HandOverHeader {
  std::uint64_t magic;
  std::uint32_t epoch;
  // INIT was answered; what follows is what it agreed on.
  std::uint32_t is_negotiated;
  std::uint32_t has_passthrough;
  std::uint32_t has_resend;
  // A crash from now on is worth a restart; read by the supervisor.
  std::atomic<std::uint32_t> is_ready;
  std::atomic<std::uint32_t> records;
};

struct FileKey {
  std::uint64_t low;
  std::uint64_t high;
  bool operator==(const FileKey& other) const = default;
};

enum class Serving : std::uint32_t { NOTHING = 0, STORE = 1, SOURCE = 2 };

struct Record {
  FileKey key;
  std::uint64_t size;
  std::int64_t mtime;
  std::uint32_t mtime_ns;
  std::uint32_t mode;
  std::int32_t backing_id;
  // Another record took over this key: found no more by it.
  std::uint32_t is_replaced;
  // Whose file the inode was last served from; it cannot change without a new inode.
  Serving serving;
  std::uint32_t unused[3];
};
static_assert(sizeof(Record) == 64);

class HandOver {
 public:
  HandOver() = default;
  HandOver(const HandOver&) = delete;
  HandOver& operator=(const HandOver&) = delete;
  ~HandOver();
  // Opens or makes the table; returns 0 or a negative errno.
  int open(int store_folder);
  HandOverHeader& header() { return *header_; }
  std::uint32_t count() const { return header_->records.load(std::memory_order_acquire); }
  Record& at(std::uint32_t index);
  // Returns the index of the new record, or RECORDS_MAX when there is no room.
  std::uint32_t append(const Record& record);

 private:
  bool reserve(std::uint32_t index);

  int file_ = -1;
  HandOverHeader* header_ = nullptr;
  Record* records_ = nullptr;
  std::uint64_t reserved_bytes_ = 0;
};

}  // namespace warmpath::model_cache
