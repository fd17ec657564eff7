// Slots, references, idle logs and ids. See log_table.h.
#include "response_log/log_table.h"

#include "response_log/log.h"

namespace warmpath {

namespace {

constexpr std::uint32_t NO_SLOT = UINT32_MAX;

}  // namespace

LogTable& log_table() {
  // Never destroyed: threads may still hold names while the process exits.
  static LogTable* const table = new LogTable();
  return *table;
}

Log* LogTable::slot_of(std::uint32_t slot) {
  if (slot >= LOGS_MAX) return nullptr;
  Log* const page = pages_[slot / PAGE_LOGS].load(std::memory_order_acquire);
  return page == nullptr ? nullptr : page + slot % PAGE_LOGS;
}

// The named log with its mutex held, or null.
Log* LogTable::locked(LogName name, std::unique_lock<std::mutex>& lock) {
  Log* const log = slot_of(name.slot);
  if (log == nullptr) return nullptr;
  lock = std::unique_lock<std::mutex>(log->mutex);
  if (log->is_open && log->name.generation == name.generation) return log;
  lock.unlock();
  return nullptr;
}

bool LogTable::take_slot(std::uint32_t* slot) {
  const std::lock_guard<std::mutex> lock(slots_mutex_);
  if (!free_slots_.empty()) {
    *slot = free_slots_.back();
    free_slots_.pop_back();
    return true;
  }
  if (slots_made_ == LOGS_MAX) return false;
  if (slots_made_ % PAGE_LOGS == 0) {
    Log* const page = new Log[PAGE_LOGS];
    for (std::uint32_t i = 0; i < PAGE_LOGS; i++) page[i].name = {slots_made_ + i, 1};
    pages_[slots_made_ / PAGE_LOGS].store(page, std::memory_order_release);
  }
  *slot = slots_made_++;
  return true;
}

bool LogTable::open(const LogOptions& options, LogName* name) {
  std::uint32_t slot = NO_SLOT;
  while (!take_slot(&slot)) {
    if (!evict_oldest()) return false;
  }
  Log& log = *slot_of(slot);
  const std::lock_guard<std::mutex> lock(log.mutex);
  WARMPATH_CHECK(!log.is_open && log.references == 0);
  log.options = options;
  log.is_open = true;
  log.is_ended = log.is_turned = log.is_discarded = false;
  log.is_paused = log.is_resume_told = log.is_stop_asked = false;
  log.retention_ms = LOG_RETAINED_FOR_EVER;
  log.expires_at_ms = UINT64_MAX;
  log.references = 1;
  log.bytes = 0;
  log.floor = LOG_NO_FLOOR;
  log.events_total = log.end_code = log.readers_live = log.id_count = 0;
  log.scanner.reset();
  log.stored.clear(0, 0);
  log.note.clear(0, 0);
  *name = log.name;
  alive_.fetch_add(1, std::memory_order_relaxed);
  return true;
}

bool LogTable::retain(LogName name) {
  std::unique_lock<std::mutex> lock;
  Log* const log = locked(name, lock);
  if (log == nullptr) return false;
  if (log->references++ == 0) unlink_idle(*log);
  return true;
}

void LogTable::release(LogName name) {
  std::unique_lock<std::mutex> lock;
  Log* const log = locked(name, lock);
  WARMPATH_CHECK(log != nullptr);
  drop_reference(*log, lock);
}

void LogTable::drop_reference(Log& log, std::unique_lock<std::mutex>& lock) {
  WARMPATH_CHECK(log.references > 0);
  if (--log.references > 0) return;
  log.readers.clear();
  const bool is_retained = log.retention_ms > 0;
  const bool may_come_back = log.is_ended && is_retained && (log.is_kept() || log.is_turned);
  if (!may_come_back || log.is_discarded || log.id_count == 0) {
    free_log(log, lock);
    return;
  }
  log.floor = LOG_NO_FLOOR;
  log.settle();
  link_idle(log);
  const std::uint32_t tenant = log.options.tenant;
  lock.unlock();
  while (Log* const victim = over_limit(tenant)) free_idle(*victim);
}

// Ends the log's name. Unlocks it.
void LogTable::free_log(Log& log, std::unique_lock<std::mutex>& lock) {
  WARMPATH_CHECK(log.is_open && log.references == 0);
  unlink_idle(log);
  while (log.id_count > 0) directory_.remove(log.ids[--log.id_count]);
  log.stored.clear(0, 0);
  log.note.clear(0, 0);
  log.readers = {};
  log.head = {};
  log.reason = {};
  log.is_open = false;
  // Generation 0 names nothing; after 2^32 logs in one slot a name may come again.
  if (++log.name.generation == 0) log.name.generation = 1;
  const std::uint32_t slot = log.name.slot;
  lock.unlock();
  alive_.fetch_sub(1, std::memory_order_relaxed);
  const std::lock_guard<std::mutex> slots_lock(slots_mutex_);
  free_slots_.push_back(slot);
}

void LogTable::discard(LogName name) {
  std::unique_lock<std::mutex> lock;
  Log* const log = locked(name, lock);
  if (log == nullptr) return;
  while (log->id_count > 0) directory_.remove(log->ids[--log->id_count]);
  log->is_discarded = true;
  if (log->references == 0) free_log(*log, lock);
}

bool LogTable::publish(LogName name, const std::uint8_t* id, std::size_t size) {
  std::unique_lock<std::mutex> lock;
  Log* const log = locked(name, lock);
  if (log == nullptr || log->is_discarded) return false;
  if (log->id_count == DIRECTORY_IDS_PER_LOG_MAX) return false;
  const DirectoryKey key = directory_.key_of(log->options.tenant, id, size);
  if (!directory_.add(key, name)) return false;
  log->ids[log->id_count++] = key;
  return true;
}

bool LogTable::find(std::uint32_t tenant, const std::uint8_t* id, std::size_t size, LogName* name) {
  return directory_.find(directory_.key_of(tenant, id, size), name);
}

bool LogTable::is_gone(std::uint32_t tenant, const std::uint8_t* id, std::size_t size) const {
  return gone_ids_.has(directory_.key_of(tenant, id, size));
}

void LogTable::totals(double* out) {
  out[0] = alive_.load(std::memory_order_relaxed);
  {
    const std::lock_guard<std::mutex> lock(idle_mutex_);
    out[1] = idle_.count;
  }
  out[2] = directory_.count();
  out[3] = static_cast<double>(store_budget().held());
}

}  // namespace warmpath
