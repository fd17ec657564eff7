// Stress of response logs, directory, load table and mailboxes: the pure C++ part, many threads,
// under a sanitizer (build_and_run.sh).
//
//   OWNERS threads   open, publish, append, lag, turn, end, discard, doom logs; obey pause, resume
//                    and stop
//   READERS threads  find a log by id, attach, wait for mail, read, check every byte, leave; ask
//   for
//                    its end, expire idle logs
//   one loser        posts to mailboxes that are closed and opened again
//
// The byte at each position of a log follows from the log's number, so a reader can check what it
// reads without sharing anything. A wait that nobody ends within WAIT_SECONDS_MAX is a lost wake
// and ends the program. In the end everything must be at rest: no leases, no logs, no bytes.
//
// Usage: log_stress SECONDS SEED
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "load_table/load_table.h"
#include "mailbox/mailbox.h"
#include "response_log/log_table.h"
#include "stress/stress.h"

namespace warmpath {

namespace {

constexpr std::uint32_t OWNERS = 2;
constexpr std::uint32_t READERS = 4;
constexpr std::uint32_t IDS = 16;  // per owner, used again and again
// Small enough that readers are cut, logs turn, and the budget evicts, all the time.
constexpr std::uint64_t LAG_BYTES_MAX = 20'000;
// Bytes of one kept log.
constexpr std::uint64_t KEPT_BYTES_MAX = 60'000;
constexpr std::uint64_t BUDGET_BYTES = 600'000;
constexpr std::uint32_t TENANT = 5;

std::atomic<bool> is_over{false};
std::atomic<std::uint64_t> bytes_read{0};
std::atomic<std::uint64_t> reads_to_end{0};
std::atomic<std::uint64_t> cuts{0};
std::atomic<std::uint64_t> pauses{0};
std::atomic<std::uint64_t> logs_opened{0};
std::atomic<std::uint64_t> stops{0};

// Lines of "data: ..." would do no more for the log than any letters with line feeds among them.
std::uint8_t byte_at(std::uint32_t log, std::uint64_t position) {
  const std::uint64_t mixed = (position * 2654435761u) ^ (log * 40503u) ^ (position >> 7);
  return mixed % 5 == 0 ? '\n' : static_cast<std::uint8_t>('a' + mixed % 26);
}

// A thread's mailbox, and its wait for mail.
class Inbox {
 public:
  Inbox() : id_(mail_open(wake, this)) { WARMPATH_CHECK(id_ != MAIL_NO_THREAD); }
  ~Inbox() { mail_close(id_); }
  std::uint32_t id() const { return id_; }

  // Waits for mail; a wait without end is a wake that was lost.
  void wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    const bool is_woken = condition_.wait_for(lock, std::chrono::seconds(WAIT_SECONDS_MAX),
                                              [this] { return has_mail_; });
    WARMPATH_CHECK(is_woken);
    has_mail_ = false;
    lock.unlock();
    mail_arm(id_);
    std::uint32_t words[64 * MAIL_WORDS];
    while (mail_drain(id_, words, 64) > 0) continue;
  }

 private:
  static void wake(void* context) {
    auto& inbox = *static_cast<Inbox*>(context);
    const std::lock_guard<std::mutex> lock(inbox.mutex_);
    inbox.has_mail_ = true;
    inbox.condition_.notify_one();
  }

  std::mutex mutex_;
  std::condition_variable condition_;
  bool has_mail_ = false;
  std::uint32_t id_;
};

std::string id_of(std::uint32_t owner, std::uint32_t number) {
  return "log-" + std::to_string(owner) + "-" + std::to_string(number);
}

const std::uint8_t* bytes_of(const std::string& text) {
  return reinterpret_cast<const std::uint8_t*>(text.data());
}

void with_lease(Random& random) {
  const std::uint32_t slot = random(3);
  const auto tokens = static_cast<std::int32_t>(random(1000));
  if (!load_table().acquire(slot, tokens, 5, 3)) return;
  double words[3 * LOAD_WORDS];
  load_table().read(words, 3);
  WARMPATH_CHECK(words[slot * LOAD_WORDS] >= 1 && words[slot * LOAD_WORDS] <= 3);
  const bool has_token = random(2) == 0;
  if (has_token) load_table().first_token(slot, tokens);
  load_table().release(slot, has_token ? 0 : tokens, 5);
}

// Pauses as an owner does, until a reader has caught up or left.
void obey(LogName name, Inbox& inbox, LogFacts& facts) {
  LogTable& logs = log_table();
  while (facts.remote_live > 0 && facts.remote_lagging >= facts.remote_live) {
    if (logs.set_paused(name, true) > 0) break;
    pauses.fetch_add(1, std::memory_order_relaxed);
    inbox.wait();
    WARMPATH_CHECK(logs.stat(name, &facts));
  }
  logs.set_paused(name, false);
}

void own_one(std::uint32_t owner, std::uint32_t number, Inbox& inbox, Random& random) {
  LogTable& logs = log_table();
  LogName name;
  LogOptions options = {random(4) == 0 ? LogKind::json : LogKind::sse,
                        random(2) == 0 ? LogMode::kept : LogMode::window,
                        TENANT,
                        inbox.id(),
                        KEPT_BYTES_MAX,
                        LAG_BYTES_MAX};
  WARMPATH_CHECK(logs.open(options, &name));
  if (random(2) == 0) logs.set_retention(name, random(4));
  logs_opened.fetch_add(1, std::memory_order_relaxed);
  // The log's number is the first thing in its head, for the readers' check.
  std::uint8_t head[4];
  std::memcpy(head, &number, sizeof(number));
  logs.set_head(name, head, sizeof(head));
  std::uint8_t note[300];
  std::memset(note, static_cast<int>(number % 251), sizeof(note));
  (void)logs.set_note(name, note, sizeof(note));
  const std::string id = id_of(owner, number % IDS);
  LogName old;
  if (logs.find(TENANT, bytes_of(id), id.size(), &old)) logs.discard(old);
  WARMPATH_CHECK(logs.publish(name, bytes_of(id), id.size()));
  std::uint64_t position = 0;
  std::uint64_t floor = LOG_NO_FLOOR;
  std::uint8_t chunk[3000];
  LogFacts facts;
  bool is_doomed = false;
  const std::uint32_t appends = random(120);
  for (std::uint32_t i = 0; i < appends; i++) {
    const std::uint32_t size = random(10) == 0 ? random(3000) : random(300);
    for (std::uint32_t at = 0; at < size; at++) chunk[at] = byte_at(number, position + at);
    logs.append(name, chunk, size, &facts);
    position += size;
    if ((facts.status & LOG_CUT) != 0) floor = LOG_NO_FLOOR;
    if (random(8) == 0) {
      floor = floor == LOG_NO_FLOOR ? position : LOG_NO_FLOOR;
      logs.set_floor(name, floor);
    }
    if (random(100) == 0) logs.turn_to_window(name);
    // Somebody wants the work to end: the owner sees it at its next look.
    if (random(10) == 0) WARMPATH_CHECK(logs.stat(name, &facts));
    if ((facts.status & LOG_STOP_ASKED) != 0) {
      stops.fetch_add(1, std::memory_order_relaxed);
      break;
    }
    if (random(400) == 0 && logs.doom_if_unread(name)) {
      is_doomed = true;
      break;
    }
    if (random(20) == 0) std::this_thread::yield();
    if (random(20) == 0) obey(name, inbox, facts);  // Else it runs ahead, so that some are cut.
    with_lease(random);
  }
  logs.end(name, 1, bytes_of(id), id.size(), &facts);
  if (is_doomed) {
    // Nobody may have come after that.
    WARMPATH_CHECK(logs.stat(name, &facts) && facts.remote_live == 0);
  }
  if (random(5) == 0) logs.discard(name);
  logs.release(name);
}

void own(std::uint32_t owner, std::uint64_t seed) {
  Random random{seed};
  Inbox inbox;
  for (std::uint32_t number = owner; !is_over.load(); number += OWNERS) {
    own_one(owner, number, inbox, random);
  }
}

void check_piece(std::uint32_t number, std::uint64_t position, const std::uint8_t* bytes,
                 const LogFacts& facts) {
  for (std::uint32_t at = 0; at < facts.size; at++) {
    WARMPATH_CHECK(bytes[at] == byte_at(number, position + at));
  }
  WARMPATH_CHECK(facts.whole_end <= facts.size);
  bytes_read.fetch_add(facts.size, std::memory_order_relaxed);
}

void read_one(Inbox& inbox, Random& random) {
  LogTable& logs = log_table();
  const std::string id = id_of(random(OWNERS), random(IDS));
  LogName name;
  LogFacts facts;
  if (!logs.find(TENANT, bytes_of(id), id.size(), &name)) {
    WARMPATH_CHECK(!logs.is_gone(TENANT + 1, bytes_of(id), id.size()));
    (void)logs.is_gone(TENANT, bytes_of(id), id.size());
    return;
  }
  WARMPATH_CHECK(!logs.find(TENANT + 1, bytes_of(id), id.size(), &name));
  std::uint64_t position = 0;
  if (random(2) == 0) {
    if (!logs.stat(name, &facts)) return;
    if (!logs.position_after(name, random(facts.events_total + 1), &position)) return;
  }
  if (random(8) == 0) {
    if (!logs.retain(name)) return;
    std::uint8_t some[100];
    logs.read_at(name, position, some, sizeof(some), &facts);
    WARMPATH_CHECK((facts.status & LOG_UNKNOWN) == 0);
    logs.release(name);
  }
  if (random(64) == 0) (void)logs.stop(name, TENANT + random(2));
  if (random(64) == 0) (void)logs.expire(random(3));
  logs.attach(name, TENANT, inbox.id(), 1, position, &facts);
  if (facts.status != 0) return;
  const std::uint32_t reader = facts.size;
  std::uint8_t head[4];
  WARMPATH_CHECK(logs.head(name, head, sizeof(head)) == sizeof(head));
  std::uint32_t number = 0;
  std::memcpy(&number, head, sizeof(number));
  std::uint8_t buffer[5000];
  const std::size_t noted = logs.read_note(name, 0, buffer, sizeof(buffer));
  for (std::size_t at = 0; at < noted; at++) WARMPATH_CHECK(buffer[at] == number % 251);
  for (;;) {
    logs.read(name, reader, buffer, 1 + random(sizeof(buffer)), &facts);
    if ((facts.status & LOG_CUT) != 0) {
      cuts.fetch_add(1, std::memory_order_relaxed);
      break;
    }
    check_piece(number, position, buffer, facts);
    position += facts.size;
    if ((facts.status & LOG_ENDED) != 0) {
      reads_to_end.fetch_add(1, std::memory_order_relaxed);
      break;
    }
    if (random(60) == 0) break;  // The client has gone.
    if ((facts.status & LOG_MORE) == 0) inbox.wait();
    with_lease(random);
  }
  logs.detach(name, reader);
}

void read(std::uint64_t seed) {
  Random random{seed};
  Inbox inbox;
  while (!is_over.load()) read_one(inbox, random);
}

// Opens and closes a mailbox while others post to it, by its present and its former names.
void lose(std::uint64_t seed) {
  Random random{seed};
  std::atomic<std::uint32_t> current{MAIL_NO_THREAD};
  std::atomic<bool> is_done{false};
  std::thread poster([&current, &is_done] {
    while (!is_done.load()) {
      for (int i = 0; i < 50; i++) (void)mail_post(current.load(), 9, 1, 2, 3);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  while (!is_over.load()) {
    Inbox inbox;
    current.store(inbox.id());
    const std::uint32_t waits = random(4);
    for (std::uint32_t i = 0; i < waits && !is_over.load(); i++) inbox.wait();
  }
  is_done.store(true);
  poster.join();
}

int run(double seconds, std::uint64_t seed) {
  store_budget().set_max(BUDGET_BYTES);
  log_table().set_shelf({.items_max = 20, .tenant_items_max = 12, .tenant_bytes_max = 300'000});
  std::vector<std::thread> threads;
  for (std::uint32_t i = 0; i < OWNERS; i++) threads.emplace_back(own, i, seed + i);
  for (std::uint32_t i = 0; i < READERS; i++) threads.emplace_back(read, seed + 100 + i);
  threads.emplace_back(lose, seed + 200);
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  is_over.store(true);
  for (std::thread& thread : threads) thread.join();
  for (std::uint32_t owner = 0; owner < OWNERS; owner++) {
    for (std::uint32_t number = 0; number < IDS; number++) {
      const std::string id = id_of(owner, number);
      LogName name;
      if (log_table().find(TENANT, bytes_of(id), id.size(), &name)) log_table().discard(name);
    }
  }
  double totals[4];
  log_table().totals(totals);
  for (const double total : totals) WARMPATH_CHECK(total == 0);
  WARMPATH_CHECK(load_table().drain_check() == 0);
  std::printf("%llu logs, %llu MB read, %llu read to the end, %llu cut, %llu pauses, %llu stops\n",
              static_cast<unsigned long long>(logs_opened.load()),
              static_cast<unsigned long long>(bytes_read.load() >> 20),
              static_cast<unsigned long long>(reads_to_end.load()),
              static_cast<unsigned long long>(cuts.load()),
              static_cast<unsigned long long>(pauses.load()),
              static_cast<unsigned long long>(stops.load()));
  WARMPATH_CHECK(reads_to_end.load() > 0 && stops.load() > 0);
  return 0;
}

}  // namespace

}  // namespace warmpath

int main(int count, char** words) {
  const double seconds = count > 1 ? std::atof(words[1]) : 2;
  const std::uint64_t seed = count > 2 ? std::strtoull(words[2], nullptr, 10) : 1;
  return warmpath::run(seconds, seed);
}
