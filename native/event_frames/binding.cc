// The frames' function for JavaScript; the face is src/native/event_frames.ts.
#include <napi.h>

#include <cstring>

#include "event_frames/event_frames.h"
#include "seam.h"

namespace warmpath {

namespace {

// What JavaScript and a call share: one array of a thread. For a token every argument of a call
// costs more than its frame (to look into an array 50 ns), so all but the chunk is left here.
struct Desk {
  // Set by the caller, moved on by the call.
  std::uint32_t at;
  std::uint32_t number;
  // Set by the caller.
  std::uint32_t form;
  std::uint32_t prefix_size;
  // Set by the call.
  std::uint32_t needed;
  FrameSpan spans[FRAME_SPANS_MAX];
  std::uint8_t prefix[FRAME_PREFIX_BYTES_MAX];
  std::uint8_t out[FRAME_OUT_BYTES];
};

napi_value frames_into(napi_env env, Desk& desk, seam::View<std::uint8_t> chunk,
                       seam::View<std::uint8_t> out) {
  WARMPATH_CHECK(desk.at <= chunk.length && desk.form <= FRAME_MSGPACK);
  WARMPATH_CHECK(desk.prefix_size <= FRAME_PREFIX_BYTES_MAX);
  const FrameRequest request = {chunk.data,  desk.at,          chunk.length,
                                desk.prefix, desk.prefix_size, static_cast<FrameForm>(desk.form),
                                desk.number};
  const FrameRoom room = {out.data, out.length, desk.spans, FRAME_SPANS_MAX};
  const FrameOutcome outcome = event_frames(request, room);
  desk.at = static_cast<std::uint32_t>(outcome.consumed);
  desk.number = outcome.number;
  desk.needed = static_cast<std::uint32_t>(outcome.needed);
  return seam::number(env, outcome.frames);
}

// (chunk): the number of frames, whose payloads lie on the desk.
napi_value frames(napi_env env, napi_callback_info info) {
  const seam::ArgumentsAndData<1> in(env, info);
  Desk& desk = *static_cast<Desk*>(in.data);
  return frames_into(env, desk, seam::bytes(env, in[0]), {desk.out, sizeof desk.out});
}

// (chunk, out): the same for other room than the desk's.
napi_value frames_elsewhere(napi_env env, napi_callback_info info) {
  const seam::ArgumentsAndData<2> in(env, info);
  Desk& desk = *static_cast<Desk*>(in.data);
  return frames_into(env, desk, seam::bytes(env, in[0]), seam::bytes(env, in[1]));
}

}  // namespace

void register_event_frames(Napi::Env env, Napi::Object exports) {
  Napi::ArrayBuffer desk = Napi::ArrayBuffer::New(env, sizeof(Desk));
  std::memset(desk.Data(), 0, sizeof(Desk));
  exports["frameDesk"] = desk;
  // One a thread, as long as the thread lives: the functions below write into it.
  Napi::Reference<Napi::ArrayBuffer> kept = Napi::Persistent(desk);
  kept.SuppressDestruct();
  seam::export_function(env, exports, "eventFrames", frames, desk.Data());
  seam::export_function(env, exports, "eventFramesInto", frames_elsewhere, desk.Data());
}

}  // namespace warmpath
