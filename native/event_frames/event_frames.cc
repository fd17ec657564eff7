// See event_frames.h.
#include "event_frames/event_frames.h"

#include <cstring>

#include "check.h"

namespace warmpath {

namespace {

// Most bytes that msgpack adds to a payload and its prefix: number (5) and head of the bin (5).
constexpr std::size_t MSGPACK_HEAD_BYTES = 10;
constexpr std::size_t DONE_SIZE = 6;
// Payloads begin at multiples of this, so that equally long tokens of many calls lie at the same
// offsets.
constexpr std::size_t PLACE_BYTES = 256;

struct Line {
  std::size_t from;
  std::size_t to;    // without its end
  std::size_t next;  // behind its end
};

// The lines of [from, end), which end with LF, CRLF or a lone CR, or with the stretch. They are
// asked for in order; each byte is searched once for an LF and once for a CR, however those are
// mixed.
class Lines {
 public:
  Lines(const std::uint8_t* bytes, std::size_t from, std::size_t end)
      : bytes_(bytes), end_(end), behind_lf_(from), no_cr_before_(from) {}

  // The line at `at`, below the end.
  Line next(std::size_t at) {
    // Most lines are followed by the empty one: no call for it.
    if (behind_lf_ <= at) behind_lf_ = 1 + (bytes_[at] == '\n' ? at : find('\n', at, end_));
    const std::size_t lf = behind_lf_ - 1;
    if (no_cr_before_ < at) no_cr_before_ = at;
    if (no_cr_before_ < lf) no_cr_before_ = find('\r', no_cr_before_, lf);
    if (no_cr_before_ >= lf) return {at, lf, lf < end_ ? lf + 1 : end_};
    const std::size_t behind = no_cr_before_ + 1;
    return {at, no_cr_before_, behind < end_ && bytes_[behind] == '\n' ? behind + 1 : behind};
  }

 private:
  std::size_t find(int wanted, std::size_t from, std::size_t to) const {
    const void* const found = std::memchr(bytes_ + from, wanted, to - from);
    if (found == nullptr) return to;
    return static_cast<std::size_t>(static_cast<const std::uint8_t*>(found) - bytes_);
  }

  const std::uint8_t* bytes_;
  std::size_t end_;
  std::size_t behind_lf_;     // behind the next LF, once one was looked for
  std::size_t no_cr_before_;  // the next CR lies here, or nobody has looked further
};

// Offset of the value of a data line, or 0 when it is another line.
std::size_t data_value(const std::uint8_t* bytes, const Line& line) {
  const std::size_t size = line.to - line.from;
  if (size < 4 || std::memcmp(bytes + line.from, "data", 4) != 0) return 0;
  if (size == 4) return line.to;
  if (bytes[line.from + 4] != ':') return 0;
  const bool has_space = size > 5 && bytes[line.from + 5] == ' ';
  return line.from + (has_space ? 6 : 5);
}

bool is_continuation(const std::uint8_t* at, std::size_t count) {
  for (std::size_t i = 1; i <= count; i++) {
    if ((at[i] & 0xc0) != 0x80) return false;
  }
  return true;
}

// Bytes of the sequence at `at` with `left` bytes to the end, or 0 when it is not UTF-8.
std::size_t sequence_size(const std::uint8_t* at, std::size_t left) {
  const std::uint8_t lead = at[0];
  const std::size_t size = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  if (size == 1) return 1;
  if (lead < 0xc2 || lead > 0xf4 || left < size || !is_continuation(at, size - 1)) return 0;
  const std::uint8_t second = at[1];
  // Overlong forms, surrogates, and what lies beyond U+10FFFF.
  if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f)) return 0;
  if ((lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second > 0x8f)) return 0;
  return size;
}

constexpr std::uint64_t HIGH_BITS = 0x8080808080808080u;

std::uint64_t word_at(const std::uint8_t* bytes) {
  std::uint64_t word;
  std::memcpy(&word, bytes, sizeof(word));
  return word;
}

// Without a way out in the middle, so that the compiler makes wide steps of it.
bool is_ascii(const std::uint8_t* bytes, std::size_t size) {
  std::uint64_t seen = 0;
  if (size < sizeof(seen)) {
    for (std::size_t i = 0; i < size; i++) seen |= bytes[i];
    return (seen & 0x80) == 0;
  }
  for (std::size_t i = 0; i + sizeof(seen) <= size; i += sizeof(seen)) seen |= word_at(bytes + i);
  seen |= word_at(bytes + size - sizeof(seen));
  return (seen & HIGH_BITS) == 0;
}

bool is_utf8(const std::uint8_t* bytes, std::size_t size) {
  if (is_ascii(bytes, size)) return true;
  std::size_t at = 0;
  while (at < size) {
    if (at + 8 <= size && (word_at(bytes + at) & HIGH_BITS) == 0) {
      at += 8;
      continue;
    }
    const std::size_t step = sequence_size(bytes + at, size - at);
    if (step == 0) return false;
    at += step;
  }
  return true;
}

std::size_t put_uint(std::uint8_t* out, std::uint32_t value) {
  if (value < 0x80) {
    out[0] = static_cast<std::uint8_t>(value);
    return 1;
  }
  out[0] = 0xce;
  for (int i = 0; i < 4; i++) out[1 + i] = static_cast<std::uint8_t>(value >> (24 - 8 * i));
  return 5;
}

std::size_t put_bin_head(std::uint8_t* out, std::size_t size) {
  if (size < 256) {
    out[0] = 0xc4;
    out[1] = static_cast<std::uint8_t>(size);
    return 2;
  }
  const bool is_long = size > 0xffff;
  const int bytes = is_long ? 4 : 2;
  out[0] = is_long ? 0xc6 : 0xc5;
  for (int i = 0; i < bytes; i++) {
    out[1 + i] = static_cast<std::uint8_t>(size >> (8 * (bytes - 1 - i)));
  }
  return static_cast<std::size_t>(bytes) + 1;
}

bool is_space(std::uint8_t byte) {
  return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

// The event whose lines begin at `at`: how far it goes, and how much data it has.
struct Event {
  std::size_t end = 0;
  std::size_t data_size = 0;
  std::size_t data_lines = 0;
  std::size_t first_value = 0;
  bool has_line = false;
};

Event event_at(const FrameRequest& in, std::size_t at, Lines& lines) {
  Event event;
  while (at < in.to) {
    const Line line = lines.next(at);
    at = line.next;
    if (line.to == line.from) {
      if (event.has_line) break;
      continue;
    }
    event.has_line = true;
    const std::size_t value = data_value(in.bytes, line);
    if (value == 0) continue;
    if (event.data_lines++ == 0) event.first_value = value;
    event.data_size += line.to - value + (event.data_lines > 1 ? 1 : 0);
  }
  event.end = at;
  return event;
}

void copy_data(const FrameRequest& in, std::size_t at, const Event& event, std::uint8_t* out) {
  if (event.data_lines == 1) {
    std::memcpy(out, in.bytes + event.first_value, event.data_size);
    return;
  }
  Lines lines(in.bytes, at, event.end);
  std::size_t copied = 0;
  while (at < event.end) {
    const Line line = lines.next(at);
    at = line.next;
    const std::size_t value = line.to == line.from ? 0 : data_value(in.bytes, line);
    if (value == 0) continue;
    if (copied++ > 0) *out++ = '\n';
    std::memcpy(out, in.bytes + value, line.to - value);
    out += line.to - value;
  }
}

bool is_done(const std::uint8_t* data, std::size_t size) {
  return size == DONE_SIZE && std::memcmp(data, "[DONE]", DONE_SIZE) == 0;
}

// Splices the prefix into `data`, which lies `prefix_size` bytes behind `out`; returns the span.
FrameSpan wrap_text(const FrameRequest& in, std::uint8_t* out, std::size_t size) {
  const std::uint8_t* const data = out + in.prefix_size;
  const auto prefix = static_cast<std::uint32_t>(in.prefix_size);
  const auto end = static_cast<std::uint32_t>(in.prefix_size + size);
  if (!is_utf8(data, size)) return {prefix, end, FRAME_BROKEN};
  std::size_t brace = 0;
  while (brace < size && is_space(data[brace])) brace++;
  if (brace == size || data[brace] != '{') {
    return {prefix, end, is_done(data, size) ? FRAME_DONE : FRAME_OTHER};
  }
  if (prefix == 0) return {0, end, FRAME_OBJECT};
  std::size_t member = brace + 1;
  while (member < size && is_space(data[member])) member++;
  // The prefix's last bytes take the place of the brace; an empty object wants no comma.
  const bool is_empty = member < size && data[member] == '}';
  const std::size_t prefix_size = in.prefix_size - (is_empty ? 1 : 0);
  const std::size_t start = in.prefix_size + member - prefix_size;
  std::memmove(out + start, in.prefix, prefix_size);
  return {static_cast<std::uint32_t>(start), end, FRAME_OBJECT};
}

FrameSpan wrap_msgpack(const FrameRequest& in, std::uint32_t number, std::uint8_t* out,
                       std::size_t head_size, std::size_t size) {
  std::uint8_t head[MSGPACK_HEAD_BYTES];
  std::size_t at = put_uint(head, number);
  at += put_bin_head(head + at, size);
  const std::size_t start = head_size - at - in.prefix_size;
  std::memcpy(out + start, in.prefix, in.prefix_size);
  std::memcpy(out + start + in.prefix_size, head, at);
  const bool is_end = is_done(out + head_size, size);
  return {static_cast<std::uint32_t>(start), static_cast<std::uint32_t>(head_size + size),
          is_end ? FRAME_DONE : FRAME_OBJECT};
}

}  // namespace

FrameOutcome event_frames(const FrameRequest& in, const FrameRoom& room) {
  WARMPATH_CHECK(in.from <= in.to && room.spans_max > 0);
  FrameOutcome outcome;
  outcome.consumed = in.from;
  outcome.number = in.number;
  Lines lines(in.bytes, in.from, in.to);
  const std::size_t head_size =
      in.prefix_size + (in.form == FRAME_MSGPACK ? MSGPACK_HEAD_BYTES : 0);
  std::size_t used = 0;
  while (outcome.consumed < in.to && outcome.frames < room.spans_max) {
    const std::size_t at = outcome.consumed;
    const Event event = event_at(in, at, lines);
    if (event.data_lines > 0) {
      const std::size_t wanted = head_size + event.data_size;
      const std::size_t place = (used + PLACE_BYTES - 1) / PLACE_BYTES * PLACE_BYTES;
      if (place > room.size || wanted > room.size - place) {
        if (outcome.frames == 0) outcome.needed = wanted;
        return outcome;
      }
      std::uint8_t* const out = room.out + place;
      copy_data(in, at, event, out + head_size);
      FrameSpan span = in.form == FRAME_MSGPACK
                           ? wrap_msgpack(in, outcome.number, out, head_size, event.data_size)
                           : wrap_text(in, out, event.data_size);
      span.start += static_cast<std::uint32_t>(place);
      span.end += static_cast<std::uint32_t>(place);
      room.spans[outcome.frames++] = span;
      used = place + wanted;
    }
    if (event.has_line) outcome.number++;
    outcome.consumed = event.end;
  }
  return outcome;
}

}  // namespace warmpath
