#include "model_cache/whole_io.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <thread>

#include "check.h"
#include "model_cache/chunk_hash.h"

namespace warmpath::model_cache {

int read_whole(int file, std::uint8_t* out, std::size_t length, std::uint64_t offset) {
  std::size_t done = 0;
  while (done < length) {
    const ssize_t got = pread(file, out + done, length - done, static_cast<off_t>(offset + done));
    if (got == 0) return -ENODATA;
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -errno;
    done += static_cast<std::size_t>(got);
  }
  return 0;
}

int write_whole(int file, const std::uint8_t* data, std::size_t length, std::uint64_t offset) {
  std::size_t done = 0;
  while (done < length) {
    const ssize_t put = pwrite(file, data + done, length - done, static_cast<off_t>(offset + done));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return -errno;
    done += static_cast<std::size_t>(put);
  }
  return 0;
}

std::uint8_t* map_bounce() {
  // Twice the size, so that an aligned part of it can be one run of huge pages.
  constexpr std::size_t HUGE = 2 << 20;
  void* mapped = mmap(nullptr, CHUNK_BYTES_MAX + HUGE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  WARMPATH_CHECK(mapped != MAP_FAILED);
  const auto start = (reinterpret_cast<std::uintptr_t>(mapped) + HUGE - 1) & ~(HUGE - 1);
  auto* bounce = reinterpret_cast<std::uint8_t*>(start);
  // What lies around the aligned part goes back, so that nobody has to remember where it was.
  const std::size_t before = start - reinterpret_cast<std::uintptr_t>(mapped);
  if (before > 0) (void)munmap(mapped, before);
  if (before < HUGE) (void)munmap(bounce + CHUNK_BYTES_MAX, HUGE - before);
  (void)madvise(bounce, CHUNK_BYTES_MAX, MADV_HUGEPAGE);
  return bounce;
}

void block_signals() {
  sigset_t all;
  sigfillset(&all);
  WARMPATH_CHECK(pthread_sigmask(SIG_BLOCK, &all, nullptr) == 0);
}

void start_thread(void (*run)()) {
  std::thread([run] {
    block_signals();
    run();
  }).detach();
}

}  // namespace warmpath::model_cache
