// The C++ side of `npm run bench -- index`: the index and a flat map on the same operations,
// without Node. Prints one JSON object.
//
//   index_replay churn TRACE NODES CAPACITY REQUESTS DECODE TOKENS ROUNDS
//   index_replay lookup BLOCKS SAMPLES
//
// DECODE 1 adds the decoded blocks, one event each; TOKENS 1 lets the index hash the tokens of its
// stores, which the flat map is spared.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "chain_hash/chain_hash.h"
#include "index_replay/churn.h"
#include "index_replay/lookup.h"
#include "index_replay/trace.h"

namespace {

using bench::ChurnResult;

uint32_t number(const char* text) {
  return static_cast<uint32_t>(std::strtoul(text, nullptr, 10));
}

// Twice the distinct blocks that can be held at once, so that the map is half full.
uint64_t flat_places(uint64_t blocks) {
  uint64_t places = 1024;
  while (places < blocks * 2) places *= 2;
  return places;
}

void churn(char** words) {
  const bench::TraceOptions options = {
      words[0],         number(words[1]),      number(words[2]),
      number(words[3]), number(words[4]) != 0, number(words[5]) != 0};
  const bench::Trace trace = bench::load_trace(options);
  const uint64_t places = flat_places(uint64_t{options.nodes} * options.capacity);
  const auto ops = static_cast<double>(trace.block_ops);
  std::printf("{\"requests\":%zu,\"block_ops\":%.0f,\"single_block_events\":%.3f,\"rounds\":[",
              trace.requests.size(), ops,
              static_cast<double>(trace.single_events) / static_cast<double>(trace.events));
  ChurnResult last;
  bool is_same = true;
  const uint32_t rounds = number(words[6]);
  for (uint32_t round = 0; round < rounds; round++) {
    // The second run of the index is the null run: what the same code differs by.
    const ChurnResult flat = bench::churn_flat(trace, places);
    const ChurnResult one = bench::churn_index(trace, uint64_t{1} << 34);
    const ChurnResult null = bench::churn_index(trace, uint64_t{1} << 34);
    is_same = is_same && flat.digest == one.digest && one.digest == null.digest;
    is_same = is_same && one.is_clean && flat.distinct == one.distinct;
    std::printf("%s{\"flat\":%.2f,\"index\":%.2f,\"null\":%.2f}", round == 0 ? "" : ",",
                ops / flat.seconds / 1e6, ops / one.seconds / 1e6, ops / null.seconds / 1e6);
    last = one;
  }
  const auto held = static_cast<double>(last.held);
  std::printf(
      "],\"held\":%.0f,\"distinct\":%llu,\"runs\":%llu,\"merges\":%llu,"
      "\"live_bytes_per_held\":%.1f,\"reserved_bytes_per_held\":%.1f,\"digest\":\"%016llx\","
      "\"same_answers\":%s}\n",
      held, static_cast<unsigned long long>(last.distinct),
      static_cast<unsigned long long>(last.runs), static_cast<unsigned long long>(last.merges),
      static_cast<double>(last.bytes) / held, static_cast<double>(last.bytes_reserved) / held,
      static_cast<unsigned long long>(last.digest), is_same ? "true" : "false");
}

}  // namespace

int main(int argc, char** argv) {
  warmpath::chain_seed_set(1);
  if (argc == 9 && std::strcmp(argv[1], "churn") == 0) {
    churn(argv + 2);
  } else if (argc == 4 && std::strcmp(argv[1], "lookup") == 0) {
    bench::run_lookups(number(argv[2]), number(argv[3]));
  } else {
    std::fprintf(stderr,
                 "usage: index_replay churn .. | lookup ..; see bench/index_replay/main.cc\n");
    return 2;
  }
  return 0;
}
