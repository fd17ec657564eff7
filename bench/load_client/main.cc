// load_client: drives an OpenAI-compatible endpoint in front of mock_node and measures it.
//
//   load_client --url http://127.0.0.1:8100 [--connections 64] [--requests N | --duration-ms D]
//               [--stream] [--max-tokens 1] [--pace-us 20000] [--stagger-us 40]
//               [--prompt-bytes 200] [--turns 16 --turn-bytes 1000]
//               [--websocket [--msgpack]]
//               [--path /v1/chat/completions] [--model mock] [--api-key K] [--seed 580]
//   load_client --url A --url B --url C --requests 1000      paired, one at a time (interleaved.h)
//
// Prints one JSON line; `faults` is zero when every reply was the right one. The exit status is 0
// also then: the bench decides.

#include <sys/prctl.h>
#include <sys/resource.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "../wire/arguments.h"
#include "closed_loop.h"
#include "interleaved.h"

namespace {

load::Target target_of(const std::string& url) {
  load::Target target;
  target.url = url;
  const std::string scheme = "http://";
  const size_t colon = url.find(':', scheme.size());
  if (url.compare(0, scheme.size(), scheme) != 0 || colon == std::string::npos) {
    fprintf(stderr, "--url must be http://<IPv4 address>:<port>, not %s\n", url.c_str());
    exit(2);
  }
  target.host = url.substr(scheme.size(), colon - scheme.size());
  target.port = static_cast<uint16_t>(atoi(url.c_str() + colon + 1));
  return target;
}

load::Options options_of(wire::Arguments& arguments) {
  load::Options options;
  for (const std::string& url : arguments.texts("url")) options.targets.push_back(target_of(url));
  options.path = arguments.text("path", options.path.c_str());
  options.model = arguments.text("model", options.model.c_str());
  options.api_key = arguments.text("api-key", "");
  options.connections = static_cast<uint32_t>(arguments.number("connections", 1));
  options.requests = arguments.number("requests", 0);
  options.duration_ms = arguments.number("duration-ms", 0);
  options.is_stream = arguments.fact("stream");
  options.is_msgpack = arguments.fact("msgpack");
  options.is_websocket = options.is_msgpack || arguments.fact("websocket");
  options.max_tokens = arguments.number("max-tokens", 1);
  options.pace_us = arguments.number("pace-us", 0);
  options.stagger_us = arguments.number("stagger-us", 0);
  options.prompt_bytes = arguments.number("prompt-bytes", options.prompt_bytes);
  options.turns = static_cast<uint32_t>(arguments.number("turns", 0));
  options.turn_bytes = arguments.number("turn-bytes", options.turn_bytes);
  options.seed = arguments.number("seed", options.seed);
  arguments.refuse_unknown();
  if (options.targets.empty() || (options.requests == 0 && options.duration_ms == 0)) {
    fprintf(stderr, "needs --url and one of --requests, --duration-ms\n");
    exit(2);
  }
  return options;
}

double own_cpu_ms() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  const auto ms = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_usec) / 1e3;
  };
  return ms(usage.ru_utime) + ms(usage.ru_stime);
}

void print_interleaved(const load::Options& options) {
  const std::vector<load::Paired> all = load::run_interleaved(options);
  printf("{\"targets\":[");
  for (size_t i = 0; i < all.size(); i++) {
    const load::Paired& paired = all[i];
    printf(
        "%s{\"url\":\"%s\",\"faults\":%lu,\"added_p50_ms\":%.4f,\"added_p50_low_ms\":%.4f,"
        "\"added_p50_high_ms\":%.4f,\"added_p99_ms\":%.4f,%s}",
        i > 0 ? "," : "", options.targets[i].url.c_str(), paired.results.faults(),
        paired.added_p50_ms, paired.added_p50_low_ms, paired.added_p50_high_ms, paired.added_p99_ms,
        paired.results.json().c_str());
  }
  printf("]}\n");
}

}  // namespace

int main(int count, char** words) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  // The default slack of 50 µs would spread the starts of staggered lanes unevenly.
  prctl(PR_SET_TIMERSLACK, 1);
  wire::Arguments arguments(count, words);
  const load::Options options = options_of(arguments);
  if (options.targets.size() > 1) {
    print_interleaved(options);
    return 0;
  }
  const load::Results results = load::run_closed_loop(options);
  printf("{\"url\":\"%s\",\"faults\":%lu,\"client_cpu_ms\":%.1f,%s}\n",
         options.targets[0].url.c_str(), results.faults(), own_cpu_ms(), results.json().c_str());
  return 0;
}
