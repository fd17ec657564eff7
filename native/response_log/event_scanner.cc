// See event_scanner.h.
#include "response_log/event_scanner.h"

#include <cstring>
#include <string_view>

#include "check.h"

namespace warmpath {

namespace {

using std::string_view_literals::operator""sv;

// The value of a field: one space after the colon is not part of it.
std::string_view value_of(std::string_view line, std::size_t name_length) {
  line.remove_prefix(name_length + 1);
  if (line.starts_with(' ')) line.remove_prefix(1);
  return line;
}

// The first `wanted` in [from, size), or size.
std::size_t find(const std::uint8_t* bytes, std::size_t from, std::size_t size, int wanted) {
  if (from >= size) return size;
  const void* const found = std::memchr(bytes + from, wanted, size - from);
  if (found == nullptr) return size;
  return static_cast<std::size_t>(static_cast<const std::uint8_t*>(found) - bytes);
}

std::uint32_t class_of_type(std::string_view type) {
  if (type == "error"sv) return EVENT_ERROR;
  if (type == "message_stop"sv) return EVENT_MESSAGE_STOP;
  if (type == "response.completed"sv) return EVENT_COMPLETED;
  if (type == "response.incomplete"sv) return EVENT_INCOMPLETE;
  if (type == "response.failed"sv) return EVENT_FAILED;
  return 0;
}

std::uint32_t class_of_data(std::string_view data) {
  if (data == "[DONE]"sv) return EVENT_DONE;
  if (!data.starts_with("{\"error\""sv)) return 0;
  data.remove_prefix(8);
  const bool is_null = data.starts_with(":null"sv) || data.starts_with(": null"sv);
  return is_null ? 0u : static_cast<std::uint32_t>(EVENT_ERROR);
}

// Whether bytes at the beginning of an event begin a line that decides no class: JSON data whose
// first member's name begins with another letter than that of "error".
bool is_plain_data(const std::uint8_t* bytes, std::size_t size) {
  constexpr std::string_view BEGIN = "data: {\"";
  return size > BEGIN.size() && std::memcmp(bytes, BEGIN.data(), BEGIN.size()) == 0 &&
         bytes[BEGIN.size()] != 'e';
}

}  // namespace

struct EventScanner::Walk {
  const std::uint8_t* bytes;
  EventSink sink;
  void* context;
  ScanFacts facts;
};

void EventScanner::reset() {
  *this = EventScanner();
}

void EventScanner::keep_prefix(const std::uint8_t* bytes, std::size_t size) {
  if (line_length_ < SCAN_PREFIX_BYTES) {
    const std::size_t room = SCAN_PREFIX_BYTES - static_cast<std::size_t>(line_length_);
    std::memcpy(prefix_ + line_length_, bytes, size < room ? size : room);
  }
  line_length_ += size;
}

// `held` bytes of a line of `length` bytes; the rest decides nothing.
void EventScanner::classify(const std::uint8_t* line, std::size_t held, std::uint64_t length) {
  WARMPATH_CHECK(held > 0 && held <= length);
  const std::string_view text(reinterpret_cast<const char*>(line), held);
  const bool is_whole = held == length;
  if (text.starts_with("data"sv) && (length == 4 || text.substr(4).starts_with(':'))) {
    data_lines_ += data_lines_ < 2 ? 1 : 0;
    if (data_lines_ > 1 || length == 4) return;
    data_class_ = class_of_data(value_of(text, 4));
    if (data_class_ == EVENT_DONE && !is_whole) data_class_ = 0;
  } else if (text.starts_with("event"sv) && (length == 5 || text.substr(5).starts_with(':'))) {
    type_class_ = is_whole && length > 5 ? class_of_type(value_of(text, 5)) : 0;
  }
}

// The line's last part is [from, to) of the piece.
void EventScanner::end_line(Walk& walk, std::size_t from, std::size_t to) {
  const std::size_t size = to - from;
  if (line_length_ == 0) {
    const std::size_t held = size < SCAN_PREFIX_BYTES ? size : SCAN_PREFIX_BYTES;
    classify(walk.bytes + from, held, size);
  } else {
    keep_prefix(walk.bytes + from, size);
    const bool is_short = line_length_ < SCAN_PREFIX_BYTES;
    const std::size_t held = is_short ? static_cast<std::size_t>(line_length_) : SCAN_PREFIX_BYTES;
    classify(prefix_, held, line_length_);
    line_length_ = 0;
  }
  has_line_ = true;
}

void EventScanner::tell(Walk& walk, std::size_t end) {
  walk.facts.events++;
  walk.facts.whole_end = end;
  if (walk.sink != nullptr) walk.sink(walk.context, end);
}

void EventScanner::end_event(Walk& walk, std::size_t end) {
  if (!has_line_) return;
  if (data_lines_ > 0) {
    const bool is_done_only = data_lines_ == 1 || data_class_ != EVENT_DONE;
    walk.facts.classes |= type_class_ | (is_done_only ? data_class_ : 0);
  }
  tell(walk, end);
  type_class_ = 0;
  data_class_ = 0;
  data_lines_ = 0;
  has_line_ = false;
}

ScanFacts EventScanner::scan(const std::uint8_t* bytes, std::size_t size, EventSink sink,
                             void* context) {
  Walk walk = {bytes, sink, context, {}};
  if (size == 0) return walk.facts;
  WARMPATH_CHECK(bytes != nullptr);
  std::size_t at = 0;
  if (is_after_cr_) {
    is_after_cr_ = false;
    at = bytes[0] == '\n' ? 1 : 0;
    if (is_end_held_) end_event(walk, at);
    is_end_held_ = false;
  }
  // Positions of the next LF and CR at or after `at`; each is searched again only once passed, so
  // that a piece of CRs alone is not searched for an LF at every one of them.
  std::size_t lf = find(bytes, at, size, '\n');
  std::size_t cr = find(bytes, at, size, '\r');
  while (at < size) {
    // Most lines are followed by the empty one: no call for it.
    if (lf < at) lf = bytes[at] == '\n' ? at : find(bytes, at, size, '\n');
    if (cr < at) cr = find(bytes, at, size, '\r');
    const bool is_cr = cr < lf;
    const std::size_t to = is_cr ? cr : lf;
    if (to == size) break;
    // The usual event, a line of data and the empty one, needs no more than these two looks.
    if (!is_cr && is_fresh() && is_plain_data(bytes + at, to - at) && to + 1 < size &&
        bytes[to + 1] == '\n') {
      at = to + 2;
      tell(walk, at);
      continue;
    }
    const bool is_empty = line_length_ == 0 && to == at;
    if (!is_empty) end_line(walk, at, to);
    const bool is_cr_last = is_cr && to + 1 == size;
    const std::size_t next = to + (is_cr && !is_cr_last && bytes[to + 1] == '\n' ? 2 : 1);
    if (is_cr_last) {
      is_after_cr_ = true;
      is_end_held_ = is_empty && has_line_;
    } else if (is_empty) {
      end_event(walk, next);
    }
    at = next;
  }
  if (at < size) keep_prefix(bytes + at, size - at);
  return walk.facts;
}

ScanFacts EventScanner::finish(EventSink sink, void* context) {
  Walk walk = {nullptr, sink, context, {}};
  if (is_end_held_) end_event(walk, 0);
  is_end_held_ = false;
  is_after_cr_ = false;
  return walk.facts;
}

}  // namespace warmpath
