#include "model_cache/hand_over.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "check.h"

namespace warmpath::model_cache {

namespace {

constexpr std::uint64_t MAGIC = 0x3130'7265'766f'6877;  // "whover01"
constexpr std::uint64_t HEADER_BYTES = 4096;
constexpr std::uint64_t TABLE_BYTES = HEADER_BYTES + std::uint64_t{RECORDS_MAX} * sizeof(Record);
constexpr std::uint64_t RESERVE_BYTES = 2 << 20;
static_assert(sizeof(HandOverHeader) <= HEADER_BYTES);

}  // namespace

HandOver::~HandOver() {
  if (header_ != nullptr) (void)munmap(header_, TABLE_BYTES);
  if (file_ >= 0) (void)close(file_);
}

int HandOver::open(int store_folder) {
  WARMPATH_CHECK(file_ < 0);
  file_ = openat(store_folder, HAND_OVER_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (file_ < 0) return -errno;
  if (ftruncate(file_, static_cast<off_t>(TABLE_BYTES)) < 0) return -errno;
  if (fallocate(file_, FALLOC_FL_KEEP_SIZE, 0, RESERVE_BYTES) < 0) return -errno;
  reserved_bytes_ = RESERVE_BYTES;
  void* mapped = mmap(nullptr, TABLE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file_, 0);
  if (mapped == MAP_FAILED) return -errno;
  header_ = static_cast<HandOverHeader*>(mapped);
  records_ = reinterpret_cast<Record*>(static_cast<std::uint8_t*>(mapped) + HEADER_BYTES);
  // A file of this program's making, or a new one, which is all zeros.
  if (header_->magic != MAGIC && header_->magic != 0) return -EINVAL;
  header_->magic = MAGIC;
  header_->epoch++;
  return count() > RECORDS_MAX ? -EINVAL : 0;
}

Record& HandOver::at(std::uint32_t index) {
  WARMPATH_CHECK(index < count());
  return records_[index];
}

bool HandOver::reserve(std::uint32_t index) {
  const std::uint64_t end = HEADER_BYTES + (std::uint64_t{index} + 1) * sizeof(Record);
  while (reserved_bytes_ < end) {
    const auto at = static_cast<off_t>(reserved_bytes_);
    if (fallocate(file_, FALLOC_FL_KEEP_SIZE, at, RESERVE_BYTES) < 0) return false;
    reserved_bytes_ += RESERVE_BYTES;
  }
  return true;
}

std::uint32_t HandOver::append(const Record& record) {
  const std::uint32_t index = count();
  if (index >= RECORDS_MAX || !reserve(index)) return RECORDS_MAX;
  records_[index] = record;
  header_->records.store(index + 1, std::memory_order_release);
  return index;
}

}  // namespace warmpath::model_cache
