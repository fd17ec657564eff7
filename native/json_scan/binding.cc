// The scanner's functions for JavaScript; the face is src/native/json_scan.ts.
#include <napi.h>

#include <cstdio>
#include <cstdlib>

#include "json_scan/json_scan.h"

namespace warmpath {

namespace {

// TypeScript has checked the arguments, so a failed check is a programmer's error.
void check(bool holds, const char* what) {
  if (holds) [[likely]]
    return;
  std::fprintf(stderr, "warmpath: json_scan: check failed: %s\n", what);
  std::abort();
}

template <size_t N>
struct Arguments {
  napi_value values[N];
  Arguments(napi_env env, napi_callback_info info) {
    size_t count = N;
    const napi_status status = napi_get_cb_info(env, info, &count, values, nullptr, nullptr);
    check(status == napi_ok && count == N, "arguments");
  }
  napi_value operator[](size_t index) const { return values[index]; }
};

uint32_t u32(napi_env env, napi_value value) {
  uint32_t out = 0;
  check(napi_get_value_uint32(env, value, &out) == napi_ok, "number");
  return out;
}

napi_value number(napi_env env, double value) {
  napi_value out = nullptr;
  check(napi_create_double(env, value, &out) == napi_ok, "result");
  return out;
}

template <typename T>
struct View {
  T* data;
  size_t length;
};

template <typename T>
View<T> view(napi_env env, napi_value value) {
  napi_typedarray_type type;
  size_t length = 0;
  void* data = nullptr;
  const napi_status status =
      napi_get_typedarray_info(env, value, &type, &length, &data, nullptr, nullptr);
  constexpr napi_typedarray_type WANTED = sizeof(T) == 1   ? napi_uint8_array
                                          : sizeof(T) == 4 ? napi_uint32_array
                                                           : napi_biguint64_array;
  check(status == napi_ok && type == WANTED, "typed array");
  return {static_cast<T*>(data), length};
}

void export_function(napi_env env, napi_value exports, const char* name, napi_callback call) {
  napi_value function = nullptr;
  check(napi_create_function(env, name, NAPI_AUTO_LENGTH, call, nullptr, &function) == napi_ok,
        name);
  check(napi_set_named_property(env, exports, name, function) == napi_ok, name);
}

json_scan::Span* spans_of(View<uint32_t> words) {
  static_assert(alignof(json_scan::Span) == alignof(uint32_t));
  return reinterpret_cast<json_scan::Span*>(words.data);
}

// jsonScan(body, start, end, spans): the number of members, or minus the fault, whose offset is
// then the first word of the spans.
napi_value scan(napi_env env, napi_callback_info info) {
  const Arguments<4> in(env, info);
  const auto body = view<uint8_t>(env, in[0]);
  const uint32_t start = u32(env, in[1]);
  const uint32_t end = u32(env, in[2]);
  const auto words = view<uint32_t>(env, in[3]);
  check(start <= end && end <= body.length, "bounds");
  check(words.length >= json_scan::SPAN_WORDS, "bounds");
  const auto spans_max = static_cast<uint32_t>(words.length / json_scan::SPAN_WORDS);
  const json_scan::Outcome found =
      json_scan::scan_object(body.data, start, end, spans_of(words), spans_max);
  if (found.fault == json_scan::Fault::kNone) return number(env, found.count);
  words.data[0] = found.offset;
  return number(env, -static_cast<double>(found.fault));
}

// jsonKeys(body, spans, spanCount, kind, state, chunkBytes, keys): the number of whole chunks.
// State, in u64: the root going in; the digest and the bytes of the text coming out.
napi_value keys(napi_env env, napi_callback_info info) {
  const Arguments<7> in(env, info);
  const auto body = view<uint8_t>(env, in[0]);
  const auto words = view<uint32_t>(env, in[1]);
  const uint32_t count = u32(env, in[2]);
  const uint32_t kind = u32(env, in[3]);
  const auto state = view<uint64_t>(env, in[4]);
  const uint32_t chunk_bytes = u32(env, in[5]);
  const auto out = view<uint64_t>(env, in[6]);
  check(words.length >= count * json_scan::SPAN_WORDS && state.length >= 3, "bounds");
  check(kind < json_scan::K_COUNT, "bounds");
  check(chunk_bytes > 0 && chunk_bytes <= json_scan::CHUNK_BYTES_MAX, "bounds");
  const json_scan::Keys result = json_scan::canonical_keys(
      body.data, spans_of(words), count, static_cast<json_scan::PromptKind>(kind), state.data[0],
      chunk_bytes, out.data, static_cast<uint32_t>(out.length));
  state.data[1] = result.digest;
  state.data[2] = result.text_bytes;
  return number(env, result.count);
}

// jsonTokens(body, start, end, tokens): the number of ids in an array of token ids, or -1.
napi_value tokens(napi_env env, napi_callback_info info) {
  const Arguments<4> in(env, info);
  const auto body = view<uint8_t>(env, in[0]);
  const uint32_t start = u32(env, in[1]);
  const uint32_t end = u32(env, in[2]);
  const auto out = view<uint32_t>(env, in[3]);
  check(start < end && end <= body.length, "bounds");
  const uint32_t count =
      json_scan::token_array(body.data, start, end, out.data, static_cast<uint32_t>(out.length));
  return number(env, count == json_scan::NOT_TOKENS ? -1 : static_cast<double>(count));
}

}  // namespace

void register_json_scan(Napi::Env env, Napi::Object exports) {
  export_function(env, exports, "jsonScan", scan);
  export_function(env, exports, "jsonKeys", keys);
  export_function(env, exports, "jsonTokens", tokens);
}

}  // namespace warmpath
