#ifndef WARMPATH_BENCH_LOAD_CLIENT_RESULTS_H_
#define WARMPATH_BENCH_LOAD_CLIENT_RESULTS_H_

// What one target showed. A reply counts as good only when its status is 2xx, it carries the id
// of its own request, has the expected number of events and hashes as all others do.

#include <cstdint>
#include <string>

#include "histogram.h"
#include "options.h"
#include "reply_reader.h"

namespace load {

struct Results {
  Histogram latency;
  Histogram first_event;
  Histogram transit;
  uint64_t requests = 0;  // finished, good or not
  uint64_t errors = 0;    // connection lost, reply that cannot be read
  uint64_t non_2xx = 0;
  uint64_t foreign = 0;    // an id of another request
  uint64_t cut = 0;        // a stream of another number of events, or without [DONE]
  uint64_t differing = 0;  // hash unlike the first reply's
  uint64_t events = 0;
  uint64_t tokens = 0;
  uint64_t body_bytes = 0;
  uint64_t reconnects = 0;
  uint64_t hash = 0;  // of the first good reply
  uint64_t wall_ns = 0;
  std::string first_fault;

  void add_reply(const Options& options, const ReplyReader& reply, uint64_t sent_ns,
                 uint64_t read_ns);
  void add_error(const char* what);
  uint64_t faults() const { return errors + non_2xx + foreign + cut + differing; }

  /** Members of a JSON object, without the braces. */
  std::string json() const;
};

}  // namespace load

#endif  // WARMPATH_BENCH_LOAD_CLIENT_RESULTS_H_
