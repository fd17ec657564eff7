// Idle logs: finished, unread, waiting for clients to come back. See log_table.h.
//
// The idle mutex guards the lists and the links; what it reads of a log beside them (its size, its
// expiry, its tenant) was written before the log was linked and does not change while it is.
#include <chrono>

#include "response_log/log.h"

namespace warmpath {

namespace {

constexpr std::uint32_t NO_SLOT = UINT32_MAX;
// Which of a log's links.
constexpr std::uint32_t OF_ALL = 0;
constexpr std::uint32_t OF_TENANT = 1;
// Logs found per look at the list, so that the idle mutex is not held long.
constexpr std::uint32_t EXPIRED_AT_ONCE_MAX = 64;

}  // namespace

std::uint64_t log_clock_ms() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
}

void LogTable::add_to(IdleList& list, Log& log, std::uint32_t which) {
  log.idle_links[which] = {list.newest, NO_SLOT};
  if (list.newest != NO_SLOT) slot_of(list.newest)->idle_links[which].newer = log.name.slot;
  if (list.oldest == NO_SLOT) list.oldest = log.name.slot;
  list.newest = log.name.slot;
  list.count++;
  list.bytes += log.idle_bytes;
}

void LogTable::take_from(IdleList& list, Log& log, std::uint32_t which) {
  WARMPATH_CHECK(list.count > 0 && list.bytes >= log.idle_bytes);
  const IdleLinks links = log.idle_links[which];
  if (links.older == NO_SLOT) {
    list.oldest = links.newer;
  } else {
    slot_of(links.older)->idle_links[which].newer = links.newer;
  }
  if (links.newer == NO_SLOT) {
    list.newest = links.older;
  } else {
    slot_of(links.newer)->idle_links[which].older = links.older;
  }
  list.count--;
  list.bytes -= log.idle_bytes;
}

void LogTable::link_idle(Log& log) {
  const std::lock_guard<std::mutex> lock(idle_mutex_);
  WARMPATH_CHECK(!log.is_idle);
  log.is_idle = true;
  log.idle_bytes = log.stored_bytes();
  add_to(idle_, log, OF_ALL);
  add_to(idle_of_[log.options.tenant], log, OF_TENANT);
}

void LogTable::unlink_idle(Log& log) {
  const std::lock_guard<std::mutex> lock(idle_mutex_);
  if (log.is_idle) unlink_locked(log);
}

void LogTable::unlink_locked(Log& log) {
  WARMPATH_CHECK(log.is_idle);
  log.is_idle = false;
  take_from(idle_, log, OF_ALL);
  const auto of_tenant = idle_of_.find(log.options.tenant);
  WARMPATH_CHECK(of_tenant != idle_of_.end());
  take_from(of_tenant->second, log, OF_TENANT);
  if (of_tenant->second.count == 0) idle_of_.erase(of_tenant);
}

// Frees a log that has just been taken off the lists.
void LogTable::free_idle(Log& log) {
  std::unique_lock<std::mutex> lock(log.mutex);
  // Between the two locks somebody may have come back to it, or it may be another log by now: then
  // it is in use, or it is idle anew and as good a victim as any.
  if (!log.is_open || log.references > 0) return;
  for (std::uint32_t i = 0; i < log.id_count; i++) gone_ids_.add(log.ids[i]);
  free_log(log, lock);
}

// The log that must go because its tenant, or all together, hold too much; null: nobody does.
Log* LogTable::over_limit(std::uint32_t tenant) {
  const std::lock_guard<std::mutex> lock(idle_mutex_);
  std::uint32_t slot = NO_SLOT;
  const auto found = idle_of_.find(tenant);
  if (found != idle_of_.end()) {
    const IdleList& own = found->second;
    const bool is_over = own.count > shelf_.tenant_items_max || own.bytes > shelf_.tenant_bytes_max;
    if (is_over) slot = own.oldest;
  }
  if (slot == NO_SLOT && idle_.count > shelf_.items_max) slot = idle_.oldest;
  if (slot == NO_SLOT) return nullptr;
  Log* const victim = slot_of(slot);
  unlink_locked(*victim);
  return victim;
}

// Frees the log that has been idle longest; false when none is idle. No log's mutex may be held.
bool LogTable::evict_oldest() {
  Log* victim = nullptr;
  {
    const std::lock_guard<std::mutex> lock(idle_mutex_);
    if (idle_.oldest == NO_SLOT) return false;
    victim = slot_of(idle_.oldest);
    unlink_locked(*victim);
  }
  free_idle(*victim);
  return true;
}

void LogTable::set_shelf(const ShelfLimits& limits) {
  const std::lock_guard<std::mutex> lock(idle_mutex_);
  shelf_ = limits;
}

std::uint32_t LogTable::expire(std::uint64_t ahead_ms) {
  const std::uint64_t until_ms = log_clock_ms() + ahead_ms;
  std::uint32_t freed = 0;
  for (;;) {
    Log* expired[EXPIRED_AT_ONCE_MAX];
    std::uint32_t count = 0;
    {
      const std::lock_guard<std::mutex> lock(idle_mutex_);
      std::uint32_t slot = idle_.oldest;
      while (slot != NO_SLOT && count < EXPIRED_AT_ONCE_MAX) {
        Log& log = *slot_of(slot);
        slot = log.idle_links[OF_ALL].newer;
        if (log.expires_at_ms > until_ms) continue;
        unlink_locked(log);
        expired[count++] = &log;
      }
    }
    for (std::uint32_t i = 0; i < count; i++) free_idle(*expired[i]);
    freed += count;
    if (count < EXPIRED_AT_ONCE_MAX) return freed;
  }
}

}  // namespace warmpath
