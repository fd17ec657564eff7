// Life of a session: INIT or take-over, the loop of a thread, and the writing of replies.
#include "model_cache/session.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>
#include <thread>

#include "check.h"
#include "model_cache/events.h"
#include "model_cache/whole_io.h"

namespace warmpath::model_cache {

namespace {

// A request is at most a header, a struct and two names; the kernel wants room for this much.
constexpr std::size_t REQUEST_BYTES = 16384;
// INIT is queued by the act of mounting; a kernel that takes longer is broken.
constexpr int INIT_WAIT_MS = 5000;
constexpr std::uint32_t READ_BYTES = 1 << 20;
constexpr std::uint32_t PAGE_BYTES = 4096;
// A lone thread waits awake so long for the next request (ns): an open and close by one reader is
// two requests some 10 µs apart, and to wake a thread costs as much as both answers.
constexpr std::int64_t AWAKE_NS = 50'000;

constexpr std::uint64_t WANTED_FLAGS =
    fuse::ASYNC_READ | fuse::DO_READDIRPLUS | fuse::READDIRPLUS_AUTO | fuse::PARALLEL_DIROPS |
    fuse::ABORT_ERROR | fuse::MAX_PAGES | fuse::INIT_EXT | fuse::DIRECT_IO_ALLOW_MMAP;

fuse::InitOut init_answer(std::uint64_t flags) {
  fuse::InitOut out{};
  out.major = fuse::KERNEL_MAJOR;
  out.minor = fuse::KERNEL_MINOR;
  out.read_ahead_bytes = READ_BYTES;
  out.flags = static_cast<std::uint32_t>(flags);
  out.flags2 = static_cast<std::uint32_t>(flags >> 32);
  out.background = 64;
  out.congestion = 48;
  out.write_bytes = PAGE_BYTES;
  out.time_granularity = 1;
  out.pages = READ_BYTES / PAGE_BYTES;
  out.stack_depth = (flags & fuse::PASSTHROUGH) != 0 ? 1 : 0;
  return out;
}

std::int64_t now_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

std::int64_t now_ms() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1'000'000;
}

Backing::~Backing() {
  if (bytes != nullptr) munmap(const_cast<std::uint8_t*>(bytes), size);
  if (file >= 0) close(file);
}

int Session::open(const SessionOptions& options, SessionFacts* facts) {
  options_ = options;
  // A lease that is broken while we probe must not end the process.
  (void)signal(SIGIO, SIG_IGN);
  if (const int error = table_.open(options.store); error < 0) return error;
  HandOverHeader& header = table_.header();
  epoch_bits_ = std::uint64_t{header.epoch & 0xffff} << 48;
  *facts = SessionFacts{};
  if (header.is_negotiated != 0) {
    facts->is_taken_over = true;
    facts->reason = ModeReason::TAKEN_OVER;
  } else if (const int error = negotiate(facts); error < 0) {
    return error;
  }
  is_passthrough_ = header.has_passthrough != 0;
  facts->is_passthrough = is_passthrough_;
  for (std::uint32_t i = 0; i < table_.count(); i++) {
    if (table_.at(i).is_replaced == 0) record_of_key_[table_.at(i).key] = i;
  }
  file_of_record_.assign(table_.count(), NO_FILE);
  tree_ = std::make_shared<const Tree>(std::vector<TreeChild>{});
  return 0;
}

// The first request on a new mount is INIT; the kernel queued it while mounting.
int Session::negotiate(SessionFacts* facts) {
  pollfd ready{.fd = options_.fuse, .events = POLLIN, .revents = 0};
  if (poll(&ready, 1, INIT_WAIT_MS) != 1) return -ETIMEDOUT;
  alignas(8) std::uint8_t bytes[REQUEST_BYTES];
  const ssize_t got = read(options_.fuse, bytes, sizeof bytes);
  if (got < 0) return -errno;
  fuse::InHeader head;
  fuse::InitIn in{};
  std::memcpy(&head, bytes, sizeof head);
  if (head.opcode != fuse::INIT || head.length < sizeof head + 16) return -EPROTO;
  std::memcpy(&in, bytes + sizeof head, std::min(sizeof in, head.length - sizeof head));
  if (in.major != fuse::KERNEL_MAJOR || in.minor < 31) return -EPROTONOSUPPORT;
  const std::uint64_t offered = in.flags | std::uint64_t{in.flags2} << 32;
  std::uint64_t flags = offered & WANTED_FLAGS;
  if (options_.wants_passthrough) flags |= offered & fuse::PASSTHROUGH;
  const fuse::InitOut out = init_answer(flags);
  if (const int error = reply(head.unique, 0, &out, sizeof out); error < 0) return error;
  HandOverHeader& header = table_.header();
  header.has_resend = (offered & fuse::HAS_RESEND) != 0 ? 1 : 0;
  facts->reason = ModeReason::PASSTHROUGH_WORKS;
  if (!options_.wants_passthrough) {
    facts->reason = ModeReason::COPY_ASKED;
  } else if ((offered & fuse::PASSTHROUGH) == 0) {
    facts->reason = ModeReason::KERNEL_LACKS_IT;
  } else if (facts->error = try_passthrough(); facts->error < 0) {
    facts->reason = ModeReason::REFUSED;
  }
  header.has_passthrough = facts->reason == ModeReason::PASSTHROUGH_WORKS ? 1 : 0;
  header.is_negotiated = 1;
  return 0;
}

// The bit of INIT says what the kernel can do, not what we may: registers the table itself.
int Session::try_passthrough() {
  const int file = openat(options_.store, HAND_OVER_NAME, O_RDONLY | O_CLOEXEC);
  if (file < 0) return -errno;
  const int backing_id = open_backing(file);
  close(file);
  if (backing_id < 0) return backing_id;
  (void)ioctl(options_.fuse, fuse::BACKING_CLOSE, &backing_id);
  return 0;
}

void Session::serve(std::uint32_t threads) {
  WARMPATH_CHECK(threads > 0 && threads <= FUSE_THREADS_MAX);
  const bool is_alone = threads == 1 && std::thread::hardware_concurrency() > 1;
  // Set either way: the descriptor is the supervisor's too, and as a former daemon has left it.
  const int flags = fcntl(options_.fuse, F_GETFL);
  (void)fcntl(options_.fuse, F_SETFL, is_alone ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
  for (std::uint32_t i = 0; i < threads; i++) std::thread([this] { run_thread(); }).detach();
  std::thread([this] { run_timer(); }).detach();
  std::thread([this] { run_notifier(); }).detach();
  const HandOverHeader& header = table_.header();
  if (header.epoch > 1 && header.has_resend != 0) {
    const fuse::OutHeader notice{sizeof notice, fuse::NOTIFY_RESEND, 0};
    (void)!write(options_.fuse, &notice, sizeof notice);
  }
}

// Waits awake for the next request while they come in quick succession, else asleep.
void Session::run_thread() {
  block_signals();
  alignas(8) std::uint8_t bytes[REQUEST_BYTES];
  bool stays_awake = false;
  std::int64_t answered_ns = now_ns();
  for (;;) {
    const ssize_t got = read(options_.fuse, bytes, sizeof bytes);
    if (got >= 0) {
      stays_awake = now_ns() - answered_ns < AWAKE_NS;
      answer(bytes, static_cast<std::size_t>(got));
      answered_ns = now_ns();
      continue;
    }
    if (errno == EAGAIN) {
      if (stays_awake && now_ns() - answered_ns < AWAKE_NS) continue;
      pollfd ready{.fd = options_.fuse, .events = POLLIN, .revents = 0};
      (void)poll(&ready, 1, -1);
      continue;
    }
    // ENOENT: the request was aborted between the queue and us.
    if (errno == EINTR || errno == ENOENT) continue;
    end(errno == ENODEV ? 0 : -errno);
    return;
  }
}

void Session::answer(const std::uint8_t* bytes, std::size_t length) {
  WARMPATH_CHECK(length >= sizeof(fuse::InHeader));
  const auto* head = reinterpret_cast<const fuse::InHeader*>(bytes);
  WARMPATH_CHECK(head->length == length);
  const Request request{head, bytes + sizeof *head, length - sizeof *head, bytes};
  switch (head->opcode) {
    case fuse::LOOKUP:
      return lookup(request);
    case fuse::GETATTR:
      return get_attributes(request);
    case fuse::OPEN:
      return open_file(request);
    case fuse::READ:
      return read_file(request);
    case fuse::RELEASE:
    case fuse::RELEASEDIR:
      return release(request);
    case fuse::OPENDIR:
      return open_folder(request);
    case fuse::READDIR:
      return read_folder(request, false);
    case fuse::READDIRPLUS:
      return read_folder(request, true);
    case fuse::STATFS:
      return statfs(request);
    case fuse::INTERRUPT:
      return interrupt(request);
    case fuse::FORGET:
    case fuse::BATCH_FORGET:
      // No reply; node ids live as long as the mount.
      return;
    default:
      // The kernel remembers that GETXATTR, FLUSH, LSEEK, STATX and others are not answered.
      (void)reply(head->unique, -ENOSYS);
  }
}

int Session::reply(std::uint64_t unique, int error, const void* body, std::size_t length) {
  const iovec part{const_cast<void*>(body), length};
  if (error == 0) return reply_parts(unique, &part, 1);
  const fuse::OutHeader head{sizeof head, error, unique};
  return write(options_.fuse, &head, sizeof head) < 0 ? -errno : 0;
}

int Session::reply_parts(std::uint64_t unique, const iovec* parts, int count) {
  constexpr int PARTS = 4;
  WARMPATH_CHECK(count < PARTS);
  fuse::OutHeader head{sizeof head, 0, unique};
  iovec all[PARTS];
  all[0] = {&head, sizeof head};
  for (int i = 0; i < count; i++) {
    all[i + 1] = parts[i];
    head.length += static_cast<std::uint32_t>(parts[i].iov_len);
  }
  return writev(options_.fuse, all, count + 1) < 0 ? -errno : 0;
}

void Session::end(int error) {
  {
    const Lock lock(mutex_);
    if (has_ended_) return;
    has_ended_ = true;
    held_changed_.notify_all();
    notices_changed_.notify_all();
  }
  Event event{};
  event.kind = EVENT_MOUNT_ENDED;
  event.token = options_.id;
  event.error = error;
  events_push(event);
}

SessionCounts Session::counts() {
  const Lock lock(mutex_);
  SessionCounts counts = counts_;
  counts.held = held_.size();
  return counts;
}

void Session::set_usage(std::uint64_t capacity_bytes, std::uint64_t used_bytes) {
  const Lock lock(mutex_);
  capacity_bytes_ = capacity_bytes;
  used_bytes_ = used_bytes;
}

}  // namespace warmpath::model_cache
