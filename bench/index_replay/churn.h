#pragma once

#include <cstdint>

#include "index_replay/trace.h"

namespace bench {

struct ChurnResult {
  double seconds = 0;   // of this thread's processor time
  uint64_t digest = 0;  // of all answers
  uint64_t held = 0;    // (node, block) pairs at the end
  uint64_t distinct = 0;
  uint64_t runs = 0;
  uint64_t merges = 0;
  uint64_t bytes = 0;
  uint64_t bytes_reserved = 0;
  bool is_clean = true;  // nothing was dropped, unknown or parked
};

double cpu_seconds();
ChurnResult churn_flat(const Trace& trace, uint64_t places);
ChurnResult churn_index(const Trace& trace, uint64_t bytes_max);

}  // namespace bench
