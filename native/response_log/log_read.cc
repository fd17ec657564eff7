// Reading a log by position, and the readers on other threads. See log_table.h.
#include <cstring>

#include "response_log/log.h"

namespace warmpath {

namespace {

std::uint32_t copy_out(const std::vector<std::uint8_t>& from, std::uint8_t* out, std::size_t size) {
  const std::size_t copied = std::min(size, from.size());
  if (copied > 0) std::memcpy(out, from.data(), copied);
  return static_cast<std::uint32_t>(from.size());
}

// Copies from `position` and says how it goes on from there.
void copy_from(const Log& log, std::uint64_t position, std::uint8_t* out, std::size_t size,
               LogFacts* facts) {
  std::size_t copied = 0;
  std::size_t whole_end = 0;
  if (position < log.bytes) {
    copied = log.stored.copy(position, out, size);
    const bool is_sse = log.options.kind == LogKind::sse;
    whole_end = is_sse ? log.stored.whole_length(position, copied) : copied;
  }
  facts->size = static_cast<std::uint32_t>(copied);
  facts->whole_end = static_cast<std::uint32_t>(whole_end);
  facts->events_total = log.events_total;
  if (!log.head.empty()) facts->status |= LOG_HAS_HEAD;
  if (position + copied < log.bytes) {
    facts->status |= LOG_MORE;
  } else if (log.is_ended) {
    facts->status |= LOG_ENDED;
    facts->end_code = log.end_code;
  }
}

bool is_held(const Log& log, std::uint64_t position) {
  return position >= log.base() && position <= log.bytes;
}

}  // namespace

bool LogTable::stat(LogName name, LogFacts* facts) {
  *facts = LogFacts{};
  std::unique_lock<std::mutex> lock;
  const Log* const log = locked(name, lock);
  if (log == nullptr) {
    facts->status = LOG_UNKNOWN;
    return false;
  }
  if (log->is_ended) facts->status |= LOG_ENDED;
  if (log->is_turned) facts->status |= LOG_TURNED;
  if (!log->is_kept()) facts->status |= LOG_IS_WINDOW;
  if (!log->head.empty()) facts->status |= LOG_HAS_HEAD;
  if (log->is_stop_asked) facts->status |= LOG_STOP_ASKED;
  facts->end_code = log->end_code;
  facts->events_total = log->events_total;
  facts->remote_live = log->readers_live;
  facts->remote_lagging = log->lagging_readers();
  facts->bytes_low = static_cast<std::uint32_t>(log->bytes);
  facts->bytes_high = static_cast<std::uint32_t>(log->bytes >> 32);
  facts->base_low = static_cast<std::uint32_t>(log->base());
  facts->base_high = static_cast<std::uint32_t>(log->base() >> 32);
  return true;
}

std::uint32_t LogTable::stop(LogName name, std::uint32_t tenant) {
  std::unique_lock<std::mutex> lock;
  Log* const log = locked(name, lock);
  if (log == nullptr || log->options.tenant != tenant) return LOG_UNKNOWN;
  if (log->is_ended) return LOG_ENDED;
  log->is_stop_asked = true;
  // A full mailbox says MAIL_LOST to the owner, which then looks at all its logs.
  (void)mail_post(log->options.owner_thread, MAIL_STOP, name.slot, name.generation, 0);
  return 0;
}

std::size_t LogTable::read_note(LogName name, std::uint64_t position, std::uint8_t* out,
                                std::size_t size) {
  std::unique_lock<std::mutex> lock;
  const Log* const log = locked(name, lock);
  if (log == nullptr || position >= log->note.bytes_end()) return 0;
  return log->note.copy(position, out, size);
}

std::uint32_t LogTable::head(LogName name, std::uint8_t* out, std::size_t size) {
  std::unique_lock<std::mutex> lock;
  const Log* const log = locked(name, lock);
  return log == nullptr ? 0 : copy_out(log->head, out, size);
}

std::uint32_t LogTable::reason(LogName name, std::uint8_t* out, std::size_t size) {
  std::unique_lock<std::mutex> lock;
  const Log* const log = locked(name, lock);
  return log == nullptr ? 0 : copy_out(log->reason, out, size);
}

void LogTable::read_at(LogName name, std::uint64_t position, std::uint8_t* out, std::size_t size,
                       LogFacts* facts) {
  *facts = LogFacts{};
  std::unique_lock<std::mutex> lock;
  const Log* const log = locked(name, lock);
  if (log == nullptr) {
    facts->status = LOG_UNKNOWN;
  } else if (!is_held(*log, position)) {
    facts->status = LOG_EXPIRED;
  } else {
    copy_from(*log, position, out, size, facts);
  }
}

bool LogTable::position_after(LogName name, std::uint64_t event, std::uint64_t* position) {
  std::unique_lock<std::mutex> lock;
  const Log* const log = locked(name, lock);
  if (log == nullptr) return false;
  *position = 0;
  if (event == 0) return log->base() == 0;
  return log->is_storing() && log->stored.end_of_event(event, position);
}

void LogTable::attach(LogName name, std::uint32_t tenant, std::uint32_t thread, std::uint32_t token,
                      std::uint64_t position, LogFacts* facts) {
  *facts = LogFacts{};
  std::unique_lock<std::mutex> lock;
  Log* const log = locked(name, lock);
  // A log without an owner's thread is private to it: its name is not to be known elsewhere.
  const bool has_owner = log != nullptr && log->options.owner_thread != MAIL_NO_THREAD;
  const bool is_known = has_owner && !log->is_discarded;
  if (!is_known || log->options.tenant != tenant) {
    facts->status = LOG_UNKNOWN;
    return;
  }
  if (!is_held(*log, position)) {
    facts->status = LOG_EXPIRED;
    return;
  }
  std::uint32_t index = 0;
  while (index < log->readers.size() && log->readers[index].is_used) index++;
  if (index == LOG_REMOTE_READERS_MAX) {
    facts->status = LOG_FULL;
    return;
  }
  if (log->references++ == 0) unlink_idle(*log);
  log->begin_storing();
  if (index == log->readers.size()) log->readers.emplace_back();
  log->readers[index] =
      RemoteReader{.position = position, .thread = thread, .token = token, .is_used = true};
  log->readers_live++;
  facts->size = index;
}

void LogTable::read(LogName name, std::uint32_t index, std::uint8_t* out, std::size_t size,
                    LogFacts* facts) {
  *facts = LogFacts{};
  std::unique_lock<std::mutex> lock;
  Log* const log = locked(name, lock);
  WARMPATH_CHECK(log != nullptr);  // A reader holds a reference.
  WARMPATH_CHECK(index < log->readers.size() && log->readers[index].is_used);
  RemoteReader& reader = log->readers[index];
  if (reader.is_cut) {
    facts->status = LOG_CUT;
    facts->end_code = reader.cut_reason;
    return;
  }
  copy_from(*log, reader.position, out, size, facts);
  reader.position += facts->size;
  if (reader.position == log->bytes) reader.is_told = false;
  const bool is_near = log->bytes - reader.position <= log->options.lag_bytes_max / 4;
  if (log->is_paused && !log->is_resume_told && is_near) {
    log->is_resume_told = true;
    (void)mail_post(log->options.owner_thread, MAIL_RESUME_UPSTREAM, name.slot, name.generation, 0);
  }
  log->settle();
}

void LogTable::detach(LogName name, std::uint32_t index) {
  std::unique_lock<std::mutex> lock;
  Log* const log = locked(name, lock);
  WARMPATH_CHECK(log != nullptr);
  WARMPATH_CHECK(index < log->readers.size() && log->readers[index].is_used);
  RemoteReader& reader = log->readers[index];
  if (reader.is_live()) log->readers_live--;
  reader = RemoteReader{};
  log->settle();
  if (!log->is_ended) {
    (void)mail_post(log->options.owner_thread, MAIL_CANCEL, name.slot, name.generation, 0);
  }
  drop_reference(*log, lock);
}

}  // namespace warmpath
