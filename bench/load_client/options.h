#ifndef WARMPATH_BENCH_LOAD_CLIENT_OPTIONS_H_
#define WARMPATH_BENCH_LOAD_CLIENT_OPTIONS_H_

// What one run of the load client is asked to do, as main.cc reads it from the command line: where
// requests go, how many and how fast, what they hold, and over which transport. Numbers are those
// of the command line; nothing here is changed after the start.

#include <cstdint>
#include <string>
#include <vector>

namespace load {

/** Where requests go; the host is an IPv4 address. */
struct Target {
  std::string url;
  std::string host;
  uint16_t port = 0;
};

struct Options {
  std::vector<Target> targets;  // more than one: interleaved
  std::string path = "/v1/chat/completions";
  std::string model = "mock";
  std::string api_key;
  uint32_t connections = 1;
  uint64_t requests = 0;     // 0: no limit
  uint64_t duration_ms = 0;  // 0: no limit
  bool is_stream = false;
  bool is_websocket = false;  // one connection carries one request after the other as frames
  bool is_msgpack = false;    // of a WebSocket: binary frames
  uint64_t max_tokens = 1;
  uint64_t pace_us = 0;
  uint64_t stagger_us = 0;  // between the starts of two connections
  uint64_t prompt_bytes = 200;
  uint32_t turns = 0;  // > 0: growing conversations of this many turns
  uint64_t turn_bytes = 1000;
  uint64_t seed = 580;
};

}  // namespace load

#endif  // WARMPATH_BENCH_LOAD_CLIENT_OPTIONS_H_
