// What native threads tell the daemon's JavaScript: one queue of 64-byte records.
//
//   copy threads \                                      JavaScript, woken once a batch
//   FUSE threads  >-- push() --> [rec][rec][rec] -- drain() --> promise or callback
//   transfer     /        `-- the first of a batch wakes
//
// A record either answers a call (its token) or says that something is wanted. The queue has no
// limit of its own: answers are bounded by the calls in flight (CHUNK_JOBS_MAX and
// PEER_FETCHES_MAX), wants by one per file or chunk until it is answered.
//
// It is a vector behind a mutex and not a lock-free ring: it carries some thousand records a
// second (one per 4 MiB, one per cold open), never one per read of a resident file.
#pragma once

#include <cstdint>

namespace warmpath::model_cache {

// The same numbers as in src/native/model_cache_addon.ts.
enum EventKind : std::uint32_t {
  EVENT_COPIED = 1,
  EVENT_FETCHED = 2,
  EVENT_CHUNK_WANTED = 3,
  EVENT_OPEN_WANTED = 4,
  EVENT_CHECK_WANTED = 5,
  EVENT_MOUNT_READY = 6,
  EVENT_MOUNT_ENDED = 7,
};

struct Event {
  std::uint32_t kind;
  std::uint32_t token;
  std::int32_t error;
  std::uint32_t status;
  std::uint64_t a;
  std::uint64_t b;
  std::uint8_t bytes[32];
};
static_assert(sizeof(Event) == 64);

using EventWake = void (*)(void* context);

// From the thread that drains; nullptr stops waking.
void events_on_wake(EventWake wake, void* context);
// From any thread.
void events_push(const Event& event);
// Takes up to `count_max` records; returns how many. A caller that got fewer than it asked for
// is woken again by the next push.
std::uint32_t events_drain(Event* out, std::uint32_t count_max);

}  // namespace warmpath::model_cache
