// The owner's side of a log: append, end, floors. See log_table.h.
#include "response_log/log.h"

namespace warmpath {

namespace {

struct EndSink {
  Log* log;
  std::uint64_t start;  // position of the piece's first byte

  static void hear(void* context, std::size_t end) {
    const auto& sink = *static_cast<EndSink*>(context);
    sink.log->stored.add_end(sink.start + end);
  }
  // Ends are kept where bytes are: most logs are read as they come, by their owner alone.
  EventSink ear() const { return log->is_storing() ? hear : nullptr; }
};

void fill(LogFacts* facts, const Log& log, const ScanFacts& scanned) {
  facts->events = scanned.events;
  facts->whole_end = static_cast<std::uint32_t>(scanned.whole_end);
  facts->classes = scanned.classes;
  facts->events_total = log.events_total;
  facts->remote_live = log.readers_live;
  facts->remote_lagging = log.readers_live == 0 ? 0 : log.lagging_readers();
  if (!log.is_kept()) facts->status |= LOG_IS_WINDOW;
}

}  // namespace

// Stores the piece for those who need it. False: nobody's memory is left, its readers must go.
bool LogTable::store(Log& log, std::unique_lock<std::mutex>& lock, const std::uint8_t* bytes,
                     std::size_t size, LogFacts* facts) {
  while (log.is_storing() && !log.stored.append(bytes, size)) {
    lock.unlock();
    const bool is_evicted = evict_oldest();
    lock.lock();
    if (is_evicted) continue;
    if (!log.is_kept()) return false;
    log.turn_to_window();
    facts->status |= LOG_TURNED;
  }
  return true;
}

void LogTable::append(LogName name, const std::uint8_t* bytes, std::size_t size, LogFacts* facts) {
  std::unique_lock<std::mutex> lock;
  Log* const found = locked(name, lock);
  WARMPATH_CHECK(found != nullptr && !found->is_ended);
  Log& log = *found;
  *facts = LogFacts{};
  if (log.is_kept() && log.bytes + size > log.options.bytes_max) {
    log.turn_to_window();
    facts->status |= LOG_TURNED;
  }
  if (!store(log, lock, bytes, size, facts)) {
    facts->status |= LOG_CUT;
    for (RemoteReader& reader : log.readers) {
      if (reader.is_live()) log.cut(reader, LOG_CUT_MEMORY);
    }
    log.floor = LOG_NO_FLOOR;
    log.settle();
  }
  EndSink sink = {&log, log.bytes};
  ScanFacts scanned;
  if (log.options.kind == LogKind::sse) {
    scanned = log.scanner.scan(bytes, size, sink.ear(), &sink);
  } else {
    scanned.whole_end = size;
  }
  log.bytes += size;
  log.events_total += scanned.events;
  if (!log.readers.empty()) {
    for (RemoteReader& reader : log.readers) {
      if (!reader.is_used) continue;
      const bool is_behind = log.bytes - reader.position > log.options.lag_bytes_max;
      if (reader.is_live() && is_behind && !log.is_kept()) log.cut(reader, LOG_CUT_LAG);
      log.tell(reader);
    }
    log.settle();
  }
  fill(facts, log, scanned);
}

void LogTable::set_head(LogName name, const std::uint8_t* head, std::size_t size) {
  std::unique_lock<std::mutex> lock;
  Log* const log = locked(name, lock);
  WARMPATH_CHECK(log != nullptr && log->head.empty());
  WARMPATH_CHECK(size > 0 && size <= LOG_HEAD_BYTES_MAX);
  log->head.assign(head, head + size);
  log->tell_all();
}

void LogTable::end(LogName name, std::uint32_t code, const std::uint8_t* reason, std::size_t size,
                   LogFacts* facts) {
  std::unique_lock<std::mutex> lock;
  Log* const log = locked(name, lock);
  WARMPATH_CHECK(log != nullptr && !log->is_ended && size <= LOG_REASON_BYTES_MAX);
  EndSink sink = {log, log->bytes};
  const ScanFacts scanned = log->scanner.finish(sink.ear(), &sink);
  log->events_total += scanned.events;
  log->is_ended = true;
  if (log->retention_ms != LOG_RETAINED_FOR_EVER) {
    log->expires_at_ms = log_clock_ms() + log->retention_ms;
  }
  log->end_code = code;
  log->reason.assign(reason, reason + size);
  log->tell_all();
  *facts = LogFacts{};
  fill(facts, *log, scanned);
}

void LogTable::set_floor(LogName name, std::uint64_t floor) {
  std::unique_lock<std::mutex> lock;
  Log* const log = locked(name, lock);
  WARMPATH_CHECK(log != nullptr);
  WARMPATH_CHECK(floor == LOG_NO_FLOOR || floor >= log->base());
  WARMPATH_CHECK(floor == LOG_NO_FLOOR || floor <= log->bytes);
  log->begin_storing();
  log->floor = floor;
  log->settle();
}

std::uint32_t LogTable::set_paused(LogName name, bool is_paused) {
  std::unique_lock<std::mutex> lock;
  Log* const log = locked(name, lock);
  WARMPATH_CHECK(log != nullptr);
  log->is_paused = is_paused;
  log->is_resume_told = false;
  return log->readers_live - log->lagging_readers();
}

void LogTable::turn_to_window(LogName name) {
  std::unique_lock<std::mutex> lock;
  Log* const log = locked(name, lock);
  WARMPATH_CHECK(log != nullptr);
  if (log->is_kept()) log->turn_to_window();
}

void LogTable::set_retention(LogName name, std::uint64_t retention_ms) {
  std::unique_lock<std::mutex> lock;
  Log* const log = locked(name, lock);
  WARMPATH_CHECK(log != nullptr && !log->is_ended);
  log->retention_ms = retention_ms;
}

bool LogTable::set_note(LogName name, const std::uint8_t* bytes, std::size_t size) {
  std::unique_lock<std::mutex> lock;
  Log* log = locked(name, lock);
  WARMPATH_CHECK(log != nullptr && log->note.bytes_end() == 0);
  while (!log->note.append(bytes, size)) {
    lock.unlock();
    const bool is_evicted = evict_oldest();
    lock.lock();
    if (!is_evicted) return false;
  }
  return true;
}

bool LogTable::doom_if_unread(LogName name) {
  std::unique_lock<std::mutex> lock;
  Log* const log = locked(name, lock);
  WARMPATH_CHECK(log != nullptr);
  if (log->readers_live > 0) return false;
  while (log->id_count > 0) directory_.remove(log->ids[--log->id_count]);
  log->is_discarded = true;
  return true;
}

}  // namespace warmpath
