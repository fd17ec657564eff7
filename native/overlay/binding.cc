// The overlay's functions for JavaScript; the face is src/native/overlay.ts.
#include <napi.h>

#include "overlay/overlay.h"
#include "seam.h"

namespace warmpath {

namespace {

uint32_t slot_of(napi_env env, napi_value value) {
  const uint32_t slot = seam::u32(env, value);
  WARMPATH_CHECK(slot < SLOTS_MAX);
  return slot;
}

// slot, keys, count, now ms, ttl ms
napi_value predict(napi_env env, napi_callback_info info) {
  const seam::Arguments<5> in(env, info);
  const auto keys = seam::view<uint64_t>(env, in[1]);
  const uint32_t count = seam::u32(env, in[2]);
  WARMPATH_CHECK(count <= keys.length);
  overlay().predict(slot_of(env, in[0]), keys.data, count, seam::position(env, in[3]),
                    seam::position(env, in[4]));
  return nullptr;
}

napi_value set_capacity(napi_env env, napi_callback_info info) {
  const seam::Arguments<2> in(env, info);
  overlay().set_capacity(slot_of(env, in[0]), seam::u32(env, in[1]));
  return nullptr;
}

napi_value forget(napi_env env, napi_callback_info info) {
  const seam::Arguments<1> in(env, info);
  overlay().forget(slot_of(env, in[0]));
  return nullptr;
}

// keys, count, now ms, out slots, out depths -> slots
napi_value match(napi_env env, napi_callback_info info) {
  const seam::Arguments<5> in(env, info);
  const auto keys = seam::view<uint64_t>(env, in[0]);
  const uint32_t count = seam::u32(env, in[1]);
  const auto slots = seam::view<uint32_t>(env, in[3]);
  const auto depths = seam::view<uint32_t>(env, in[4]);
  WARMPATH_CHECK(count <= keys.length);
  WARMPATH_CHECK(slots.length >= SLOTS_MAX && depths.length >= SLOTS_MAX);
  return seam::number(
      env, overlay().match(keys.data, count, seam::position(env, in[2]), slots.data, depths.data));
}

}  // namespace

void register_overlay(Napi::Env env, Napi::Object exports) {
  seam::export_function(env, exports, "overlayPredict", predict);
  seam::export_function(env, exports, "overlaySetCapacity", set_capacity);
  seam::export_function(env, exports, "overlayForget", forget);
  seam::export_function(env, exports, "overlayMatch", match);
}

}  // namespace warmpath
