// The queue of events for JavaScript; the face is src/native/model_cache_addon.ts.
//
// One thread-safe function for the whole addon. It is unreferenced, so that a daemon may end; it
// is referenced while somebody waits for an answer (mcKeepAlive).
#include <napi.h>

#include <cstring>

#include "model_cache/bindings.h"
#include "model_cache/events.h"
#include "seam.h"

namespace warmpath::model_cache {

namespace {

napi_threadsafe_function function = nullptr;

void wake(void* context) {
  (void)napi_call_threadsafe_function(static_cast<napi_threadsafe_function>(context), nullptr,
                                      napi_tsfn_nonblocking);
}

void close_queue(void* unused) {
  (void)unused;
  if (function == nullptr) return;
  events_on_wake(nullptr, nullptr);
  (void)napi_release_threadsafe_function(function, napi_tsfn_abort);
  function = nullptr;
}

napi_value open(napi_env env, napi_callback_info info) {
  const seam::Arguments<1> in(env, info);
  WARMPATH_CHECK(function == nullptr);
  napi_value name = nullptr;
  napi_status status = napi_create_string_utf8(env, "model cache", NAPI_AUTO_LENGTH, &name);
  WARMPATH_CHECK(status == napi_ok);
  status = napi_create_threadsafe_function(env, in[0], nullptr, name, 0, 1, nullptr, nullptr,
                                           nullptr, nullptr, &function);
  WARMPATH_CHECK(status == napi_ok);
  (void)napi_unref_threadsafe_function(env, function);
  events_on_wake(wake, function);
  WARMPATH_CHECK(napi_add_env_cleanup_hook(env, close_queue, nullptr) == napi_ok);
  return nullptr;
}

napi_value keep_alive(napi_env env, napi_callback_info info) {
  const seam::Arguments<1> in(env, info);
  bool is_wanted = false;
  WARMPATH_CHECK(napi_get_value_bool(env, in[0], &is_wanted) == napi_ok);
  WARMPATH_CHECK(function != nullptr);
  if (is_wanted) {
    (void)napi_ref_threadsafe_function(env, function);
  } else {
    (void)napi_unref_threadsafe_function(env, function);
  }
  return nullptr;
}

napi_value drain(napi_env env, napi_callback_info info) {
  const seam::Arguments<1> in(env, info);
  const auto out = seam::view<std::uint8_t>(env, in[0]);
  WARMPATH_CHECK(reinterpret_cast<std::uintptr_t>(out.data) % alignof(Event) == 0);
  const auto count_max = static_cast<std::uint32_t>(out.length / sizeof(Event));
  return seam::number(env, events_drain(reinterpret_cast<Event*>(out.data), count_max));
}

}  // namespace

void register_events(napi_env env, napi_value exports) {
  seam::export_function(env, exports, "mcOpen", open);
  seam::export_function(env, exports, "mcKeepAlive", keep_alive);
  seam::export_function(env, exports, "mcDrain", drain);
}

}  // namespace warmpath::model_cache
