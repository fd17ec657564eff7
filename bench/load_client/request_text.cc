#include "request_text.h"

#include <cassert>
#include <cstring>

namespace load {

namespace {

constexpr const char* WORDS[16] = {"the ",   "path ", "stays ", "warm ", "when ", "nodes ",
                                   "share ", "what ", "they ",  "know ", "and ",  "never ",
                                   "read ",  "one ",  "page ",  "twice "};

constexpr const char* USER_PLACE = "uuuuuuuuuuuuuuuu";

// A masked text frame's head; the mask is four zeros, which leaves the payload as it is.
std::string frame_head(size_t size) {
  std::string head = "\x81";
  const int bytes = size < 126 ? 0 : size <= 0xffff ? 2 : 8;
  head += static_cast<char>(0x80 | (bytes == 0 ? size : bytes == 2 ? 126 : 127));
  for (int i = bytes - 1; i >= 0; i--) head += static_cast<char>(size >> (8 * i));
  return head + std::string(4, '\0');
}

}  // namespace

void write_request_id(char* to, uint64_t number) {
  to[0] = 'r';
  for (size_t i = REQUEST_ID_BYTES; i-- > 1; number /= 10) {
    to[i] = static_cast<char>('0' + number % 10);
  }
}

RequestText::RequestText(const Options& options, const Target& target) : options_(options) {
  head_ = "POST " + options.path + " HTTP/1.1\r\nhost: " + target.host + ":" +
          std::to_string(target.port) + "\r\ncontent-type: application/json\r\n";
  if (!options.api_key.empty()) head_ += "authorization: Bearer " + options.api_key + "\r\n";
  head_ += "content-length: ";
  steer_ = "{\"model\":\"" + options.model + "\",\"user\":\"" + USER_PLACE +
           "\",\"max_tokens\":" + std::to_string(options.max_tokens);
  if (options.is_stream) steer_ += ",\"stream\":true";
  if (options.pace_us > 0) steer_ += ",\"pace_us\":" + std::to_string(options.pace_us);
  if (options.turns > 0) return;
  std::string prompt(REQUEST_ID_BYTES, ' ');
  append_text(prompt, options.prompt_bytes, options.seed);
  const bool is_chat = options.path.find("/chat/") != std::string::npos;
  const std::string body =
      steer_ + (is_chat ? R"(,"messages":[{"role":"user","content":")" + prompt + "\"}]}"
                        : R"(,"prompt":")" + prompt + "\"}");
  made_ = options.is_websocket ? frame_head(body.size()) + body
                               : head_ + std::to_string(body.size()) + "\r\n\r\n" + body;
  user_at_ = made_.find(USER_PLACE);
  prompt_at_ = made_.rfind(prompt);
  assert(user_at_ != std::string::npos && prompt_at_ != std::string::npos);
}

const std::string& RequestText::compose(uint64_t number, Conversation& conversation) {
  if (options_.turns > 0) return compose_turn(number, conversation);
  write_request_id(made_.data() + user_at_, number);
  write_request_id(made_.data() + prompt_at_, number);
  return made_;
}

const std::string& RequestText::compose_turn(uint64_t number, Conversation& conversation) {
  std::string& messages = conversation.messages;
  char id[REQUEST_ID_BYTES];
  write_request_id(id, number);
  if (conversation.turn == 0 || conversation.turn == options_.turns) {
    conversation.turn = 0;
    messages = R"({"role":"system","content":")" + std::string(id, sizeof(id));
    append_text(messages, options_.prompt_bytes, number);
    messages += "\"}";
  } else {
    messages += R"(,{"role":"assistant","content":" path"})";
  }
  conversation.turn++;
  messages += R"(,{"role":"user","content":")" + std::string(id, sizeof(id));
  append_text(messages, options_.turn_bytes, number * 31 + 7);
  messages += "\"}";
  std::string body = steer_ + ",\"messages\":[" + messages + "]}";
  memcpy(body.data() + body.find(USER_PLACE), id, sizeof(id));
  made_ = head_ + std::to_string(body.size()) + "\r\n\r\n" + body;
  return made_;
}

/** Pads with words to `bytes` bytes, of which REQUEST_ID_BYTES are already there. */
void RequestText::append_text(std::string& out, uint64_t bytes, uint64_t seed) const {
  if (bytes <= REQUEST_ID_BYTES) return;
  const size_t end = out.size() + bytes - REQUEST_ID_BYTES;
  uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
  while (out.size() < end) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    out += WORDS[state >> 60];
  }
  out.resize(end);
}

}  // namespace load
