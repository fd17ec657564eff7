#include "model_cache/events.h"

#include <algorithm>
#include <mutex>
#include <vector>

#include "check.h"

namespace warmpath::model_cache {

namespace {

struct Queue {
  std::mutex mutex;
  std::vector<Event> records;
  std::size_t taken = 0;
  EventWake wake = nullptr;
  void* context = nullptr;
  bool is_woken = false;
};

// Never destroyed: threads may push while the process ends.
Queue& queue() {
  static Queue* one = new Queue;
  return *one;
}

}  // namespace

void events_on_wake(EventWake wake, void* context) {
  Queue& q = queue();
  const std::lock_guard lock(q.mutex);
  q.wake = wake;
  q.context = context;
  q.is_woken = false;
}

void events_push(const Event& event) {
  Queue& q = queue();
  const std::lock_guard lock(q.mutex);
  q.records.push_back(event);
  if (q.is_woken || q.wake == nullptr) return;
  q.is_woken = true;
  q.wake(q.context);
}

std::uint32_t events_drain(Event* out, std::uint32_t count_max) {
  WARMPATH_CHECK(count_max > 0);
  Queue& q = queue();
  const std::lock_guard lock(q.mutex);
  const std::size_t count = std::min<std::size_t>(count_max, q.records.size() - q.taken);
  std::copy_n(q.records.begin() + static_cast<std::ptrdiff_t>(q.taken), count, out);
  q.taken += count;
  if (q.taken == q.records.size()) {
    q.records.clear();
    q.taken = 0;
  }
  if (count < count_max) q.is_woken = false;
  return static_cast<std::uint32_t>(count);
}

}  // namespace warmpath::model_cache
