// The scanner's functions for JavaScript; the face is src/native/json_scan.ts.
#include <napi.h>

#include "json_scan/json_scan.h"
#include "seam.h"

namespace warmpath {

namespace {

json_scan::Span* spans_of(seam::View<uint32_t> words) {
  static_assert(alignof(json_scan::Span) == alignof(uint32_t));
  return reinterpret_cast<json_scan::Span*>(words.data);
}

// jsonScan(body, start, end, spans): the number of members, or minus the fault, whose offset is
// then the first word of the spans.
napi_value scan(napi_env env, napi_callback_info info) {
  const seam::Arguments<4> in(env, info);
  const auto body = seam::view<uint8_t>(env, in[0]);
  const uint32_t start = seam::u32(env, in[1]);
  const uint32_t end = seam::u32(env, in[2]);
  const auto words = seam::view<uint32_t>(env, in[3]);
  WARMPATH_CHECK(start <= end && end <= body.length);
  WARMPATH_CHECK(words.length >= json_scan::SPAN_WORDS);
  const auto spans_max = static_cast<uint32_t>(words.length / json_scan::SPAN_WORDS);
  const json_scan::Outcome found =
      json_scan::scan_object(body.data, start, end, spans_of(words), spans_max);
  if (found.fault == json_scan::Fault::kNone) return seam::number(env, found.count);
  words.data[0] = found.offset;
  return seam::number(env, -static_cast<double>(found.fault));
}

// jsonKeys(body, spans, spanCount, kind, state, chunkBytes, keys): the number of whole chunks.
// State, in u64: the root going in; the digest and the bytes of the text coming out.
napi_value keys(napi_env env, napi_callback_info info) {
  const seam::Arguments<7> in(env, info);
  const auto body = seam::view<uint8_t>(env, in[0]);
  const auto words = seam::view<uint32_t>(env, in[1]);
  const uint32_t count = seam::u32(env, in[2]);
  const uint32_t kind = seam::u32(env, in[3]);
  const auto state = seam::view<uint64_t>(env, in[4]);
  const uint32_t chunk_bytes = seam::u32(env, in[5]);
  const auto out = seam::view<uint64_t>(env, in[6]);
  WARMPATH_CHECK(words.length >= count * json_scan::SPAN_WORDS && state.length >= 3);
  WARMPATH_CHECK(kind < json_scan::K_COUNT);
  WARMPATH_CHECK(chunk_bytes > 0 && chunk_bytes <= json_scan::CHUNK_BYTES_MAX);
  const json_scan::Keys result = json_scan::canonical_keys(
      body.data, spans_of(words), count, static_cast<json_scan::PromptKind>(kind), state.data[0],
      chunk_bytes, out.data, static_cast<uint32_t>(out.length));
  state.data[1] = result.digest;
  state.data[2] = result.text_bytes;
  return seam::number(env, result.count);
}

// jsonTokens(body, start, end, tokens): the number of ids in an array of token ids, or -1.
napi_value tokens(napi_env env, napi_callback_info info) {
  const seam::Arguments<4> in(env, info);
  const auto body = seam::view<uint8_t>(env, in[0]);
  const uint32_t start = seam::u32(env, in[1]);
  const uint32_t end = seam::u32(env, in[2]);
  const auto out = seam::view<uint32_t>(env, in[3]);
  WARMPATH_CHECK(start < end && end <= body.length);
  const uint32_t count =
      json_scan::token_array(body.data, start, end, out.data, static_cast<uint32_t>(out.length));
  return seam::number(env, count == json_scan::NOT_TOKENS ? -1 : static_cast<double>(count));
}

// jsonNumbers(body, start, end): how many numbers there are.
napi_value numbers(napi_env env, napi_callback_info info) {
  const seam::Arguments<3> in(env, info);
  const auto body = seam::view<uint8_t>(env, in[0]);
  const uint32_t start = seam::u32(env, in[1]);
  const uint32_t end = seam::u32(env, in[2]);
  WARMPATH_CHECK(start < end && end <= body.length);
  return seam::number(env, json_scan::number_count(body.data, start, end));
}

}  // namespace

void register_json_scan(Napi::Env env, Napi::Object exports) {
  seam::export_function(env, exports, "jsonScan", scan);
  seam::export_function(env, exports, "jsonKeys", keys);
  seam::export_function(env, exports, "jsonTokens", tokens);
  seam::export_function(env, exports, "jsonNumbers", numbers);
}

}  // namespace warmpath
