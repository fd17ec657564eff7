// The load table's functions for JavaScript; the face is src/native/load_table.ts.
#include <napi.h>

#include "load_table/load_table.h"
#include "seam.h"

namespace warmpath {

namespace {

std::int32_t amount(napi_env env, napi_value value) {
  return static_cast<std::int32_t>(seam::u32(env, value));
}

napi_value acquire(napi_env env, napi_callback_info info) {
  const seam::Arguments<4> in(env, info);
  return seam::boolean(env, load_table().acquire(seam::u32(env, in[0]), amount(env, in[1]),
                                                 amount(env, in[2]), amount(env, in[3])));
}

napi_value first_token(napi_env env, napi_callback_info info) {
  const seam::Arguments<2> in(env, info);
  load_table().first_token(seam::u32(env, in[0]), amount(env, in[1]));
  return nullptr;
}

napi_value release(napi_env env, napi_callback_info info) {
  const seam::Arguments<3> in(env, info);
  load_table().release(seam::u32(env, in[0]), amount(env, in[1]), amount(env, in[2]));
  return nullptr;
}

napi_value read(napi_env env, napi_callback_info info) {
  const seam::Arguments<2> in(env, info);
  const auto out = seam::view<double>(env, in[0]);
  const std::uint32_t slot_count = seam::u32(env, in[1]);
  WARMPATH_CHECK(out.length >= std::size_t{slot_count} * LOAD_WORDS);
  load_table().read(out.data, slot_count);
  return nullptr;
}

napi_value clear(napi_env env, napi_callback_info info) {
  const seam::Arguments<1> in(env, info);
  return seam::boolean(env, load_table().clear(seam::u32(env, in[0])));
}

napi_value drain_check(napi_env env, napi_callback_info info) {
  (void)info;
  return seam::number(env, static_cast<double>(load_table().drain_check()));
}

}  // namespace

void register_load_table(Napi::Env env, Napi::Object exports) {
  seam::export_function(env, exports, "loadAcquire", acquire);
  seam::export_function(env, exports, "loadFirstToken", first_token);
  seam::export_function(env, exports, "loadRelease", release);
  seam::export_function(env, exports, "loadRead", read);
  seam::export_function(env, exports, "loadClear", clear);
  seam::export_function(env, exports, "loadDrainCheck", drain_check);
}

}  // namespace warmpath
