#include "request.h"

#include <string.h>
#include <strings.h>

#include <algorithm>

namespace mock {

namespace {

constexpr size_t NOT_FOUND = std::string_view::npos;

/** Position behind `needle` in the first or last SEARCH_BYTES of the body. */
size_t behind(std::string_view body, std::string_view needle) {
  const size_t window = std::min(body.size(), SEARCH_BYTES);
  for (const size_t start : {size_t{0}, body.size() - window}) {
    const void* hit = memmem(body.data() + start, window, needle.data(), needle.size());
    if (hit == nullptr) continue;
    size_t at = static_cast<size_t>(static_cast<const char*>(hit) - body.data()) + needle.size();
    if (at < body.size() && body[at] == ' ') at++;
    return at;
  }
  return NOT_FOUND;
}

bool is_true(std::string_view body, std::string_view needle) {
  const size_t at = behind(body, needle);
  return at != NOT_FOUND && body.substr(at, 4) == "true";
}

int64_t number(std::string_view body, std::string_view needle) {
  size_t at = behind(body, needle);
  if (at == NOT_FOUND) return -1;
  int64_t value = 0;
  for (; at < body.size() && body[at] >= '0' && body[at] <= '9'; at++) {
    value = value * 10 + (body[at] - '0');
  }
  return value;
}

void read_body(Request& request) {
  const std::string_view body = request.body;
  request.is_stream = is_true(body, "\"stream\":");
  request.has_usage = request.is_stream && is_true(body, "\"include_usage\":");
  const int64_t tokens =
      std::max(number(body, "\"max_tokens\":"), number(body, "\"max_completion_tokens\":"));
  request.tokens = tokens > 0 ? static_cast<uint64_t>(tokens) : 0;
  request.pace_us = number(body, "\"pace_us\":");
  memset(request.request_id, '0', sizeof(request.request_id));
  const size_t user = behind(body, "\"user\":");
  if (user != NOT_FOUND && user + 1 + sizeof(request.request_id) < body.size()) {
    memcpy(request.request_id, body.data() + user + 1, sizeof(request.request_id));
  }
}

bool starts_with_name(std::string_view line, const char* name) {
  const size_t length = strlen(name);
  return line.size() >= length && strncasecmp(line.data(), name, length) == 0;
}

/** Length of the body, or NOT_FOUND when the head asks for something that is refused. */
size_t read_headers(std::string_view head, Request& request) {
  size_t length = 0;
  for (size_t at = head.find("\r\n") + 2; at < head.size();) {
    const size_t end = std::min(head.find("\r\n", at), head.size());
    const std::string_view line = head.substr(at, end - at);
    if (starts_with_name(line, "content-length:")) {
      for (const char digit : line.substr(15)) {
        if (digit >= '0' && digit <= '9') length = length * 10 + static_cast<size_t>(digit - '0');
      }
    } else if (starts_with_name(line, "connection: close")) {
      request.closes = true;
    } else if (starts_with_name(line, "transfer-encoding:")) {
      return NOT_FOUND;
    }
    at = end + 2;
  }
  return length;
}

}  // namespace

Reading read_request(std::string_view bytes, Request& request) {
  const size_t head = bytes.find("\r\n\r\n");
  if (head == NOT_FOUND) return Reading::incomplete;
  const size_t space = bytes.find(' ');
  const size_t path_end = bytes.find_first_of(" ?\r", space + 1);
  if (space > head || path_end > head) return Reading::refused;
  request.method = bytes.substr(0, space);
  request.path = bytes.substr(space + 1, path_end - space - 1);
  const size_t length = read_headers(bytes.substr(0, head + 2), request);
  if (length == NOT_FOUND) return Reading::refused;
  request.bytes = head + 4 + length;
  if (bytes.size() < request.bytes) return Reading::incomplete;
  request.body = bytes.substr(head + 4, length);
  if (length > 0) read_body(request);
  return Reading::complete;
}

}  // namespace mock
