// The event scanner: finds the ends of server-sent events in a stream that arrives in any pieces.
//
//   data: {"id":1}\n        a line; lines end with LF, CRLF or a lone CR
//   \n                      an empty line ends the event:  <- end, offset just after the LF
//   event: message_stop\r\n
//   data: {}\r\n
//   \r\n                    <- end, just after the LF
//
// An event is a run of lines with at least one that is not empty, up to and with the empty line
// that closes it; further empty lines belong to the event that follows. Comments count as lines.
// Each end is reported once, at the same stream position however the stream was split, with the
// classes of the event (see below). Bytes are looked at once, with memchr; a line's content is
// looked at only in its first SCAN_PREFIX_BYTES, which suffice for every class.
//
// Example, split after "data: [DO": the first piece leaves prefix "data: [DO", line length 9;
// the second piece "NE]\n\n" completes the prefix to "data: [DONE]", length 12, and the value is
// exactly "[DONE]": class DONE, end at offset 5 of the piece.
//
// A CR at the end of a piece may or may not be followed by the LF that belongs to it. The line is
// over either way, but where the event ends is known with the next byte only: the end of an event
// closed by such a CR is held back until then, or until finish(). Costs: one memchr over the piece
// for CR (absent in all known engines), one per line for LF; 13 ns a usual event of 206 bytes.
//
// What it does badly: lone-CR streams get each event with the next byte; a byte order mark
// before the first field hides that event's class (not its end).
#pragma once

#include <cstddef>
#include <cstdint>

namespace warmpath {

// Longest line start that decides a class: "event: response.incomplete" is 26 bytes long.
inline constexpr std::uint32_t SCAN_PREFIX_BYTES = 32;

// Classes of an event; the same bits as in src/native/event_scanner.ts. By the event stream
// specification an event without a data line is never dispatched, so it has no class.
enum EventClass : std::uint32_t {
  EVENT_DONE = 1,           // its only data line is exactly [DONE]
  EVENT_ERROR = 2,          // event: error, or data that begins with {"error" and is not null
  EVENT_COMPLETED = 4,      // event: response.completed
  EVENT_INCOMPLETE = 8,     // event: response.incomplete
  EVENT_FAILED = 16,        // event: response.failed
  EVENT_MESSAGE_STOP = 32,  // event: message_stop
};

// Hears of each event: the offset just after it, in the piece at hand (0: it had ended before the
// piece, which only now became known).
using EventSink = void (*)(void* context, std::size_t end);

struct ScanFacts {
  std::uint32_t events = 0;   // ended in this piece
  std::size_t whole_end = 0;  // offset just after the last of them
  std::uint32_t classes = 0;  // of all of them, or-ed
};

class EventScanner {
 public:
  ScanFacts scan(const std::uint8_t* bytes, std::size_t size, EventSink sink, void* context);
  // The stream is over: an event closed by a last CR counts now.
  ScanFacts finish(EventSink sink, void* context);
  void reset();

 private:
  struct Walk;  // One call's piece, sink and facts.

  // At the beginning of an event, with nothing of a line held.
  bool is_fresh() const { return line_length_ == 0 && !has_line_; }
  void tell(Walk& walk, std::size_t end);
  void end_line(Walk& walk, std::size_t from, std::size_t to);
  void end_event(Walk& walk, std::size_t end);
  void keep_prefix(const std::uint8_t* bytes, std::size_t size);
  void classify(const std::uint8_t* line, std::size_t held, std::uint64_t length);

  std::uint8_t prefix_[SCAN_PREFIX_BYTES];  // of the line in progress
  std::uint64_t line_length_ = 0;           // bytes of it so far
  std::uint32_t type_class_ = 0;            // of the event's last `event` line
  std::uint32_t data_class_ = 0;            // of its first `data` line
  std::uint32_t data_lines_ = 0;            // 0, 1, 2 = many
  bool has_line_ = false;                   // the event has a line that is not empty
  bool is_after_cr_ = false;                // the piece before ended with CR
  bool is_end_held_ = false;                // ... which closed an event
};

}  // namespace warmpath
