// Reads a file in one of the ways that loaders do, and prints one JSON object: the time taken and
// a checksum that must be the same on every path.
//
//   model_reader pread PATH THREADS PASSES      1 MiB blocks into one buffer a thread
//   model_reader mmap PATH THREADS PASSES       a fresh mapping, one word of each cache line
//   model_reader random PATH THREADS COUNT      4 KiB blocks at random places
//   model_reader open PATH THREADS COUNT        open and close
//
// Thread i is pinned to core i and reads its own part. The clock runs from the start of the first
// thread, when all are ready, to the end of the last one.
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr std::size_t BLOCK = 1 << 20;
constexpr std::size_t PAGE = 4096;
constexpr std::size_t LINE = 64;

struct Plan {
  std::string way;
  const char* path = nullptr;
  unsigned threads = 1;
  unsigned count = 1;
  std::uint64_t size = 0;
};

double seconds() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

std::uint64_t word_at(const std::uint8_t* at) {
  std::uint64_t word;
  std::memcpy(&word, at, sizeof word);
  return word;
}

int open_file(const Plan& plan) {
  const int file = open(plan.path, O_RDONLY | O_CLOEXEC);
  if (file < 0) fail(plan.path);
  return file;
}

std::uint64_t read_blocks(const Plan& plan, std::uint64_t from, std::uint64_t to) {
  // Aligned: to an odd address the kernel copies several times slower on some processors.
  auto* buffer = static_cast<std::uint8_t*>(std::aligned_alloc(PAGE, BLOCK));
  if (buffer == nullptr) fail("aligned_alloc");
  const int file = open_file(plan);
  std::uint64_t sum = 0;
  for (unsigned pass = 0; pass < plan.count; pass++) {
    for (std::uint64_t at = from; at < to; at += BLOCK) {
      if (pread(file, buffer, BLOCK, static_cast<off_t>(at)) != BLOCK) fail("pread");
      for (std::size_t i = 0; i < BLOCK; i += PAGE) sum += word_at(buffer + i);
    }
  }
  close(file);
  std::free(buffer);
  return sum;
}

std::uint64_t touch_mapping(const Plan& plan, std::uint64_t from, std::uint64_t to) {
  std::uint64_t sum = 0;
  const int file = open_file(plan);
  for (unsigned pass = 0; pass < plan.count; pass++) {
    void* mapped = mmap(nullptr, to - from, PROT_READ, MAP_SHARED, file, static_cast<off_t>(from));
    if (mapped == MAP_FAILED) fail("mmap");
    const auto* bytes = static_cast<const std::uint8_t*>(mapped);
    for (std::uint64_t at = 0; at < to - from; at += LINE) sum += word_at(bytes + at);
    munmap(mapped, to - from);
  }
  close(file);
  return sum;
}

std::uint64_t read_at_random(const Plan& plan, unsigned thread) {
  alignas(PAGE) std::uint8_t buffer[PAGE];
  const int file = open_file(plan);
  std::uint64_t sum = 0;
  // xorshift: the same places on every path.
  std::uint64_t state = 88172645463325252ull + thread;
  for (unsigned i = 0; i < plan.count; i++) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    const std::uint64_t at = state % (plan.size / PAGE) * PAGE;
    if (pread(file, buffer, PAGE, static_cast<off_t>(at)) != PAGE) fail("pread");
    sum += word_at(buffer);
  }
  close(file);
  return sum;
}

std::uint64_t open_and_close(const Plan& plan) {
  for (unsigned i = 0; i < plan.count; i++) close(open_file(plan));
  return plan.count;
}

std::uint64_t run_part(const Plan& plan, unsigned thread) {
  const std::uint64_t blocks = plan.size / BLOCK;
  const std::uint64_t from = blocks * thread / plan.threads * BLOCK;
  const std::uint64_t to = blocks * (thread + 1) / plan.threads * BLOCK;
  if (plan.way == "pread") return read_blocks(plan, from, to);
  if (plan.way == "mmap") return touch_mapping(plan, from, to);
  if (plan.way == "random") return read_at_random(plan, thread);
  return open_and_close(plan);
}

void pin(unsigned core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  (void)sched_setaffinity(0, sizeof set, &set);
}

}  // namespace

int main(int count, char** words) {
  if (count != 5) {
    std::fprintf(stderr, "usage: model_reader pread|mmap|random|open PATH THREADS COUNT\n");
    return 2;
  }
  Plan plan{.way = words[1], .path = words[2]};
  plan.threads = static_cast<unsigned>(std::atoi(words[3]));
  plan.count = static_cast<unsigned>(std::atoi(words[4]));
  struct stat facts;
  if (stat(plan.path, &facts) < 0) fail(plan.path);
  plan.size = static_cast<std::uint64_t>(facts.st_size);
  std::atomic<unsigned> ready{0};
  std::atomic<std::uint64_t> sum{0};
  // Each thread's own clock: the main thread may be away when they start.
  std::vector<double> starts(plan.threads);
  std::vector<double> ends(plan.threads);
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < plan.threads; i++) {
    threads.emplace_back([&, i] {
      pin(i);
      ready++;
      while (ready.load() < plan.threads) sched_yield();
      starts[i] = seconds();
      sum += run_part(plan, i);
      ends[i] = seconds();
    });
  }
  for (std::thread& thread : threads) thread.join();
  const double start = *std::min_element(starts.begin(), starts.end());
  const double end = *std::max_element(ends.begin(), ends.end());
  std::printf("{\"seconds\":%.9f,\"size\":%llu,\"sum\":\"%llu\"}\n", end - start,
              static_cast<unsigned long long>(plan.size),
              static_cast<unsigned long long>(sum.load()));
  return 0;
}
