#ifndef WARMPATH_BENCH_LOAD_CLIENT_REPLY_READER_H_
#define WARMPATH_BENCH_LOAD_CLIENT_REPLY_READER_H_

// Reads one HTTP/1.1 reply as it arrives and says whether it is the one that the mock node sent.
//
//   bytes ─► head ─► body by length, by chunks or until the close
//                      ├► plain: collected, hashed at its end
//                      └► SSE: cut at "\n\n" (also across chunks and reads); each event gives
//                         its transit (time of the read - "mock_ns"), its id and its hash
//   WebSocket: frames ─► one event each, up to [DONE]; of msgpack frames the bytes of the event
//
// The hash leaves out what differs between two replies to the same request (id and stamp), so
// all replies of a run have one hash, whatever stood between client and node. An id that is not
// the request's own means that two exchanges were mixed up.

#include <cstdint>
#include <string>
#include <string_view>

#include "histogram.h"
#include "options.h"
#include "request_text.h"

namespace load {

enum class ReplyState { reading, done, broken };

class ReplyReader {
 public:
  /** Histogram that gets the transit of every stamped event. */
  ReplyReader(Histogram* transit, const Options& options)
      : transit_(transit), is_websocket_(options.is_websocket), is_msgpack_(options.is_msgpack) {}

  void start(uint64_t request_number);
  ReplyState feed(std::string_view bytes, uint64_t read_ns);
  /** The peer closed: the end of a body that has neither length nor chunks, else a fault. */
  ReplyState closed();

  int status() const { return status_; }
  uint64_t hash() const { return hash_; }
  uint64_t events() const { return events_; }
  uint64_t body_bytes() const { return body_bytes_; }
  uint64_t first_event_ns() const { return first_event_ns_; }
  bool has_done_event() const { return has_done_event_; }
  bool is_own() const { return is_own_; }
  bool closes() const { return closes_; }

 private:
  enum class Part {
    frames,
    head,
    sized,
    until_close,
    chunk_size,
    chunk_data,
    chunk_end,
    trailer,
    done
  };

  void read_head(std::string_view head);
  void read_body(std::string_view piece);
  ReplyState feed_frames(std::string_view bytes);
  void read_frame(uint8_t opcode, std::string_view payload);
  void read_event(std::string_view event);
  void add_masked(std::string_view bytes, size_t end);

  Histogram* transit_;
  const bool is_websocket_;
  const bool is_msgpack_;
  Part part_ = Part::done;
  std::string carry_;  // an unfinished head, line or event; the whole body when plain
  std::string line_;
  uint64_t left_ = 0;
  uint64_t read_ns_ = 0;
  char request_id_[REQUEST_ID_BYTES];

  int status_ = 0;
  bool is_stream_ = false;
  bool has_length_ = false;
  bool is_chunked_ = false;
  bool closes_ = false;
  bool has_done_event_ = false;
  bool is_own_ = true;
  bool is_broken_ = false;
  uint64_t hash_ = 0;
  uint64_t events_ = 0;
  uint64_t body_bytes_ = 0;
  uint64_t first_event_ns_ = 0;
};

}  // namespace load

#endif  // WARMPATH_BENCH_LOAD_CLIENT_REPLY_READER_H_
