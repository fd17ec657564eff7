#ifndef WARMPATH_BENCH_LOAD_CLIENT_CLOSED_LOOP_H_
#define WARMPATH_BENCH_LOAD_CLIENT_CLOSED_LOOP_H_

// Closed loop over one target: every lane is a connection that sends its next request when the
// reply to the last one is complete.
//
//   lane 0  ├─ request ─┼─ request ─┼─ …           starts at 0
//   lane 1     ├─ request ─┼─ request ─┼─ …        starts at stagger_us, so that paced streams
//   lane 2        ├─ request ─┼─ …                 are spread evenly over one pace
//
// After the last permitted request (requests or duration_ms) what is on the way is finished, so
// the counts and the processor time that a bench reads outside belong together. What it does
// badly: a closed loop hides queueing that an open one would show, and latency is taken from
// before send() to behind the recv() that completed the reply, the client's own queue included.

#include "options.h"
#include "results.h"

namespace load {

Results run_closed_loop(const Options& options);

}  // namespace load

#endif  // WARMPATH_BENCH_LOAD_CLIENT_CLOSED_LOOP_H_
