// A range of address space that is reserved once, filled page by page on first touch, and never
// given back while the process lives.
//
// That is what lets readers follow stale offsets without a lock: an offset that was valid once
// stays mapped for ever, so a late reader sees old or zero bytes, never a fault, and finds out by
// the version that it must look again. `discard` gives the pages back and keeps the addresses.
//
// Costs: address space (128 TB are there), no memory. Ranges of HUGE_BYTES_MIN and more ask for
// huge pages, which halves the cost of a random access.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>

#include "check.h"

namespace warmpath {

// Below this a range is left on small pages, so that an idle index costs kilobytes.
constexpr size_t HUGE_BYTES_MIN = size_t{4} << 20;
// Larger ranges start on this boundary, so that all of them can lie on huge pages.
constexpr size_t HUGE_PAGE_BYTES = size_t{2} << 20;

class Reserved {
 public:
  Reserved() = default;
  Reserved(const Reserved&) = delete;
  Reserved& operator=(const Reserved&) = delete;
  ~Reserved() {
    if (mapped_ != nullptr) munmap(mapped_, mapped_bytes_);
  }

  void reserve(size_t bytes) {
    WARMPATH_CHECK(data_ == nullptr && bytes > 0);
    bytes_ = bytes;
    mapped_bytes_ = bytes < HUGE_BYTES_MIN ? bytes : bytes + HUGE_PAGE_BYTES;
    mapped_ = mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    WARMPATH_CHECK(mapped_ != MAP_FAILED);
    auto start = reinterpret_cast<uintptr_t>(mapped_);
    if (bytes >= HUGE_BYTES_MIN) start = (start + HUGE_PAGE_BYTES - 1) & ~(HUGE_PAGE_BYTES - 1);
    data_ = reinterpret_cast<void*>(start);
  }

  // Ask for huge pages on the first `bytes` of the range.
  void use_huge_pages(size_t bytes) {
#ifdef MADV_HUGEPAGE
    if (bytes >= HUGE_BYTES_MIN) madvise(data_, bytes < bytes_ ? bytes : bytes_, MADV_HUGEPAGE);
#else
    (void)bytes;
#endif
  }

  void discard() {
    madvise(data_, bytes_, MADV_DONTNEED);
  }

  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  size_t bytes() const {
    return bytes_;
  }

 private:
  void* mapped_ = nullptr;
  size_t mapped_bytes_ = 0;
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace warmpath
