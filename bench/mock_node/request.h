#ifndef WARMPATH_BENCH_MOCK_NODE_REQUEST_H_
#define WARMPATH_BENCH_MOCK_NODE_REQUEST_H_

// Reads one HTTP/1.1 request with a body of known length, as cheaply as a mock may.
//
// The JSON body is not parsed. The fields that steer the mock are searched as text in its first
// and last SEARCH_BYTES bytes, so a client of the mock puts them before or after its messages:
//
//   "stream":true   "max_tokens":N   "pace_us":N   "include_usage":true   "user":"16 bytes"
//
// What it does badly: white space after a colon is understood up to one blank, a needle inside a
// prompt would be believed, and a chunked request body is refused (411).

#include <cstdint>
#include <string_view>

namespace mock {

/** Bytes searched at each end of a body: enough for the fields before and after the messages. */
constexpr size_t SEARCH_BYTES = 512;

enum class Reading { incomplete, complete, refused };

struct Request {
  std::string_view method;
  std::string_view path;
  std::string_view body;
  size_t bytes = 0;  // head and body together
  bool closes = false;

  bool is_stream = false;
  bool has_usage = false;
  uint64_t tokens = 0;   // 0: not named
  int64_t pace_us = -1;  // -1: not named
  char request_id[16];
};

Reading read_request(std::string_view bytes, Request& request);

}  // namespace mock

#endif  // WARMPATH_BENCH_MOCK_NODE_REQUEST_H_
