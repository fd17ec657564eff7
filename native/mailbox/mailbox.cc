// See mailbox.h.
#include "mailbox/mailbox.h"

#include <atomic>
#include <mutex>

#include "check.h"

namespace warmpath {

namespace {

static_assert((MAIL_ITEMS_MAX & (MAIL_ITEMS_MAX - 1)) == 0, "the ring is indexed by a mask");
static_assert(MAIL_THREADS_MAX == 1 << 8, "the index is the low 8 bits of a thread id");

struct Cell {
  std::atomic<std::uint32_t> sequence;
  Mail mail;
};

struct Mailbox {
  Cell cells[MAIL_ITEMS_MAX];
  alignas(64) std::atomic<std::uint32_t> tail{0};  // the next producer's ticket
  alignas(64) std::uint32_t head = 0;              // the consumer's, touched by it alone
  alignas(64) std::atomic<bool> is_woken{false};
  std::atomic<bool> has_lost{false};
  // Guards the wake function against the box being closed meanwhile; taken once per batch.
  std::mutex wake_mutex;
  MailWake wake = nullptr;
  void* context = nullptr;

  Mailbox() {
    for (std::uint32_t i = 0; i < MAIL_ITEMS_MAX; i++) {
      cells[i].sequence.store(i, std::memory_order_relaxed);
    }
  }
};

struct Place {
  std::atomic<Mailbox*> box{nullptr};  // made at the first use, never freed
  std::atomic<std::uint32_t> thread_id{MAIL_NO_THREAD};
  std::uint32_t generation = 0;  // under places_mutex
  bool is_open = false;          // under places_mutex
};

std::mutex places_mutex;
Place places[MAIL_THREADS_MAX];

Place& place_of(std::uint32_t thread_id) {
  return places[thread_id % MAIL_THREADS_MAX];
}

// Null when the thread has gone.
Mailbox* box_of(std::uint32_t thread_id) {
  Place& place = place_of(thread_id);
  if (place.thread_id.load(std::memory_order_acquire) != thread_id) return nullptr;
  return place.box.load(std::memory_order_acquire);
}

void wake_if_asleep(Mailbox& box) {
  if (box.is_woken.exchange(true)) return;
  const std::lock_guard<std::mutex> lock(box.wake_mutex);
  if (box.wake != nullptr) box.wake(box.context);
}

bool take(Mailbox& box, std::uint32_t* out) {
  Cell& cell = box.cells[box.head & (MAIL_ITEMS_MAX - 1)];
  if (cell.sequence.load(std::memory_order_acquire) != box.head + 1) return false;
  for (std::uint32_t i = 0; i < MAIL_WORDS; i++) out[i] = cell.mail.words[i];
  cell.sequence.store(box.head + MAIL_ITEMS_MAX, std::memory_order_release);
  box.head++;
  return true;
}

}  // namespace

std::uint32_t mail_open(MailWake wake, void* context) {
  WARMPATH_CHECK(wake != nullptr);
  const std::lock_guard<std::mutex> lock(places_mutex);
  for (std::uint32_t index = 0; index < MAIL_THREADS_MAX; index++) {
    Place& place = places[index];
    if (place.is_open) continue;
    if (place.box.load(std::memory_order_relaxed) == nullptr) {
      place.box.store(new Mailbox(), std::memory_order_release);
    }
    Mailbox& box = *place.box.load(std::memory_order_relaxed);
    // The predecessor's mail, and what a late producer slipped in after its close.
    std::uint32_t dropped[MAIL_WORDS];
    while (take(box, dropped)) continue;
    box.has_lost.store(false);
    {
      const std::lock_guard<std::mutex> wake_lock(box.wake_mutex);
      box.wake = wake;
      box.context = context;
    }
    box.is_woken.store(false);
    place.is_open = true;
    place.generation++;
    // 23 bits of generation: an id is never MAIL_NO_THREAD.
    const std::uint32_t id = index | (place.generation & 0x7fffff) << 8;
    place.thread_id.store(id, std::memory_order_release);
    return id;
  }
  return MAIL_NO_THREAD;
}

void mail_close(std::uint32_t thread_id) {
  const std::lock_guard<std::mutex> lock(places_mutex);
  Place& place = place_of(thread_id);
  WARMPATH_CHECK(place.is_open && place.thread_id.load() == thread_id);
  place.thread_id.store(MAIL_NO_THREAD, std::memory_order_release);
  place.is_open = false;
  Mailbox& box = *place.box.load(std::memory_order_relaxed);
  const std::lock_guard<std::mutex> wake_lock(box.wake_mutex);
  box.wake = nullptr;
  box.context = nullptr;
}

bool mail_post(std::uint32_t thread_id, std::uint32_t kind, std::uint32_t a, std::uint32_t b,
               std::uint32_t c) {
  Mailbox* const found = box_of(thread_id);
  if (found == nullptr) return false;
  Mailbox& box = *found;
  std::uint32_t ticket = box.tail.load(std::memory_order_relaxed);
  for (;;) {
    Cell& cell = box.cells[ticket & (MAIL_ITEMS_MAX - 1)];
    const std::uint32_t sequence = cell.sequence.load(std::memory_order_acquire);
    const auto ahead = static_cast<std::int32_t>(sequence - ticket);
    if (ahead == 0) {
      if (!box.tail.compare_exchange_weak(ticket, ticket + 1, std::memory_order_relaxed)) continue;
      cell.mail = {{kind, a, b, c}};
      cell.sequence.store(ticket + 1, std::memory_order_release);
      wake_if_asleep(box);
      return true;
    }
    if (ahead < 0) {  // The consumer has not emptied this cell yet: full.
      box.has_lost.store(true);
      wake_if_asleep(box);
      return false;
    }
    ticket = box.tail.load(std::memory_order_relaxed);
  }
}

std::uint32_t mail_drain(std::uint32_t thread_id, std::uint32_t* out, std::uint32_t mail_max) {
  WARMPATH_CHECK(out != nullptr && mail_max >= 2);
  Mailbox* const box = box_of(thread_id);
  if (box == nullptr) return 0;
  std::uint32_t count = 0;
  if (box->has_lost.exchange(false)) {
    const Mail lost = {{MAIL_LOST, 0, 0, 0}};
    for (std::uint32_t i = 0; i < MAIL_WORDS; i++) out[i] = lost.words[i];
    count = 1;
  }
  while (count < mail_max && take(*box, out + count * MAIL_WORDS)) count++;
  return count;
}

void mail_arm(std::uint32_t thread_id) {
  Mailbox* const box = box_of(thread_id);
  if (box != nullptr) box->is_woken.store(false);
}

}  // namespace warmpath
