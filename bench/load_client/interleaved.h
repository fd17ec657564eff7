#ifndef WARMPATH_BENCH_LOAD_CLIENT_INTERLEAVED_H_
#define WARMPATH_BENCH_LOAD_CLIENT_INTERLEAVED_H_

// Added latency at concurrency 1, from pairs: in each round every target gets one request, in
// random order, and the latency of each is compared with that of the first target (direct) in
// the same round. Slow phases of a shared machine hit both sides of a pair.
//
//   round 1:  haproxy  direct  warmpath      differences:  haproxy - direct, warmpath - direct
//   round 2:  warmpath haproxy direct        …
//
// Reported are the median of the differences with the order-statistic interval that holds it in
// 95 of 100 runs, and their p99. Rounds before `warm_up` are thrown away.

#include <cstdint>
#include <vector>

#include "options.h"
#include "results.h"

namespace load {

struct Paired {
  Results results;
  double added_p50_ms = 0;
  double added_p50_low_ms = 0;
  double added_p50_high_ms = 0;
  double added_p99_ms = 0;
};

std::vector<Paired> run_interleaved(const Options& options);

}  // namespace load

#endif  // WARMPATH_BENCH_LOAD_CLIENT_INTERLEAVED_H_
