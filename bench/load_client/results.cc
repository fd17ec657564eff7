#include "results.h"

#include <cstdio>

namespace load {

namespace {

constexpr double NS_PER_MS = 1e6;
constexpr double NS_PER_SECOND = 1e9;
/** Nagle's algorithm against a delayed acknowledgement stalls for 40 ms. */
constexpr uint64_t STALL_LOW_NS = 38'000'000;
constexpr uint64_t STALL_HIGH_NS = 42'000'000;
/** The windows below and above, which show what an undisturbed tail would hold there. */
constexpr uint64_t BELOW_NS = 32'000'000;
constexpr uint64_t ABOVE_NS = 48'000'000;
/** Fewer samples than this, or than 0.2 % of all, are an accident and no cluster. */
constexpr uint64_t CLUSTER_SAMPLES_MIN = 20;

bool has_stall_cluster(const Histogram& histogram) {
  const uint64_t inside = histogram.count_between(STALL_LOW_NS, STALL_HIGH_NS);
  const uint64_t around = histogram.count_between(BELOW_NS, STALL_LOW_NS) +
                          histogram.count_between(STALL_HIGH_NS, ABOVE_NS);
  // The windows around are three times as wide: an even spread has inside = around / 3. Time
  // slices of a crowded machine heap up too, but more broadly.
  return inside >= CLUSTER_SAMPLES_MIN && inside * 500 > histogram.count() && inside > 2 * around;
}

std::string percentiles(const char* name, const Histogram& histogram) {
  char text[256];
  snprintf(text, sizeof(text),
           "\"%s\":{\"count\":%lu,\"p50\":%.4f,\"p90\":%.4f,\"p99\":%.4f,\"p999\":%.4f,"
           "\"max\":%.4f,\"mean\":%.4f}",
           name, histogram.count(), static_cast<double>(histogram.at(0.5)) / NS_PER_MS,
           static_cast<double>(histogram.at(0.9)) / NS_PER_MS,
           static_cast<double>(histogram.at(0.99)) / NS_PER_MS,
           static_cast<double>(histogram.at(0.999)) / NS_PER_MS,
           static_cast<double>(histogram.max()) / NS_PER_MS, histogram.mean() / NS_PER_MS);
  return text;
}

}  // namespace

void Results::add_error(const char* what) {
  requests++;
  errors++;
  if (first_fault.empty()) first_fault = what;
}

void Results::add_reply(const Options& options, const ReplyReader& reply, uint64_t sent_ns,
                        uint64_t read_ns) {
  requests++;
  body_bytes += reply.body_bytes();
  if (reply.status() < 200 || reply.status() > 299) {
    non_2xx++;
    if (first_fault.empty()) first_fault = "status " + std::to_string(reply.status());
    return;
  }
  latency.record(read_ns - sent_ns);
  if (options.is_stream) {
    first_event.record(reply.first_event_ns() - sent_ns);
    const bool is_chat = options.path.find("/chat/") != std::string::npos;
    const uint64_t expected = options.max_tokens + (is_chat ? 1 : 0);
    events += reply.events();
    tokens += reply.events() - (is_chat && reply.events() > 0 ? 1 : 0);
    if (reply.events() != expected || !reply.has_done_event()) {
      cut++;
      if (first_fault.empty()) first_fault = "events " + std::to_string(reply.events());
      return;
    }
  }
  if (!reply.is_own()) {
    foreign++;
    if (first_fault.empty()) first_fault = "a reply to another request";
    return;
  }
  if (hash == 0) hash = reply.hash();
  if (hash != reply.hash()) {
    differing++;
    if (first_fault.empty()) first_fault = "a body unlike the first one";
  }
}

std::string Results::json() const {
  const double seconds = static_cast<double>(wall_ns) / NS_PER_SECOND;
  char text[768];
  snprintf(
      text, sizeof(text),
      "\"requests\":%lu,\"errors\":%lu,\"non_2xx\":%lu,\"foreign\":%lu,\"cut\":%lu,"
      "\"differing\":%lu,\"reconnects\":%lu,\"first_fault\":\"%s\",\"events\":%lu,"
      "\"tokens\":%lu,\"body_bytes\":%lu,\"body_hash\":\"%016lx\",\"seconds\":%.4f,"
      "\"requests_per_s\":%.1f,\"tokens_per_s\":%.1f,\"stall_cluster\":%s,",
      requests, errors, non_2xx, foreign, cut, differing, reconnects, first_fault.c_str(), events,
      tokens, body_bytes, hash, seconds, seconds > 0 ? static_cast<double>(requests) / seconds : 0,
      seconds > 0 ? static_cast<double>(tokens) / seconds : 0,
      has_stall_cluster(latency) || has_stall_cluster(first_event) || has_stall_cluster(transit)
          ? "true"
          : "false");
  return text + percentiles("latency_ms", latency) + "," +
         percentiles("first_event_ms", first_event) + "," + percentiles("transit_ms", transit);
}

}  // namespace load
