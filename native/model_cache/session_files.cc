// OPEN, READ and RELEASE, and what decides about them: publish, bypass, evict.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <thread>

#include "check.h"
#include "model_cache/session.h"
#include "model_cache/store.h"
#include "model_cache/whole_io.h"

namespace warmpath::model_cache {

namespace {

// Bytes of one READ; INIT promised the kernel no more.
constexpr std::size_t READ_BYTES_MAX = 1 << 20;
// An OPEN follows the LOOKUP that looked at the source, on a busy machine within this.
constexpr std::int64_t OPEN_GRACE_MS = 100;
// Threads that copy out of a source that is no backing; each may hang with it.
constexpr int SLOW_READ_THREADS = 4;

std::int64_t wall_ms() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1'000'000;
}

}  // namespace

int Session::open_backing(int descriptor) {
  const fuse::BackingMap map{descriptor, 0, 0};
  const int backing_id = ioctl(options_.fuse, fuse::BACKING_OPEN, &map);
  return backing_id < 0 ? -errno : backing_id;
}

void Session::close_backing(Record& record) {
  const int backing_id = record.backing_id;
  if (backing_id == 0) return;
  // First the table: a crash between the two leaks a registration and misleads nobody.
  record.backing_id = 0;
  (void)ioctl(options_.fuse, fuse::BACKING_CLOSE, &backing_id);
}

// Of an open that was released, or never came to be.
void Session::close_handle(const Handle& handle) {
  File& file = files_[handle.file];
  WARMPATH_CHECK(file.opens > 0);
  file.opens--;
  if (handle.record == file.record) {
    WARMPATH_CHECK(file.record_opens > 0);
    file.record_opens--;
    return;
  }
  const auto found = retired_.find(handle.record);
  if (found == retired_.end() || --found->second.opens > 0) return;
  const std::int32_t backing_id = found->second.backing_id;
  retired_.erase(found);
  (void)ioctl(options_.fuse, fuse::BACKING_CLOSE, &backing_id);
}

std::uint64_t Session::add_handle(Handle handle) {
  const std::uint64_t id = epoch_bits_ | handle_next_++;
  handles_.emplace(id, std::move(handle));
  return id;
}

void Session::fill_open(fuse::OpenOut* out, const File& file, std::uint32_t flags,
                        std::uint64_t handle) {
  *out = fuse::OpenOut{.handle = handle, .flags = 0, .backing_id = 0};
  const std::int32_t backing_id = table_.at(file.record).backing_id;
  if (backing_id != 0) {
    out->flags = fuse::FOPEN_PASSTHROUGH;
    out->backing_id = backing_id;
  } else if ((flags & O_DIRECT) != 0) {
    out->flags = fuse::FOPEN_DIRECT_IO;
  } else if (file.state == FileState::RESIDENT) {
    out->flags = fuse::FOPEN_KEEP_CACHE;
  }
}

void Session::open_file(const Request& request) {
  WARMPATH_CHECK(request.body_bytes >= sizeof(fuse::OpenIn));
  fuse::OpenIn in;
  std::memcpy(&in, request.body, sizeof in);
  fuse::OpenOut out;
  Lock lock(mutex_);
  counts_.requests++;
  const std::uint32_t id = file_of_node(request.head->node);
  if (!is_current(id, request.head->node)) {
    lock.unlock();
    (void)reply(request.head->unique, -ESTALE);
    return;
  }
  if (!is_answered_again() && must_check(id, OPEN_GRACE_MS)) return hold(lock, request, id, true);
  File& file = files_[id];
  if (file.state == FileState::ABSENT) return hold(lock, request, id, false);
  // Counted before the reply: until the kernel has opened the backing, only this count tells an
  // eviction that somebody is on the way.
  file.opens++;
  file.record_opens++;
  file.opens_total++;
  if (is_answered_again()) file.waits_total++;
  file.used_at_ms = wall_ms();
  const Handle opened{.file = id, .record = file.record, .tree = nullptr, .backing = file.backing};
  const std::uint64_t handle = add_handle(opened);
  fill_open(&out, file, in.flags, handle);
  lock.unlock();
  if (reply(request.head->unique, 0, &out, sizeof out) == 0) return;
  // The application died meanwhile: there will be no RELEASE.
  lock.lock();
  handles_.erase(handle);
  close_handle(opened);
}

void Session::release(const Request& request) {
  WARMPATH_CHECK(request.body_bytes >= sizeof(fuse::ReleaseIn));
  fuse::ReleaseIn in;
  std::memcpy(&in, request.body, sizeof in);
  {
    const Lock lock(mutex_);
    counts_.requests++;
    const auto found = handles_.find(in.handle);
    if (found != handles_.end()) {
      if (found->second.tree == nullptr) {
        close_handle(found->second);
        files_[found->second.file].used_at_ms = wall_ms();
      }
      handles_.erase(found);
    }
  }
  (void)reply(request.head->unique, 0);
}

int Session::send_bytes(std::uint64_t unique, const Backing& backing, const fuse::ReadIn& read) {
  const std::uint64_t offset = std::min(read.offset, backing.size);
  const std::size_t length =
      std::min<std::uint64_t>({read.size, backing.size - offset, READ_BYTES_MAX});
  if (backing.bytes == nullptr) {
    thread_local std::vector<std::uint8_t> buffer(READ_BYTES_MAX);
    const int error = read_whole(backing.file, buffer.data(), length, offset);
    // A source that became shorter is an error, never zeros.
    return reply(unique, error == -ENODATA ? -EIO : error, buffer.data(), length);
  }
  return reply(unique, 0, backing.bytes + offset, length);
}

void Session::read_file(const Request& request) {
  WARMPATH_CHECK(request.body_bytes >= sizeof(fuse::ReadIn));
  fuse::ReadIn in;
  std::memcpy(&in, request.body, sizeof in);
  std::shared_ptr<Backing> backing;
  {
    Lock lock(mutex_);
    counts_.requests++;
    const auto found = handles_.find(in.handle);
    if (found != handles_.end()) backing = found->second.backing;
    if (backing == nullptr) {
      // Opened from a daemon that is gone: by node, once the file is there again.
      const std::uint32_t id = file_of_node(request.head->node);
      if (has_same_bytes(id)) {
        if (files_[id].state == FileState::ABSENT) return hold(lock, request, id, false);
        backing = files_[id].backing;
      }
    }
    if (backing != nullptr) counts_.bytes_copied += in.size;
    if (backing != nullptr && backing->bytes == nullptr) {
      slow_reads_.emplace_back(request.bytes, request.bytes + request.head->length);
      slow_reads_changed_.notify_one();
      for (int i = 0; !has_slow_threads_ && i < SLOW_READ_THREADS; i++) {
        std::thread([this] { run_slow_reads(); }).detach();
      }
      has_slow_threads_ = true;
      return;
    }
  }
  if (backing == nullptr) {
    (void)reply(request.head->unique, -ESTALE);
    return;
  }
  (void)send_bytes(request.head->unique, *backing, in);
}

void Session::run_slow_reads() {
  block_signals();
  for (;;) {
    std::vector<std::uint8_t> bytes;
    std::shared_ptr<Backing> backing;
    fuse::InHeader head;
    fuse::ReadIn in;
    {
      Lock lock(mutex_);
      slow_reads_changed_.wait(lock, [this] { return !slow_reads_.empty(); });
      bytes = std::move(slow_reads_.front());
      slow_reads_.pop_front();
      std::memcpy(&head, bytes.data(), sizeof head);
      std::memcpy(&in, bytes.data() + sizeof head, sizeof in);
      const auto found = handles_.find(in.handle);
      const std::uint32_t id = file_of_node(head.node);
      if (found != handles_.end()) backing = found->second.backing;
      if (backing == nullptr && has_same_bytes(id)) backing = files_[id].backing;
    }
    if (backing == nullptr) {
      (void)reply(head.unique, -ESTALE);
    } else {
      (void)send_bytes(head.unique, *backing, in);
    }
  }
}

// Gives the file a new node; whoever has the old one open goes on reading what it opened.
bool Session::renew(File& file) {
  Record& old = table_.at(file.record);
  Record fresh = old;
  fresh.backing_id = 0;
  fresh.serving = Serving::NOTHING;
  const std::uint32_t index = table_.append(fresh);
  if (index == RECORDS_MAX) return false;
  old.is_replaced = 1;
  if (file.record_opens > 0 && old.backing_id != 0) {
    retired_[file.record] = {old.backing_id, file.record_opens};
    old.backing_id = 0;
  }
  close_backing(old);
  file.record_opens = 0;
  const std::uint32_t id = file_of_record_[file.record];
  file_of_record_.push_back(id);
  WARMPATH_CHECK(file_of_record_.size() == table_.count());
  record_of_key_[fresh.key] = index;
  file.record = index;
  return true;
}

int Session::publish(std::uint32_t id, int descriptor) {
  auto backing = std::make_shared<Backing>();
  struct stat facts;
  if (fstat(descriptor, &facts) < 0) return -errno;
  backing->size = static_cast<std::uint64_t>(facts.st_size);
  if (!is_passthrough_ && backing->size > 0) {
    void* mapped = mmap(nullptr, backing->size, PROT_READ, MAP_SHARED, descriptor, 0);
    if (mapped == MAP_FAILED) return -errno;
    backing->bytes = static_cast<const std::uint8_t*>(mapped);
  }
  {
    const Lock lock(mutex_);
    WARMPATH_CHECK(id < files_.size());
    File& file = files_[id];
    if (file.is_directory || file.state == FileState::RESIDENT) return -EEXIST;
    if (table_.at(file.record).size != backing->size) return -EINVAL;
    if (table_.at(file.record).serving == Serving::SOURCE && !renew(file)) return -ENOSPC;
    Record& record = table_.at(file.record);
    backing->is_adopted = record.backing_id != 0;
    if (is_passthrough_ && record.backing_id == 0) {
      const int backing_id = open_backing(descriptor);
      if (backing_id < 0) return backing_id;
      record.backing_id = backing_id;
    }
    record.serving = Serving::STORE;
    backing->file = descriptor;
    file.backing = std::move(backing);
    file.state = FileState::RESIDENT;
    file.is_open_wanted = false;
  }
  answer_held(id);
  return 0;
}

int Session::bypass(std::uint32_t id, int descriptor) {
  {
    const Lock lock(mutex_);
    WARMPATH_CHECK(id < files_.size());
    File& file = files_[id];
    if (file.is_directory || file.state != FileState::ABSENT) return -EEXIST;
    // Registered for bytes that are gone: an inode takes no second backing.
    if (table_.at(file.record).backing_id != 0 && !renew(file)) return -ENOSPC;
    Record& record = table_.at(file.record);
    record.serving = Serving::SOURCE;
    auto backing = std::make_shared<Backing>();
    backing->size = record.size;
    backing->file = descriptor;
    if (is_passthrough_) {
      // Refused for a source on a stacked file system: then its bytes are copied.
      const int backing_id = open_backing(descriptor);
      if (backing_id > 0) record.backing_id = backing_id;
    }
    file.backing = std::move(backing);
    file.state = FileState::BYPASSED;
    file.is_open_wanted = false;
  }
  answer_held(id);
  return 0;
}

int Session::evict(std::uint32_t id, bool is_forced) {
  std::shared_ptr<Backing> freed;
  const Lock lock(mutex_);
  WARMPATH_CHECK(id < files_.size());
  File& file = files_[id];
  if (file.state == FileState::ABSENT) {
    // After a restart: the table may still name a registration of bytes that turned out bad.
    if (table_.at(file.record).backing_id != 0 && !renew(file)) return -ENOSPC;
    return 1;
  }
  if (!is_forced) {
    if (file.opens > 0) return 0;
    if (file.backing->is_adopted && is_passthrough_) {
      if (!renew(file)) return -ENOSPC;
      const int backing_id = open_backing(file.backing->file);
      if (backing_id < 0) return backing_id;
      table_.at(file.record).backing_id = backing_id;
      file.backing->is_adopted = false;
    }
    const int is_idle = file.state == FileState::RESIDENT ? store_is_idle(file.backing->file) : 1;
    if (is_idle != 1) return is_idle;
  }
  if (is_forced || file.state == FileState::BYPASSED) {
    if (!renew(file)) return -ENOSPC;
  } else {
    close_backing(table_.at(file.record));
  }
  file.state = FileState::ABSENT;
  freed = std::move(file.backing);
  return 1;
}

bool Session::use(std::uint32_t id, FileUse* out) {
  const Lock lock(mutex_);
  if (id >= files_.size()) return false;
  const File& file = files_[id];
  *out = {file.is_open_wanted, file.opens,      file.opens_total,
          file.waits_total,    file.used_at_ms, file.record + fuse::ROOT_NODE};
  return true;
}

}  // namespace warmpath::model_cache
