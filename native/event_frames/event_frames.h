// Event frames: the payloads of WebSocket messages, made from whole server-sent events.
//
//   event: response.created\n            named lane "a":  {"stream_id":"a","type":"response.…"}
//   data: {"type":"response.created"}\n  default lane:    {"type":"response.created"}
//   \n                                   msgpack:         [ "a", 0, bin {"type":"response.…"} ]
//
// One call takes a stretch of whole events, [from, to) of a chunk, and writes one payload after the
// other into the caller's buffer, with a span for each; nothing is allocated and no JSON is parsed.
// A lane's name is spliced behind the opening brace, as the bytes `{"stream_id":"a",` that the
// caller made once. Several data lines of one event are joined with LF, as the event stream
// specification says. An event without data makes no frame, but has a number like every other.
//
// Payloads begin at multiples of 256 bytes: the caller keeps views of its buffer, and tokens of a
// stream have few lengths, so that it finds one for nearly every payload.
//
// Example: "data: {}\n\ndata: [DONE]\n\n", no prefix, from number 5: spans [0, 2, OBJECT] and
// [256, 262, DONE], consumed 23, next number 7.
//
// A payload that does not fit ends the call in front of its event: the caller sends what there is
// and calls again; when nothing fitted, `needed` says how much room that event wants. Costs: two
// searches a line and one copy of the payload, about 30 ns for a token; and a look at every byte
// for UTF-8, because a text frame that is not UTF-8 would end the client's whole connection.
#pragma once

#include <cstddef>
#include <cstdint>

namespace warmpath {

// Payloads of one call at most.
inline constexpr std::size_t FRAME_SPANS_MAX = 256;
// Bytes in front of a payload: a lane's name has at most 256.
inline constexpr std::size_t FRAME_PREFIX_BYTES_MAX = 512;
// Payload bytes of one call, below the 16 KiB that uWebSockets.js gathers in a cork.
inline constexpr std::size_t FRAME_OUT_BYTES = 15360;

// How a payload is wrapped; the same numbers as in src/native/event_frames.ts.
enum FrameForm : std::uint32_t {
  FRAME_TEXT = 0,     // the event's data, with the prefix spliced in
  FRAME_MSGPACK = 1,  // prefix (array of 3, the lane's name), number, the data as bin
};

// What a payload is.
enum FrameKind : std::uint32_t {
  FRAME_OBJECT = 0,  // begins with a brace (text), or anything (msgpack)
  FRAME_DONE = 1,    // exactly [DONE]
  FRAME_OTHER = 2,   // text that is no object: as it came, without the prefix
  FRAME_BROKEN = 3,  // text that is not UTF-8: as it came, without the prefix
};

struct FrameSpan {
  std::uint32_t start;
  std::uint32_t end;
  std::uint32_t kind;
};
static_assert(sizeof(FrameSpan) == 12);

struct FrameRequest {
  const std::uint8_t* bytes;  // events lie in [from, to)
  std::size_t from;
  std::size_t to;
  const std::uint8_t* prefix;
  std::size_t prefix_size;
  FrameForm form;
  std::uint32_t number;  // of the first event
};

struct FrameRoom {
  std::uint8_t* out;
  std::size_t size;
  FrameSpan* spans;
  std::size_t spans_max;
};

struct FrameOutcome {
  std::uint32_t frames = 0;
  std::size_t consumed = 0;  // offset behind the last event that was taken
  std::uint32_t number = 0;  // of the next event
  std::size_t needed = 0;    // room that the first event wants, when not one frame was made
};

FrameOutcome event_frames(const FrameRequest& request, const FrameRoom& room);

}  // namespace warmpath
