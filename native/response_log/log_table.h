// The response logs of the process: who owns them, who reads them, what they keep.
//
//   owner thread                         process-wide                      any other thread
//   ------------                         ------------                      ----------------
//   append(chunk) --> scan for event ends, store if somebody needs it
//        |            wake remote readers (mail LOG_ADVANCED) ------------> read() copies out
//        |                                                                  detach()
//   facts: ends, classes, live and lagging remote readers <-- CANCEL, RESUME_UPSTREAM (mail)
//
// A log is named by (slot, generation); a name outlives its log and then finds nothing. Only the
// owner appends, ends and sets floors; anybody may attach, read, retain and look things up.
//
// What is stored depends on the mode:
//   kept     everything from 0. Past its own limit it turns into a window log for good.
//   window   [floor, bytes): the floor is the slowest of the owner's lagging readers (one number,
//            told by set_floor) and of the remote readers. Without either nothing is stored and
//            an append only scans: the owner has handed the chunk on to its readers already.
//
// Example, a window log; R is a remote reader, lag limit 1000:
//   append 400        nothing stored          bytes 400, base 400
//   R attaches at 400 storing from here
//   append 300        [400, 700) stored, mail to R
//   R reads 300       base 700, nothing stored, R is told of the next append again
//   append 2 x 600    R does not read: 1200 > 1000 behind, R is cut; its next read says so
//
// Wakes: a reader is told once (is_told), and again only after a read that took all there was.
// Mail is a hint: whoever gets MAIL_LOST looks at all its readers and all its logs.
//
// A log may have a note: bytes that its owner leaves beside it (the request that it answers), which
// live and count as long as the log.
//
// Lives and memory: a log lives while it has references (its owner's, each remote reader's, each
// retain). Without any it is freed, unless it ended in kept mode and has ids: then it is idle and
// waits for clients to come back, until the budget or the slots run out: the one longest idle goes
// first. A log that was too large stays as an idle tombstone without bytes, so that a client who
// comes back is told `expired` and not `unknown`. Storing past the budget frees idle logs, then
// turns a kept log into a window, then cuts the readers that needed the bytes.
//
// Idle logs are bounded three times over: each expires its retention after its end (expire(),
// called now and then), all together are at most `items_max`, and those of one tenant have a limit
// of count and bytes; whose limit is passed loses its own oldest.
//
//   all      A(t1) - B(t2) - C(t1) - D(t1)       oldest first; each log is in both lists
//   tenant 1 A ------------- C ----- D           tenant_items_max 2: linking D evicts A
//
// Stopping: anybody of the tenant may ask for it (stop); the flag lies in the log and mail tells
// the owner, who ends the work. A log whose last reader has left is doomed by its owner in one step
// (doom_if_unread), so that a reader comes either before it, or finds nothing.
//
// Locks, always taken in this order: a log's mutex; then one of idle list, slot list, directory,
// mailbox. Eviction takes the idle list alone, then its victim's mutex. Costs: an append locks one
// uncontended mutex (~20 ns) and scans; a remote reader costs a copy in and a copy out.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "response_log/directory.h"
#include "response_log/event_scanner.h"
#include "response_log/gone_ids.h"
#include "response_log/stored_bytes.h"

namespace warmpath {

// Logs alive at once, idle ones included; bounds the slot table (about 300 bytes each).
inline constexpr std::uint32_t LOGS_MAX = 65536;
// Readers on other threads of one log; more are refused.
inline constexpr std::uint32_t LOG_REMOTE_READERS_MAX = 1024;
// Bytes of head and of an end's reason that are stored for readers on other threads.
inline constexpr std::uint32_t LOG_HEAD_BYTES_MAX = 65536;
inline constexpr std::uint32_t LOG_REASON_BYTES_MAX = 256;
// A floor that says: the owner has no lagging reader.
inline constexpr std::uint64_t LOG_NO_FLOOR = UINT64_MAX;

enum class LogKind : std::uint8_t { sse = 0, json = 1 };
enum class LogMode : std::uint8_t { window = 0, kept = 1 };

// Status bits; the same numbers as in src/native/response_log.ts.
enum LogStatus : std::uint32_t {
  LOG_TURNED = 1,  // this append turned a kept log into a window
  LOG_CUT = 2,     // append: lagging readers must be cut, memory is out; read: you are cut
  LOG_ENDED = 4,   // read: nothing more will come after what was taken
  LOG_MORE = 8,    // read: there is more to take now
  LOG_HAS_HEAD = 16,
  LOG_EXPIRED = 32,  // the position has been freed
  LOG_UNKNOWN = 64,  // no such log, or of another tenant
  LOG_FULL = 128,    // too many readers
  LOG_IS_WINDOW = 256,
  LOG_STOP_ASKED = 512,
};

// As a retention: until something needs its place. A retention of 0: it goes with its last reader.
inline constexpr std::uint64_t LOG_RETAINED_FOR_EVER = UINT64_MAX;

// What idle logs may hold.
struct ShelfLimits {
  std::uint64_t items_max = LOGS_MAX;
  std::uint64_t tenant_items_max = LOGS_MAX;
  std::uint64_t tenant_bytes_max = UINT64_MAX;
};

struct IdleLinks {
  std::uint32_t older = UINT32_MAX;
  std::uint32_t newer = UINT32_MAX;
};

// Ends and size of a list of idle logs.
struct IdleList {
  std::uint32_t oldest = UINT32_MAX;
  std::uint32_t newest = UINT32_MAX;
  std::uint32_t count = 0;
  std::uint64_t bytes = 0;
};

// Why a reader was cut, in the end code of its read.
enum LogCut : std::uint32_t { LOG_CUT_LAG = 1, LOG_CUT_MEMORY = 2 };

struct LogOptions {
  LogKind kind;
  LogMode mode;
  std::uint32_t tenant;
  std::uint32_t owner_thread;
  std::uint64_t bytes_max;      // of a kept log
  std::uint64_t lag_bytes_max;  // of a window log's remote reader
};

struct LogFacts {
  std::uint32_t events = 0;     // append: ended in this chunk
  std::uint32_t whole_end = 0;  // append, read: offset after the last whole event
  std::uint32_t classes = 0;    // append: of the events ended
  std::uint32_t events_total = 0;
  std::uint32_t status = 0;
  std::uint32_t remote_live = 0;
  std::uint32_t remote_lagging = 0;
  std::uint32_t size = 0;       // read: bytes copied
  std::uint32_t end_code = 0;   // read, stat: how it ended; read of a cut reader: why
  std::uint32_t bytes_low = 0;  // stat: all bytes so far
  std::uint32_t bytes_high = 0;
  std::uint32_t base_low = 0;  // stat: first stored position
  std::uint32_t base_high = 0;
};
inline constexpr std::uint32_t LOG_FACT_WORDS = 13;
static_assert(sizeof(LogFacts) == LOG_FACT_WORDS * sizeof(std::uint32_t));

struct Log;

class LogTable {
 public:
  // False when all slots hold logs that are in use.
  bool open(const LogOptions& options, LogName* name);
  // The owner's side.
  void append(LogName name, const std::uint8_t* bytes, std::size_t size, LogFacts* facts);
  void set_head(LogName name, const std::uint8_t* head, std::size_t size);
  void end(LogName name, std::uint32_t code, const std::uint8_t* reason, std::size_t size,
           LogFacts* facts);
  void set_floor(LogName name, std::uint64_t floor);
  // Returns the number of remote readers that keep up.
  std::uint32_t set_paused(LogName name, bool is_paused);
  void turn_to_window(LogName name);
  // How long after its end the log waits for clients to come back.
  void set_retention(LogName name, std::uint64_t retention_ms);
  // False when the budget has no room for it.
  bool set_note(LogName name, const std::uint8_t* bytes, std::size_t size);
  // True: nobody on another thread reads it, and from now on nobody will.
  bool doom_if_unread(LogName name);

  // Anybody's. `false` or LOG_UNKNOWN: there is no such log any more.
  bool retain(LogName name);
  void release(LogName name);
  // Takes the ids away; the log goes with its last reference.
  void discard(LogName name);
  // Asks the owner to end the work. Status 0, LOG_ENDED or LOG_UNKNOWN.
  std::uint32_t stop(LogName name, std::uint32_t tenant);
  bool stat(LogName name, LogFacts* facts);
  // Copies the note from `position` on; returns the bytes copied.
  std::size_t read_note(LogName name, std::uint64_t position, std::uint8_t* out, std::size_t size);
  std::uint32_t head(LogName name, std::uint8_t* out, std::size_t size);
  std::uint32_t reason(LogName name, std::uint8_t* out, std::size_t size);
  // Status 0 or LOG_EXPIRED, LOG_UNKNOWN; facts: size, whole_end and how it goes on.
  void read_at(LogName name, std::uint64_t position, std::uint8_t* out, std::size_t size,
               LogFacts* facts);
  bool position_after(LogName name, std::uint64_t event, std::uint64_t* position);

  // A reader on another thread. attach: facts.size is the reader's index, status 0 when it is on.
  void attach(LogName name, std::uint32_t tenant, std::uint32_t thread, std::uint32_t token,
              std::uint64_t position, LogFacts* facts);
  void read(LogName name, std::uint32_t reader, std::uint8_t* out, std::size_t size,
            LogFacts* facts);
  void detach(LogName name, std::uint32_t reader);

  // The directory. False: the id is in use, or the log has its ids already.
  bool publish(LogName name, const std::uint8_t* id, std::size_t size);
  bool find(std::uint32_t tenant, const std::uint8_t* id, std::size_t size, LogName* name);
  // Whether the id named a log that was dropped: its time was over, or others needed its room.
  bool is_gone(std::uint32_t tenant, const std::uint8_t* id, std::size_t size) const;

  void set_shelf(const ShelfLimits& limits);
  // Frees the idle logs whose retention ends within `ahead_ms` from now; returns how many.
  std::uint32_t expire(std::uint64_t ahead_ms);

  // Counts for metrics and tests: logs alive, idle, ids, bytes held.
  void totals(double* out);

 private:
  Log* slot_of(std::uint32_t slot);
  Log* locked(LogName name, std::unique_lock<std::mutex>& lock);
  bool take_slot(std::uint32_t* slot);
  bool store(Log& log, std::unique_lock<std::mutex>& lock, const std::uint8_t* bytes,
             std::size_t size, LogFacts* facts);
  void drop_reference(Log& log, std::unique_lock<std::mutex>& lock);
  void free_log(Log& log, std::unique_lock<std::mutex>& lock);
  void link_idle(Log& log);
  void unlink_idle(Log& log);
  void unlink_locked(Log& log);
  void add_to(IdleList& list, Log& log, std::uint32_t which);
  void take_from(IdleList& list, Log& log, std::uint32_t which);
  void free_idle(Log& log);
  Log* over_limit(std::uint32_t tenant);
  bool evict_oldest();

  static constexpr std::uint32_t PAGE_LOGS = 256;
  std::atomic<Log*> pages_[LOGS_MAX / PAGE_LOGS] = {};
  std::mutex slots_mutex_;
  std::vector<std::uint32_t> free_slots_;
  std::uint32_t slots_made_ = 0;

  std::mutex idle_mutex_;
  ShelfLimits shelf_;
  IdleList idle_;
  std::unordered_map<std::uint32_t, IdleList> idle_of_;

  std::atomic<std::uint32_t> alive_{0};
  Directory directory_;
  GoneIds gone_ids_;
};

// Milliseconds of a clock that never goes back.
std::uint64_t log_clock_ms();

// The one table of the process.
LogTable& log_table();

}  // namespace warmpath
