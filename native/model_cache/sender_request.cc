// The sender's HTTP side: one head read, one answer decided.
#include <algorithm>
#include <charconv>
#include <cstring>
#include <ctime>

#include "check.h"
#include "model_cache/chunk_hash.h"
#include "model_cache/events.h"
#include "model_cache/sender.h"
#include "model_cache/session.h"

namespace warmpath::model_cache {

namespace {

constexpr std::string_view PREFIX = "/v1/blob/";
constexpr std::size_t HEX = 32;

const char* phrase_of(int status) {
  switch (status) {
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 409:
      return "Conflict";
    case 416:
      return "Range Not Satisfiable";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    default:
      return "Service Unavailable";
  }
}

bool is_named(std::string_view line, std::string_view name) {
  if (line.size() <= name.size() || line[name.size()] != ':') return false;
  return std::equal(name.begin(), name.end(), line.begin(),
                    [](char a, char b) { return a == (b >= 'A' && b <= 'Z' ? b + 32 : b); });
}

std::string_view value_of(std::string_view line, std::size_t name_bytes) {
  line.remove_prefix(name_bytes + 1);
  while (!line.empty() && (line.front() == ' ' || line.front() == '\t')) line.remove_prefix(1);
  while (!line.empty() && (line.back() == ' ' || line.back() == '\t')) line.remove_suffix(1);
  return line;
}

// "bytes=a-b" with a <= b.
bool read_range(std::string_view text, std::uint64_t* first, std::uint64_t* last) {
  constexpr std::string_view UNIT = "bytes=";
  if (!text.starts_with(UNIT)) return false;
  const char* end = text.data() + text.size();
  const auto [dash, bad] = std::from_chars(text.data() + UNIT.size(), end, *first);
  if (bad != std::errc{} || dash == end || *dash != '-') return false;
  const auto [stop, worse] = std::from_chars(dash + 1, end, *last);
  return worse == std::errc{} && stop == end && *first <= *last;
}

}  // namespace

// 0, or the status to refuse with.
int Sender::parse(std::string_view head, Request* out) const {
  const std::string_view first = head.substr(0, head.find("\r\n"));
  const std::size_t space = first.find(' ');
  const std::size_t second = first.find(' ', space + 1);
  if (space == std::string_view::npos || second == std::string_view::npos) return 400;
  if (first.substr(second + 1) != "HTTP/1.1") return 400;
  if (first.substr(0, space) != "GET") return 405;
  const std::string_view path = first.substr(space + 1, second - space - 1);
  out->path = path;
  for (std::size_t at = first.size() + 2; at < head.size();) {
    const std::size_t end = head.find("\r\n", at);
    const std::string_view line = head.substr(at, end - at);
    if (is_named(line, "range")) out->range = value_of(line, 5);
    if (is_named(line, "authorization")) out->authorization = value_of(line, 13);
    // A body would be taken for the next request.
    if (is_named(line, "transfer-encoding")) return 400;
    if (is_named(line, "content-length") && value_of(line, 14) != "0") return 400;
    at = end + 2;
  }
  const bool is_blob = path.size() == PREFIX.size() + HEX * 2 + 1 && path.starts_with(PREFIX) &&
                       path[PREFIX.size() + HEX] == '/' &&
                       read_hex(path.substr(PREFIX.size(), HEX), &out->file_id) &&
                       read_hex(path.substr(PREFIX.size() + HEX + 1), &out->generation);
  return is_blob ? 0 : 404;
}

// False: there is no whole head yet.
bool Sender::take_head(Connection& one) {
  const std::size_t end = one.in.find("\r\n\r\n");
  if (end == std::string::npos) {
    if (!one.in.empty() && one.head_at_ms == 0) one.head_at_ms = now_ms();
    if (one.in.size() < HEAD_BYTES_MAX) return false;
    refuse_with(one, 431);
    one.is_last = true;
    return true;
  }
  one.request = Request{};
  const int status = parse(std::string_view(one.in).substr(0, end + 2), &one.request);
  one.in.erase(0, end + 4);
  one.head_at_ms = 0;
  facts_.requests++;
  const Request& asked = one.request;
  // Before anything is told about what is here.
  if (!auth_.accepts(asked.path, asked.range, asked.authorization, time(nullptr))) {
    refuse_with(one, 401);
    one.is_last = true;
  } else if (status != 0) {
    refuse_with(one, status);
    one.is_last = status == 400;
  } else {
    one.held_until_ms = now_ms() + HOLD_MS_MAX;
    answer(one, false);
  }
  // More may have waited in the socket for room.
  read_some(one);
  return true;
}

void Sender::refuse_with(Connection& one, int status) {
  facts_.refused++;
  one.out = "HTTP/1.1 " + std::to_string(status) + ' ' + phrase_of(status) + "\r\n";
  if (status == 429) one.out += "retry-after: 1\r\n";
  one.out += "content-length: 0\r\n\r\n";
}

void Sender::answer(Connection& one, bool is_late) {
  Request& asked = one.request;
  Blob* blob = shelf_.find(asked.file_id);
  if (blob == nullptr) return refuse_with(one, 404);
  if (blob->generation != asked.generation) return refuse_with(one, 409);
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  const bool is_range = read_range(asked.range, &first, &last);
  asked.chunk = first / CHUNK_BYTES_MAX;
  const std::uint64_t end = std::min<std::uint64_t>(first + CHUNK_BYTES_MAX, blob->size);
  if (!is_range || first % CHUNK_BYTES_MAX != 0 || first >= blob->size || last + 1 != end) {
    return refuse_with(one, 416);
  }
  ChunkState& state = blob->states[asked.chunk];
  if (state != ChunkState::HAVE) {
    if (is_late) {
      // Whoever asks next is told to JavaScript again.
      state = ChunkState::ABSENT;
      return refuse_with(one, 503);
    }
    one.is_held = true;
    if (state == ChunkState::WANTED) return;
    state = ChunkState::WANTED;
    Event event{};
    event.kind = EVENT_CHUNK_WANTED;
    event.token = id_;
    event.a = asked.chunk;
    std::memcpy(event.bytes, asked.file_id.data(), asked.file_id.size());
    std::memcpy(event.bytes + 16, asked.generation.data(), asked.generation.size());
    events_push(event);
    return;
  }
  if (sends_ >= SENDS_MAX) return refuse_with(one, 429);
  sends_++;
  one.file = blob->file;
  one.offset = first;
  one.left = end - first;
  one.out = "HTTP/1.1 206 Partial Content\r\ncontent-type: application/octet-stream\r\n";
  one.out += "content-length: " + std::to_string(one.left) + "\r\ncontent-range: bytes ";
  one.out += std::to_string(first) + '-' + std::to_string(last) + '/' + std::to_string(blob->size);
  one.out += "\r\nx-warmpath-xxh3-128: " + hex_of(blob->hashes[asked.chunk]) + "\r\n\r\n";
}

}  // namespace warmpath::model_cache
