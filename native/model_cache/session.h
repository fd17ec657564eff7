// One FUSE session: the kernel's requests on one accelerated path, answered by native threads.
//
//            /dev/fuse (one descriptor, held by the supervisor too)
//                | read                        ^ write
//        FUSE thread 1..n --- answer(request) -+--> reply at once        (nearly always)
//                                              |
//                                              `--> held: until JavaScript has done something
//     JavaScript: set_tree, publish, bypass, fail, confirm, evict --> answer(held) again
//
// Files. A file id stands for one (path, generation) for the life of this daemon; a record of the
// hand-over table, and with it a node id, for the life of the mount.
//
//     ABSENT --publish--> RESIDENT --evict (idle)--> ABSENT, same node
//       |  \---fail: held opens get an errno          `--evict (forced)--> ABSENT, new node
//       `--bypass--> BYPASSED --publish or evict--> new node
//
//   OPEN finds         answer
//   RESIDENT           passthrough: FOPEN_PASSTHROUGH and the record's backing id (the kernel
//                      then reads the store file itself: no more requests until RELEASE);
//                      copy mode: FOPEN_KEEP_CACHE, and READs are written out of the mapping
//   ABSENT             held; EVENT_OPEN_WANTED once, however many wait
//   BYPASSED           as RESIDENT, with the source's file; where the kernel refuses it as a
//                      backing, READs are copied by threads of their own (a source may hang)
//   not in the tree,   ESTALE: the kernel looks the name up again and opens what it finds there,
//   or another node    within the same open() of the application
//
// The kernel allows an inode one backing at a time, and never cached reads beside passthrough. So
// whatever changes how a file is served gives it a new record, hence a new node; only an idle
// eviction may keep it, because then nobody has the inode open.
//
// Held requests. LOOKUP, OPEN and OPENDIR of something that was last confirmed longer than
// `revalidate_ms` ago are held while JavaScript looks at the source, at most CHECK_MS_MAX; then
// the old answer is given and counted. A held request is kept as its bytes and simply answered
// again. INTERRUPT ends it with EINTR: without that a killed application would stay in state D.
// The kernel forgives one ESTALE an open() and no second. So an OPEN that waited for its bytes is
// not checked once more, nor one that comes within OPEN_GRACE_MS behind its LOOKUP; and where the
// path leads to the next version while the OPEN waits, JavaScript shows it the last one's bytes
// (fresh_handles.ts).
//
// A registration outlives its record for as long as a handle that was answered with it: between our
// reply to an OPEN and the kernel's look at the backing id some time may pass, and an id that is
// closed meanwhile is EIO for the application. A crash then leaks the registration until unmount.
//
// Restart. The table has the node ids, the kernel resends what was unanswered (its unique then
// has the top bit set, and must be answered with it). Handles of the old daemon are recognised by
// their epoch: their RELEASE counts nothing, their READ finds the file by node. Open counts are
// lost, so the lease probe decides about eviction; and since the kernel's registration still
// holds the dead daemon's description of the store file, the first eviction after a restart moves
// the file to a new node with a registration of its own, after which the probe sees clearly.
//
// Threads and locks: one mutex for all state, held for some hundred nanoseconds; replies are
// written outside it. Each open costs one request and each close one, and most of that is the
// waking of a thread: a lone FUSE thread waits awake for 50 µs while requests come in quick
// succession (15 µs for an open and close where a bare mirror that sleeps takes 19), at the price
// of a core for as long as somebody walks through files. The notifier is a thread of its own, since
// the kernel takes a folder's lock for INVAL_ENTRY that a held LOOKUP of that folder has.
//
// What it does badly: node ids are never reclaimed while the mount lives (hand_over.h). A swap
// answers everything that is held once more. Copy mode holds the bytes twice, in the store and in
// the page cache.
#pragma once

#include <sys/uio.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "model_cache/fuse_wire.h"
#include "model_cache/hand_over.h"
#include "model_cache/tree.h"

namespace warmpath::model_cache {

// Requests that wait for JavaScript; past it they get EAGAIN. Each is one blocked thread of an
// application, so this is far more than a machine has.
inline constexpr std::uint32_t HELD_MAX = 65536;
// Milliseconds for JavaScript to look at a source before the old answer is given: longer than a
// slow network file system takes for a stat, short enough for somebody who types `ls`.
inline constexpr std::int64_t CHECK_MS_MAX = 2000;
// Threads that answer one session; one is enough for one reader, two let a fault and an open pass.
inline constexpr std::uint32_t FUSE_THREADS_MAX = 16;

struct SessionOptions {
  std::uint32_t id;
  int fuse;
  int store;
  bool wants_passthrough;
  std::int64_t revalidate_ms;
  std::int64_t open_ms_max;
};

// Why the front mode is what it is; the words are in src/native/model_mount.ts.
enum class ModeReason : std::uint32_t {
  TAKEN_OVER = 0,
  PASSTHROUGH_WORKS = 1,
  COPY_ASKED = 2,
  KERNEL_LACKS_IT = 3,
  REFUSED = 4,
};

struct SessionFacts {
  bool is_passthrough;
  bool is_taken_over;
  ModeReason reason;
  int error;
};

// An open store or source file; unmapped and closed with its last user.
struct Backing {
  int file = -1;
  const std::uint8_t* bytes = nullptr;
  std::uint64_t size = 0;
  // The kernel's registration is the dead daemon's.
  bool is_adopted = false;
  ~Backing();
};

struct NewEntry {
  std::uint32_t parent;
  bool is_directory;
  std::uint32_t mode;
  std::uint64_t size;
  std::int64_t mtime;
  std::uint32_t mtime_ns;
  std::string name;
  std::string generation;
};

struct FileUse {
  // Opens are held until its bytes are here.
  bool is_awaited;
  std::uint32_t opens;
  std::uint64_t opens_total;
  // Of these the ones that were held until the bytes were here.
  std::uint64_t waits_total;
  std::int64_t used_at_ms;
  std::uint64_t node;
};

struct SessionCounts {
  std::uint64_t requests;
  std::uint64_t held;
  std::uint64_t held_total;
  std::uint64_t bytes_copied;
  std::uint64_t checks_late;
};

class Session {
 public:
  // Answers INIT, or takes over; nothing else is answered before serve(). 0 or negative errno.
  int open(const SessionOptions& options, SessionFacts* facts);
  void serve(std::uint32_t threads);

  // Fills the file id of each entry; -ENOSPC when the table is full.
  int set_tree(const std::vector<NewEntry>& entries, double* file_ids);
  // Both take the descriptor over when they return 0.
  int publish(std::uint32_t file, int descriptor);
  int bypass(std::uint32_t file, int descriptor);
  void fail(std::uint32_t file, int error);
  void confirm(std::uint32_t file);
  // Its hydration goes on: held opens wait as long as from now.
  void extend(std::uint32_t file);
  // 1: evicted, 0: somebody reads it, negative errno.
  int evict(std::uint32_t file, bool is_forced);
  bool use(std::uint32_t file, FileUse* out);
  void set_usage(std::uint64_t capacity_bytes, std::uint64_t used_bytes);
  SessionCounts counts();
  void mark_ready() { table_.header().is_ready.store(1, std::memory_order_release); }

 private:
  enum class FileState : std::uint8_t { ABSENT, RESIDENT, BYPASSED };

  struct File {
    std::uint32_t record = 0;
    FileState state = FileState::ABSENT;
    bool is_directory = false;
    bool is_listed = false;
    bool is_open_wanted = false;
    bool is_check_wanted = false;
    // All that are not released, and those of its present record.
    std::uint32_t opens = 0;
    std::uint32_t record_opens = 0;
    std::uint64_t opens_total = 0;
    std::uint64_t waits_total = 0;
    std::int64_t used_at_ms = 0;
    std::int64_t checked_at_ms = 0;
    std::shared_ptr<Backing> backing;
  };

  struct Handle {
    std::uint32_t file = NO_FILE;
    std::uint32_t record = 0;
    // Of a folder: the version it lists.
    std::shared_ptr<const Tree> tree;
    std::shared_ptr<Backing> backing;
  };

  // What a request consists of; valid while its buffer is.
  struct Request {
    const fuse::InHeader* head;
    const std::uint8_t* body;
    std::size_t body_bytes;
    const std::uint8_t* bytes;
  };

  struct Held {
    std::vector<std::uint8_t> bytes;
    std::uint32_t file;
    bool is_check;
    std::int64_t deadline_ms;
  };

  // A registration whose record was replaced, and the handles that were answered with it.
  struct Retired {
    std::int32_t backing_id;
    std::uint32_t opens;
  };

  struct Notice {
    std::uint64_t parent;
    std::string name;
  };

  struct KeyHash {
    std::size_t operator()(const FileKey& key) const { return key.low; }
  };

  using Lock = std::unique_lock<std::mutex>;

  // session.cc
  int negotiate(SessionFacts* facts);
  int try_passthrough();
  void run_thread();
  void answer(const std::uint8_t* bytes, std::size_t length);
  int reply(std::uint64_t unique, int error, const void* body = nullptr, std::size_t length = 0);
  int reply_parts(std::uint64_t unique, const iovec* parts, int count);
  void end(int error);

  // session_names.cc
  void lookup(const Request& request);
  void get_attributes(const Request& request);
  void open_folder(const Request& request);
  void read_folder(const Request& request, bool has_attributes);
  void statfs(const Request& request);
  void fill_entry(fuse::EntryOut* out, std::uint32_t file);
  void fill_attributes(fuse::Attributes* out, std::uint32_t record);
  std::size_t put_entry(std::vector<std::uint8_t>& out, std::size_t bytes_max, std::uint32_t file,
                        std::string_view name, std::uint64_t next, bool has_attributes);

  // session_files.cc
  void open_file(const Request& request);
  void read_file(const Request& request);
  void release(const Request& request);
  void fill_open(fuse::OpenOut* out, const File& file, std::uint32_t flags, std::uint64_t handle);
  int send_bytes(std::uint64_t unique, const Backing& backing, const fuse::ReadIn& read);
  void run_slow_reads();
  int open_backing(int descriptor);
  void close_backing(Record& record);
  bool renew(File& file);
  std::uint64_t add_handle(Handle handle);
  void close_handle(const Handle& handle);

  // session_held.cc
  bool must_check(std::uint32_t id, std::int64_t grace_ms = 0);
  // This request was held before and is answered once more.
  static bool is_answered_again();
  void hold(Lock& lock, const Request& request, std::uint32_t id, bool is_check);
  void interrupt(const Request& request);
  void answer_held(std::uint32_t id);
  void run_timer();
  void run_notifier();
  void want(std::uint32_t kind, std::uint32_t id);

  std::uint32_t file_of_node(std::uint64_t node) const;
  bool is_current(std::uint32_t id, std::uint64_t node) const;
  // Whether a node of this file, be it one that was replaced, may be read from what is there now:
  // the nodes of a file differ in how they are served, never in their bytes.
  bool has_same_bytes(std::uint32_t id) const;

  SessionOptions options_{};
  HandOver table_;
  bool is_passthrough_ = false;
  std::uint64_t epoch_bits_ = 0;

  std::mutex mutex_;
  // File ids are indices; a deque, because files are pointed at.
  std::deque<File> files_;
  std::unordered_map<FileKey, std::uint32_t, KeyHash> file_of_key_;
  std::unordered_map<FileKey, std::uint32_t, KeyHash> record_of_key_;
  std::vector<std::uint32_t> file_of_record_;
  std::shared_ptr<const Tree> tree_;
  std::unordered_map<std::uint64_t, Handle> handles_;
  std::uint64_t handle_next_ = 1;
  // By record.
  std::unordered_map<std::uint32_t, Retired> retired_;
  std::unordered_map<std::uint64_t, Held> held_;
  std::condition_variable held_changed_;
  std::deque<Notice> notices_;
  std::condition_variable notices_changed_;
  std::deque<std::vector<std::uint8_t>> slow_reads_;
  std::condition_variable slow_reads_changed_;
  bool has_slow_threads_ = false;
  bool has_ended_ = false;
  std::uint64_t capacity_bytes_ = 0;
  std::uint64_t used_bytes_ = 0;
  SessionCounts counts_{};
};

std::int64_t now_ms();

}  // namespace warmpath::model_cache
