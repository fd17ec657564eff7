// Requests that wait, their end by answer, interrupt or time, and the notices to the kernel.
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "check.h"
#include "model_cache/events.h"
#include "model_cache/session.h"
#include "model_cache/whole_io.h"

namespace warmpath::model_cache {

namespace {

constexpr std::chrono::milliseconds TIMER_STEP{100};
// After a check that came too late the old answer is good for this long.
constexpr std::int64_t LATE_CHECK_GRACE_MS = 1000;

// A request that is answered again and held again keeps its deadline.
thread_local std::int64_t deadline_kept_ms = 0;

// A resent request is the same one.
std::uint64_t key_of(std::uint64_t unique) {
  return unique & ~fuse::UNIQUE_RESENT;
}

}  // namespace

bool Session::must_check(std::uint32_t id, std::int64_t grace_ms) {
  const std::int64_t age_ms = now_ms() - files_[id].checked_at_ms;
  return age_ms > std::max(options_.revalidate_ms, grace_ms);
}

bool Session::is_answered_again() { return deadline_kept_ms != 0; }

void Session::want(std::uint32_t kind, std::uint32_t id) {
  Event event{};
  event.kind = kind;
  event.token = options_.id;
  event.a = id;
  events_push(event);
}

void Session::hold(Lock& lock, const Request& request, std::uint32_t id, bool is_check) {
  WARMPATH_CHECK(lock.owns_lock());
  if (held_.size() >= HELD_MAX) {
    lock.unlock();
    (void)reply(request.head->unique, -EAGAIN);
    return;
  }
  const std::int64_t fresh_ms = now_ms() + (is_check ? CHECK_MS_MAX : options_.open_ms_max);
  const bool is_kept = !is_check && deadline_kept_ms != 0;
  held_[key_of(request.head->unique)] =
      Held{.bytes = {request.bytes, request.bytes + request.head->length},
           .file = id,
           .is_check = is_check,
           .deadline_ms = is_kept ? deadline_kept_ms : fresh_ms};
  counts_.held_total++;
  if (held_.size() == 1) held_changed_.notify_one();
  File& file = files_[id];
  bool& is_wanted = is_check ? file.is_check_wanted : file.is_open_wanted;
  const bool is_first = !is_wanted;
  is_wanted = true;
  lock.unlock();
  if (is_first) want(is_check ? EVENT_CHECK_WANTED : EVENT_OPEN_WANTED, id);
}

void Session::interrupt(const Request& request) {
  WARMPATH_CHECK(request.body_bytes >= sizeof(fuse::InterruptIn));
  fuse::InterruptIn in;
  std::memcpy(&in, request.body, sizeof in);
  Lock lock(mutex_);
  const bool was_held = held_.erase(key_of(in.unique)) != 0;
  lock.unlock();
  if (was_held) {
    (void)reply(in.unique, -EINTR);
  } else {
    // Being answered right now, or not read yet: the kernel asks again.
    (void)reply(request.head->unique, -EAGAIN);
  }
}

// Answers again what waits for this file, or everything (NO_FILE).
void Session::answer_held(std::uint32_t id) {
  std::vector<Held> ready;
  {
    const Lock lock(mutex_);
    for (auto at = held_.begin(); at != held_.end();) {
      if (id != NO_FILE && at->second.file != id) {
        ++at;
        continue;
      }
      ready.push_back(std::move(at->second));
      at = held_.erase(at);
    }
  }
  for (const Held& one : ready) {
    deadline_kept_ms = one.is_check ? 0 : one.deadline_ms;
    answer(one.bytes.data(), one.bytes.size());
  }
  deadline_kept_ms = 0;
}

void Session::confirm(std::uint32_t id) {
  {
    const Lock lock(mutex_);
    WARMPATH_CHECK(id < files_.size());
    files_[id].checked_at_ms = now_ms();
    files_[id].is_check_wanted = false;
  }
  answer_held(id);
}

void Session::extend(std::uint32_t id) {
  const Lock lock(mutex_);
  WARMPATH_CHECK(id < files_.size());
  const std::int64_t deadline_ms = now_ms() + options_.open_ms_max;
  for (auto& [unique, held] : held_) {
    if (held.file == id && !held.is_check) held.deadline_ms = deadline_ms;
  }
}

void Session::fail(std::uint32_t id, int error) {
  WARMPATH_CHECK(error < 0);
  std::vector<std::uint64_t> uniques;
  {
    const Lock lock(mutex_);
    WARMPATH_CHECK(id < files_.size());
    files_[id].is_open_wanted = false;
    for (auto at = held_.begin(); at != held_.end();) {
      if (at->second.file != id || at->second.is_check) {
        ++at;
        continue;
      }
      fuse::InHeader head;
      std::memcpy(&head, at->second.bytes.data(), sizeof head);
      uniques.push_back(head.unique);
      at = held_.erase(at);
    }
  }
  for (const std::uint64_t unique : uniques) (void)reply(unique, error);
}

// Ends what waited too long: an open with EIO, a check with the answer of before.
void Session::run_timer() {
  block_signals();
  for (;;) {
    std::vector<Held> late;
    {
      Lock lock(mutex_);
      held_changed_.wait(lock, [this] { return !held_.empty() || has_ended_; });
      if (has_ended_) return;
      (void)held_changed_.wait_for(lock, TIMER_STEP, [this] { return has_ended_; });
      const std::int64_t now = now_ms();
      for (auto at = held_.begin(); at != held_.end();) {
        if (at->second.deadline_ms > now) {
          ++at;
          continue;
        }
        late.push_back(std::move(at->second));
        at = held_.erase(at);
      }
      for (const Held& one : late) {
        File& file = files_[one.file];
        if (!one.is_check) {
          // Whoever opens next asks again.
          file.is_open_wanted = false;
          continue;
        }
        counts_.checks_late++;
        file.is_check_wanted = false;
        file.checked_at_ms = now - options_.revalidate_ms + LATE_CHECK_GRACE_MS;
      }
    }
    for (const Held& one : late) {
      fuse::InHeader head;
      std::memcpy(&head, one.bytes.data(), sizeof head);
      if (one.is_check) {
        answer(one.bytes.data(), one.bytes.size());
      } else {
        (void)reply(head.unique, -EIO);
      }
    }
  }
}

void Session::run_notifier() {
  block_signals();
  for (;;) {
    Notice notice;
    {
      Lock lock(mutex_);
      notices_changed_.wait(lock, [this] { return !notices_.empty() || has_ended_; });
      if (has_ended_) return;
      notice = std::move(notices_.front());
      notices_.pop_front();
    }
    const fuse::InvalidateEntry body{notice.parent, static_cast<std::uint32_t>(notice.name.size()),
                                     0};
    const iovec parts[] = {{const_cast<fuse::InvalidateEntry*>(&body), sizeof body},
                           {notice.name.data(), notice.name.size() + 1}};
    fuse::OutHeader head{sizeof head, fuse::NOTIFY_INVAL_ENTRY, 0};
    head.length += static_cast<std::uint32_t>(parts[0].iov_len + parts[1].iov_len);
    const iovec all[] = {{&head, sizeof head}, parts[0], parts[1]};
    // ENOENT: the kernel does not know the name, which is as well.
    (void)!writev(options_.fuse, all, 3);
  }
}

}  // namespace warmpath::model_cache
