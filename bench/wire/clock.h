#ifndef WARMPATH_BENCH_WIRE_CLOCK_H_
#define WARMPATH_BENCH_WIRE_CLOCK_H_

// The one clock of the bench executables. CLOCK_MONOTONIC is the same for all processes of a
// host, so a stamp written by mock_node can be subtracted from the time load_client read it.

#include <time.h>

#include <cstdint>

namespace wire {

inline uint64_t now_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace wire

#endif  // WARMPATH_BENCH_WIRE_CLOCK_H_
