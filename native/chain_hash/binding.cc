// The chain hash's functions for JavaScript; the face is src/native/chain_hash.ts.
#include <napi.h>

#include <string>

#include "chain_hash/chain_hash.h"
#include "seam.h"

namespace warmpath {

namespace {

std::string text(napi_env env, napi_value value) {
  size_t length = 0;
  WARMPATH_CHECK(napi_get_value_string_utf8(env, value, nullptr, 0, &length) == napi_ok);
  std::string out(length, '\0');
  WARMPATH_CHECK(napi_get_value_string_utf8(env, value, out.data(), length + 1, &length) ==
                 napi_ok);
  return out;
}

napi_value seed(napi_env env, napi_callback_info info) {
  const seam::Arguments<1> in(env, info);
  const auto words = seam::view<uint64_t>(env, in[0]);
  WARMPATH_CHECK(words.length > 0);
  chain_seed_set(words.data[0]);
  return nullptr;
}

// out, model, block size, adapter, salt
napi_value root(napi_env env, napi_callback_info info) {
  const seam::Arguments<5> in(env, info);
  const auto out = seam::view<uint64_t>(env, in[0]);
  const std::string model = text(env, in[1]);
  const std::string adapter = text(env, in[3]);
  const std::string salt = text(env, in[4]);
  WARMPATH_CHECK(out.length > 0);
  out.data[0] = chain_root(model.data(), model.size(), seam::u32(env, in[2]), adapter.data(),
                           adapter.size(), salt.data(), salt.size());
  return nullptr;
}

// root, tokens, token count, block size, out -> keys
napi_value keys(napi_env env, napi_callback_info info) {
  const seam::Arguments<5> in(env, info);
  const auto root = seam::view<uint64_t>(env, in[0]);
  const auto tokens = seam::view<uint32_t>(env, in[1]);
  const uint32_t count = seam::u32(env, in[2]);
  const uint32_t block_size = seam::u32(env, in[3]);
  const auto out = seam::view<uint64_t>(env, in[4]);
  WARMPATH_CHECK(root.length > 0 && block_size > 0 && count <= tokens.length);
  WARMPATH_CHECK(count / block_size <= out.length);
  return seam::number(
      env, static_cast<double>(chain_keys(root.data[0], tokens.data, count, block_size, out.data)));
}

// root, text, start, end, chunk bytes, out -> keys
napi_value text_chunks(napi_env env, napi_callback_info info) {
  const seam::Arguments<6> in(env, info);
  const auto root = seam::view<uint64_t>(env, in[0]);
  const auto bytes = seam::view<uint8_t>(env, in[1]);
  const uint32_t start = seam::u32(env, in[2]);
  const uint32_t end = seam::u32(env, in[3]);
  const uint32_t chunk = seam::u32(env, in[4]);
  const auto out = seam::view<uint64_t>(env, in[5]);
  WARMPATH_CHECK(root.length > 0 && chunk > 0 && start <= end && end <= bytes.length);
  WARMPATH_CHECK((end - start) / chunk <= out.length);
  return seam::number(env, static_cast<double>(text_keys(root.data[0], bytes.data + start,
                                                         end - start, chunk, out.data)));
}

}  // namespace

void register_chain_hash(Napi::Env env, Napi::Object exports) {
  seam::export_function(env, exports, "chainSeed", seed);
  seam::export_function(env, exports, "chainRoot", root);
  seam::export_function(env, exports, "chainKeys", keys);
  seam::export_function(env, exports, "textKeys", text_chunks);
}

}  // namespace warmpath
