#include "reply_reader.h"

#include <string.h>
#include <strings.h>

#include <algorithm>
#include <cassert>

namespace load {

namespace {

constexpr size_t NOT_FOUND = std::string_view::npos;
constexpr std::string_view STAMP = "\"mock_ns\":\"";
constexpr std::string_view DATA = "data: ";
constexpr size_t STAMP_DIGITS = 20;
constexpr size_t STAMP_END = 2;  // the quote and the brace behind the digits
/** The id is `chatcmpl-…` or `cmpl-…` near the start of an event or a body. */
constexpr size_t ID_SEARCH_BYTES = 40;

uint64_t mix(uint64_t hash, std::string_view bytes) {
  size_t at = 0;
  for (; at + 8 <= bytes.size(); at += 8) {
    uint64_t word;
    memcpy(&word, bytes.data() + at, 8);
    hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
    hash ^= hash >> 32;
  }
  for (; at < bytes.size(); at++) {
    hash = (hash ^ static_cast<uint8_t>(bytes[at])) * 0x9e3779b97f4a7c15u;
  }
  return hash ^ (hash >> 29);
}

bool is_name(std::string_view line, const char* name) {
  const size_t length = strlen(name);
  return line.size() >= length && strncasecmp(line.data(), name, length) == 0;
}

bool has_word(std::string_view line, const char* word) {
  return strcasestr(std::string(line).c_str(), word) != nullptr;
}

uint64_t digits(std::string_view text) {
  uint64_t value = 0;
  for (const char digit : text) {
    if (digit >= '0' && digit <= '9') value = value * 10 + static_cast<uint64_t>(digit - '0');
  }
  return value;
}

}  // namespace

void ReplyReader::start(uint64_t request_number) {
  assert(part_ == Part::done || is_broken_);
  write_request_id(request_id_, request_number);
  part_ = is_websocket_ ? Part::frames : Part::head;
  carry_.clear();
  line_.clear();
  left_ = status_ = 0;
  is_stream_ = has_length_ = is_chunked_ = closes_ = has_done_event_ = is_broken_ = false;
  is_own_ = true;
  hash_ = events_ = body_bytes_ = first_event_ns_ = 0;
  if (!is_websocket_) return;
  status_ = 200;
  is_stream_ = true;
}

ReplyState ReplyReader::feed(std::string_view bytes, uint64_t read_ns) {
  read_ns_ = read_ns;
  if (is_websocket_) return feed_frames(bytes);
  while (!bytes.empty() && part_ != Part::done && !is_broken_) {
    if (part_ == Part::head) {
      const size_t before = carry_.size();
      carry_.append(bytes);
      const size_t end = carry_.find("\r\n\r\n", before > 3 ? before - 3 : 0);
      if (end == NOT_FOUND) return ReplyState::reading;
      bytes.remove_prefix(end + 4 - before);
      const std::string head = carry_.substr(0, end + 2);
      carry_.clear();
      read_head(head);
    } else if (part_ == Part::sized || part_ == Part::chunk_data || part_ == Part::until_close) {
      const size_t take = part_ == Part::until_close
                              ? bytes.size()
                              : std::min(bytes.size(), static_cast<size_t>(left_));
      read_body(bytes.substr(0, take));
      bytes.remove_prefix(take);
      left_ -= part_ == Part::until_close ? 0 : take;
      if (left_ == 0 && part_ == Part::sized) part_ = Part::done;
      if (left_ == 0 && part_ == Part::chunk_data) part_ = Part::chunk_end;
    } else {
      const size_t end = bytes.find('\n');
      line_.append(bytes.substr(0, end == NOT_FOUND ? end : end + 1));
      bytes.remove_prefix(end == NOT_FOUND ? bytes.size() : end + 1);
      if (end == NOT_FOUND) break;
      if (part_ == Part::chunk_size) {
        left_ = strtoull(line_.c_str(), nullptr, 16);
        part_ = left_ == 0 ? Part::trailer : Part::chunk_data;
      } else if (part_ == Part::chunk_end) {
        is_broken_ = line_ != "\r\n";
        part_ = Part::chunk_size;
      } else if (line_ == "\r\n") {
        part_ = Part::done;
      }
      line_.clear();
    }
  }
  if (is_broken_) return ReplyState::broken;
  if (part_ != Part::done) return ReplyState::reading;
  if (!bytes.empty()) return ReplyState::broken;
  return closed();
}

ReplyState ReplyReader::feed_frames(std::string_view bytes) {
  if (!carry_.empty()) {
    carry_.append(bytes);
    line_.swap(carry_);
    carry_.clear();
    bytes = line_;
  }
  while (bytes.size() >= 2 && part_ == Part::frames && !is_broken_) {
    const auto byte = [&](size_t at) { return static_cast<uint8_t>(bytes[at]); };
    const size_t short_size = byte(1) & 0x7f;
    const size_t extra = short_size == 126 ? 2 : short_size == 127 ? 8 : 0;
    if (bytes.size() < 2 + extra) break;
    size_t size = extra == 0 ? short_size : 0;
    for (size_t i = 0; i < extra; i++) size = size << 8 | byte(2 + i);
    if (bytes.size() < 2 + extra + size) break;
    read_frame(byte(0) & 0x0f, bytes.substr(2 + extra, size));
    bytes.remove_prefix(2 + extra + size);
  }
  if (is_broken_) return ReplyState::broken;
  if (part_ == Part::done) return bytes.empty() ? ReplyState::done : ReplyState::broken;
  carry_.assign(bytes);
  return ReplyState::reading;
}

void ReplyReader::read_frame(uint8_t opcode, std::string_view payload) {
  constexpr uint8_t PING = 9;
  if (opcode == PING) return;
  is_broken_ = opcode != (is_msgpack_ ? 2 : 1);
  if (is_msgpack_ && !is_broken_) {
    // [nil, number, bin]: the number has 1 or 5 bytes, the bin's head 2, 3 or 5.
    const size_t at = static_cast<uint8_t>(payload[2]) == 0xce ? 7 : 3;
    const uint8_t bin = static_cast<uint8_t>(payload[at]);
    payload.remove_prefix(at + (bin == 0xc4 ? 2 : bin == 0xc5 ? 3 : 5));
  }
  body_bytes_ += payload.size();
  read_event(payload);
  if (has_done_event_) part_ = Part::done;
}

ReplyState ReplyReader::closed() {
  if (part_ != Part::done && part_ != Part::until_close) {
    is_broken_ = true;
    return ReplyState::broken;
  }
  part_ = Part::done;
  if (!is_stream_) {
    add_masked(carry_, carry_.size());
  } else if (!carry_.empty()) {
    is_broken_ = true;
  }
  carry_.clear();
  return is_broken_ ? ReplyState::broken : ReplyState::done;
}

void ReplyReader::read_head(std::string_view head) {
  const size_t space = head.find(' ');
  status_ = space == NOT_FOUND ? 0 : static_cast<int>(digits(head.substr(space + 1, 3)));
  for (size_t at = head.find("\r\n") + 2; at < head.size();) {
    const size_t end = head.find("\r\n", at);
    const std::string_view line = head.substr(at, end - at);
    if (is_name(line, "content-length:")) {
      has_length_ = true;
      left_ = digits(line.substr(15));
    } else if (is_name(line, "transfer-encoding:")) {
      is_chunked_ = has_word(line, "chunked");
    } else if (is_name(line, "content-type:")) {
      is_stream_ = has_word(line, "text/event-stream");
    } else if (is_name(line, "connection:")) {
      closes_ = has_word(line, "close");
    }
    at = end + 2;
  }
  if (status_ == 100) {
    part_ = Part::head;
  } else if (is_chunked_) {
    part_ = Part::chunk_size;
  } else if (has_length_) {
    part_ = left_ == 0 ? Part::done : Part::sized;
  } else {
    part_ = Part::until_close;
    closes_ = true;
  }
  is_broken_ = status_ == 0;
}

void ReplyReader::read_body(std::string_view piece) {
  body_bytes_ += piece.size();
  if (!is_stream_) {
    carry_.append(piece);
    return;
  }
  while (!piece.empty()) {
    size_t end = NOT_FOUND;
    if (carry_.empty()) {
      end = piece.find("\n\n");
      if (end != NOT_FOUND) {
        read_event(piece.substr(0, end));
        piece.remove_prefix(end + 2);
        continue;
      }
    }
    const size_t before = carry_.size();
    carry_.append(piece);
    end = carry_.find("\n\n", before > 0 ? before - 1 : 0);
    if (end == NOT_FOUND) return;
    read_event(std::string_view(carry_).substr(0, end));
    piece.remove_prefix(end + 2 - before);
    carry_.clear();
  }
}

void ReplyReader::read_event(std::string_view event) {
  if (first_event_ns_ == 0) first_event_ns_ = read_ns_;
  // Without the name of the field, so that a stream has one hash on every transport.
  if (event.substr(0, DATA.size()) == DATA) event.remove_prefix(DATA.size());
  if (event == "[DONE]") {
    has_done_event_ = true;
    hash_ = mix(hash_, event);
    return;
  }
  events_++;
  size_t end = event.size();
  const size_t tail = STAMP.size() + STAMP_DIGITS + STAMP_END;
  if (event.size() > tail && event.substr(event.size() - tail, STAMP.size()) == STAMP) {
    end = event.size() - STAMP_DIGITS - STAMP_END;
    const uint64_t sent_ns = digits(event.substr(end, STAMP_DIGITS));
    transit_->record(read_ns_ > sent_ns ? read_ns_ - sent_ns : 0);
  }
  add_masked(event, end);
}

/** Adds the bytes up to `end` to the hash, without the id, which is compared. */
void ReplyReader::add_masked(std::string_view bytes, size_t end) {
  const size_t dash = bytes.substr(0, std::min(end, ID_SEARCH_BYTES)).find("cmpl-");
  if (dash == NOT_FOUND || dash + 5 + REQUEST_ID_BYTES > end) {
    is_own_ = false;
    hash_ = mix(hash_, bytes.substr(0, end));
    return;
  }
  const size_t id = dash + 5;
  if (memcmp(bytes.data() + id, request_id_, REQUEST_ID_BYTES) != 0) is_own_ = false;
  hash_ = mix(hash_, bytes.substr(0, id));
  hash_ = mix(hash_, bytes.substr(id + REQUEST_ID_BYTES, end - id - REQUEST_ID_BYTES));
}

}  // namespace load
