#ifndef WARMPATH_BENCH_MOCK_NODE_REPLIES_H_
#define WARMPATH_BENCH_MOCK_NODE_REPLIES_H_

// Every byte that mock_node answers with, built once at the start.
//
// Bodies have the shape that vLLM 0.32 was seen to send, plus one field in each SSE event:
//
//   10b\r\n                                     size of the HTTP chunk, constant per template
//   data: {"id":"chatcmpl-0000000000000000",…   request_id: 16 bytes, taken from the request's
//   "user" …,"mock_ns":"00000012345678901234"}\n\n     time_ns: CLOCK_MONOTONIC when it was sent,
//   20 digits \r\n
//
// An event is therefore one memcpy and two patches of constant length. One HTTP chunk holds one
// event, as uvicorn sends it. A chat stream of N tokens has N + 2 events: the role, N tokens of
// which the last carries the finish reason, and [DONE]; a text completion has no role event. With
// `stream_options.include_usage` a usage event goes before [DONE].

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mock {

constexpr size_t REQUEST_ID_BYTES = 16;
constexpr size_t TIME_DIGITS = 20;

/** Bytes with up to two places that are patched when they are sent. */
struct Template {
  std::string bytes;
  size_t request_id_at = 0;  // 0: no such place
  size_t time_at = 0;        // 0: no such place

  void append_to(std::string& out, const char* request_id, uint64_t now_ns) const;
};

/** The templates of one endpoint. */
struct Endpoint {
  Template role;  // empty for text completions
  Template token;
  Template last_token;
  Template usage;
  Template plain;
};

struct Settings {
  std::vector<std::string> models;
  std::string kv_events;  // endpoint, or empty: 404 on /kv_event_sources
  std::string kv_replay;
  uint64_t tokens = 16;  // when the request names no max_tokens
  uint64_t pace_us = 0;  // when the request names no pace_us; 0: as fast as the socket takes them
};

class Replies {
 public:
  explicit Replies(const Settings& settings);

  /** Head of a stream or a reply; `Date` is kept at the current second. */
  void append_head(std::string& out, const char* fixed) const;
  void refresh_date();

  Endpoint chat;
  Endpoint completion;
  std::string_view done = "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";
  std::string models;
  std::string metrics;
  std::string kv_event_sources;

 private:
  std::string date_;
};

constexpr const char* STREAM_HEAD =
    "server: uvicorn\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    "transfer-encoding: chunked\r\n\r\n";

}  // namespace mock

#endif  // WARMPATH_BENCH_MOCK_NODE_REPLIES_H_
