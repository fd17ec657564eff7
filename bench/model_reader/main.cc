// Reads a file in one of the ways that loaders do, and prints one JSON object: the time taken and
// a checksum that must be the same on every path.
//
//   model_reader pread PATH THREADS PASSES      1 MiB blocks into one buffer a thread
//   model_reader mmap PATH THREADS PASSES       a fresh mapping, one word of each cache line
//   model_reader random PATH THREADS COUNT      4 KiB blocks at random places
//   model_reader open PATH THREADS COUNT        open and close
//   model_reader load FOLDER THREADS PASSES     every file in the order of names, as pread does
//
// Thread i is pinned to core i and reads its own part; loading pins nothing, because whoever fills
// the files runs beside it, and thread i takes every file whose turn it is. The clock runs from the
// start of the first thread, when all are ready, to the end of the last one.
#include <dirent.h>
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
  // Of a folder.
  std::vector<std::string> files{};
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

int open_path(const char* path) {
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) fail(path);
  return file;
}

int open_file(const Plan& plan) {
  return open_path(plan.path);
}

// Aligned: to an odd address the kernel copies several times slower on some processors.
std::uint8_t* make_buffer() {
  auto* buffer = static_cast<std::uint8_t*>(std::aligned_alloc(PAGE, BLOCK));
  if (buffer == nullptr) fail("aligned_alloc");
  return buffer;
}

std::uint64_t sum_of(const std::uint8_t* buffer, std::size_t length) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i + sizeof sum <= length; i += PAGE) sum += word_at(buffer + i);
  return sum;
}

std::uint64_t read_blocks(const Plan& plan, std::uint64_t from, std::uint64_t to) {
  std::uint8_t* buffer = make_buffer();
  const int file = open_file(plan);
  std::uint64_t sum = 0;
  for (unsigned pass = 0; pass < plan.count; pass++) {
    for (std::uint64_t at = from; at < to; at += BLOCK) {
      if (pread(file, buffer, BLOCK, static_cast<off_t>(at)) != BLOCK) fail("pread");
      sum += sum_of(buffer, BLOCK);
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

std::uint64_t load_files(const Plan& plan, unsigned thread) {
  std::uint8_t* buffer = make_buffer();
  std::uint64_t sum = 0;
  for (unsigned pass = 0; pass < plan.count; pass++) {
    for (std::size_t i = thread; i < plan.files.size(); i += plan.threads) {
      const int file = open_path(plan.files[i].c_str());
      ssize_t got = 0;
      for (off_t at = 0; (got = pread(file, buffer, BLOCK, at)) > 0; at += got) {
        sum += sum_of(buffer, static_cast<std::size_t>(got));
      }
      if (got < 0) fail(plan.files[i].c_str());
      close(file);
    }
  }
  std::free(buffer);
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
  if (plan.way == "load") return load_files(plan, thread);
  return open_and_close(plan);
}

std::uint64_t size_of(const char* path) {
  struct stat facts;
  if (stat(path, &facts) < 0) fail(path);
  return static_cast<std::uint64_t>(facts.st_size);
}

void list_files(Plan& plan) {
  DIR* folder = opendir(plan.path);
  if (folder == nullptr) fail(plan.path);
  while (const dirent* entry = readdir(folder)) {
    if (entry->d_name[0] == '.') continue;
    plan.files.push_back(std::string(plan.path) + "/" + entry->d_name);
    plan.size += size_of(plan.files.back().c_str());
  }
  closedir(folder);
  std::sort(plan.files.begin(), plan.files.end());
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
    std::fprintf(stderr, "usage: model_reader pread|mmap|random|open|load PATH THREADS COUNT\n");
    return 2;
  }
  Plan plan{.way = words[1], .path = words[2]};
  plan.threads = static_cast<unsigned>(std::atoi(words[3]));
  plan.count = static_cast<unsigned>(std::atoi(words[4]));
  if (plan.way == "load") {
    list_files(plan);
  } else {
    plan.size = size_of(plan.path);
  }
  std::atomic<unsigned> ready{0};
  std::atomic<std::uint64_t> sum{0};
  // Each thread's own clock: the main thread may be away when they start.
  std::vector<double> starts(plan.threads);
  std::vector<double> ends(plan.threads);
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < plan.threads; i++) {
    threads.emplace_back([&, i] {
      if (plan.way != "load") pin(i);
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
