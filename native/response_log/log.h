// One response log as the table's parts see it; everything here is guarded by its mutex, apart
// from the idle links, which the table's idle mutex guards. See log_table.h.
#pragma once

#include <algorithm>
#include <mutex>
#include <vector>

#include "check.h"
#include "mailbox/mailbox.h"
#include "response_log/log_table.h"

namespace warmpath {

struct RemoteReader {
  std::uint64_t position = 0;
  std::uint32_t thread = 0;
  std::uint32_t token = 0;  // what its thread calls it
  bool is_used = false;
  bool is_cut = false;
  LogCut cut_reason = LOG_CUT_LAG;
  bool is_told = false;  // mail is under way, or it has not taken all since

  bool is_live() const { return is_used && !is_cut; }
};

struct Log {
  std::mutex mutex;
  LogName name;
  bool is_open = false;
  bool is_ended = false;
  bool is_turned = false;  // was kept, is a window
  bool is_discarded = false;
  bool is_paused = false;       // the owner has paused the upstream
  bool is_resume_told = false;  // and has mail to resume
  bool is_stop_asked = false;   // somebody wants the work to end
  LogOptions options;
  std::uint32_t references = 0;
  std::uint64_t bytes = 0;
  std::uint64_t floor = LOG_NO_FLOOR;
  std::uint32_t events_total = 0;
  std::uint32_t end_code = 0;
  std::uint32_t readers_live = 0;
  EventScanner scanner;
  StoredBytes stored;
  StoredBytes note;
  std::uint64_t retention_ms = LOG_RETAINED_FOR_EVER;
  std::uint64_t expires_at_ms = UINT64_MAX;  // set by end()
  std::vector<RemoteReader> readers;
  std::vector<std::uint8_t> head;
  std::vector<std::uint8_t> reason;
  DirectoryKey ids[DIRECTORY_IDS_PER_LOG_MAX];
  std::uint32_t id_count = 0;

  bool is_idle = false;
  std::uint64_t idle_bytes = 0;
  // Places in the list of all idle logs, and in that of its tenant's.
  IdleLinks idle_links[2];

  bool is_kept() const { return options.mode == LogMode::kept; }
  bool is_storing() const { return is_kept() || floor != LOG_NO_FLOOR || readers_live > 0; }
  std::uint64_t base() const { return is_storing() ? stored.base() : bytes; }
  bool is_lagging(const RemoteReader& reader) const {
    return bytes - reader.position > options.lag_bytes_max / 2;
  }

  std::uint32_t lagging_readers() const {
    std::uint32_t count = 0;
    for (const RemoteReader& reader : readers) count += reader.is_live() && is_lagging(reader);
    return count;
  }

  std::uint64_t stored_bytes() const {
    return stored.bytes_end() - stored.base() + note.bytes_end() - note.base();
  }

  // To be called before the first reader that needs stored bytes is counted.
  void begin_storing() {
    if (!is_storing()) stored.clear(bytes, events_total);
  }

  // Frees what no reader of a window log needs any more.
  void settle() {
    if (is_kept()) return;
    if (!is_storing()) {
      stored.clear(bytes, events_total);
      return;
    }
    std::uint64_t slowest = floor;
    for (const RemoteReader& reader : readers) {
      if (reader.is_live()) slowest = std::min(slowest, reader.position);
    }
    stored.free_before(std::min(slowest, bytes));
  }

  void turn_to_window() {
    WARMPATH_CHECK(is_kept());
    options.mode = LogMode::window;
    is_turned = true;
    // What the readers still need stays stored; storing ends where nobody needs anything.
    settle();
  }

  void cut(RemoteReader& reader, LogCut why) {
    WARMPATH_CHECK(reader.is_live() && readers_live > 0);
    reader.is_cut = true;
    reader.cut_reason = why;
    // It is told at once, even if it has not answered the mail before.
    reader.is_told = false;
    readers_live--;
  }

  void tell(RemoteReader& reader) {
    if (reader.is_told) return;
    // A full mailbox says MAIL_LOST to its thread, which then looks at all its readers.
    (void)mail_post(reader.thread, MAIL_LOG_ADVANCED, reader.token, name.slot, name.generation);
    reader.is_told = true;
  }

  void tell_all() {
    for (RemoteReader& reader : readers) {
      if (reader.is_used) tell(reader);
    }
  }
};

}  // namespace warmpath
