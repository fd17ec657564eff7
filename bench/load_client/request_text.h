#ifndef WARMPATH_BENCH_LOAD_CLIENT_REQUEST_TEXT_H_
#define WARMPATH_BENCH_LOAD_CLIENT_REQUEST_TEXT_H_

// The bytes of the requests. All are distinct: the number of the request is in `user`, which the
// mock node echoes in every event, and at the very start of the prompt, so that nothing is
// answered from a prefix by accident.
//
//   WebSocket      the body alone, as one masked text frame
//   short prompt   one template; two places are patched, the rest never changes
//   conversation   a lane keeps its messages; each request appends a turn of turn_bytes, each
//                  reply the assistant's words; after `turns` turns a new conversation starts

#include <cstdint>
#include <string>

#include "options.h"

namespace load {

constexpr size_t REQUEST_ID_BYTES = 16;

/** Messages of one lane's conversation. */
struct Conversation {
  std::string messages;
  uint32_t turn = 0;
};

/** `r` and fifteen digits. */
void write_request_id(char* to, uint64_t number);

class RequestText {
 public:
  RequestText(const Options& options, const Target& target);

  /** Writes the request of this number; the view is valid until the next call. */
  const std::string& compose(uint64_t number, Conversation& conversation);

 private:
  const std::string& compose_turn(uint64_t number, Conversation& conversation);
  void append_text(std::string& out, uint64_t bytes, uint64_t seed) const;

  const Options& options_;
  std::string head_;   // up to the value of content-length
  std::string steer_;  // JSON fields before the messages
  std::string made_;
  size_t user_at_ = 0;
  size_t prompt_at_ = 0;
};

}  // namespace load

#endif  // WARMPATH_BENCH_LOAD_CLIENT_REQUEST_TEXT_H_
