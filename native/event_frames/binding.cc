// The frames' function for JavaScript; the face is src/native/event_frames.ts.
#include <napi.h>

#include "event_frames/event_frames.h"
#include "seam.h"

namespace warmpath {

namespace {

// Words in front of the spans: consumed, next number, needed.
constexpr std::size_t FACT_WORDS = 3;

// eventFrames(chunk, from, to, prefix, form, number, out, facts): the number of frames.
napi_value frames(napi_env env, napi_callback_info info) {
  const seam::Arguments<8> in(env, info);
  const auto chunk = seam::view<std::uint8_t>(env, in[0]);
  const std::uint32_t from = seam::u32(env, in[1]);
  const std::uint32_t to = seam::u32(env, in[2]);
  const auto prefix = seam::view<std::uint8_t>(env, in[3]);
  const std::uint32_t form = seam::u32(env, in[4]);
  const std::uint32_t number = seam::u32(env, in[5]);
  const auto out = seam::view<std::uint8_t>(env, in[6]);
  const auto facts = seam::view<std::uint32_t>(env, in[7]);
  WARMPATH_CHECK(from <= to && to <= chunk.length && form <= FRAME_MSGPACK);
  WARMPATH_CHECK(facts.length >= FACT_WORDS + sizeof(FrameSpan) / sizeof(std::uint32_t));
  const FrameRequest request = {
      chunk.data, from, to, prefix.data, prefix.length, static_cast<FrameForm>(form), number};
  const FrameRoom room = {out.data, out.length,
                          reinterpret_cast<FrameSpan*>(facts.data + FACT_WORDS),
                          (facts.length - FACT_WORDS) * sizeof(std::uint32_t) / sizeof(FrameSpan)};
  const FrameOutcome outcome = event_frames(request, room);
  facts.data[0] = static_cast<std::uint32_t>(outcome.consumed);
  facts.data[1] = outcome.number;
  facts.data[2] = static_cast<std::uint32_t>(outcome.needed);
  return seam::number(env, outcome.frames);
}

}  // namespace

void register_event_frames(Napi::Env env, Napi::Object exports) {
  seam::export_function(env, exports, "eventFrames", frames);
}

}  // namespace warmpath
