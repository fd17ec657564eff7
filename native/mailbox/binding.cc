// The mailbox's functions for JavaScript; the face is src/native/mailbox.ts.
//
// One thread-safe function per thread is the only thing of JavaScript's that the addon keeps. It
// is unreferenced, so a thread with an open mailbox may still end. The environment's cleanup hook
// closes the box; hooks run in reverse order, hence before Node frees the function itself.
#include <napi.h>

#include "mailbox/mailbox.h"
#include "seam.h"

namespace warmpath {

namespace {

struct ThreadMail {
  std::uint32_t thread_id = MAIL_NO_THREAD;
  napi_threadsafe_function function = nullptr;
};

// An environment belongs to one thread, and a thread has one environment.
thread_local ThreadMail own;

void wake(void* context) {
  // The queue of the function itself holds one call a batch; a full or closing one is no harm,
  // since the box stays flagged and is drained by the call that is under way.
  (void)napi_call_threadsafe_function(static_cast<napi_threadsafe_function>(context), nullptr,
                                      napi_tsfn_nonblocking);
}

void close_own() {
  if (own.thread_id == MAIL_NO_THREAD) return;
  mail_close(own.thread_id);
  (void)napi_release_threadsafe_function(own.function, napi_tsfn_abort);
  own = ThreadMail{};
}

void on_exit(void* unused) {
  (void)unused;
  close_own();
}

napi_value open(napi_env env, napi_callback_info info) {
  const seam::Arguments<2> in(env, info);
  WARMPATH_CHECK(own.thread_id == MAIL_NO_THREAD);
  napi_value name = nullptr;
  napi_status status = napi_create_string_utf8(env, "warmpath mailbox", NAPI_AUTO_LENGTH, &name);
  WARMPATH_CHECK(status == napi_ok);
  napi_threadsafe_function function = nullptr;
  status = napi_create_threadsafe_function(env, in[0], nullptr, name, 0, 1, nullptr, nullptr,
                                           nullptr, nullptr, &function);
  WARMPATH_CHECK(status == napi_ok);
  bool keeps_alive = false;
  status = napi_get_value_bool(env, in[1], &keeps_alive);
  WARMPATH_CHECK(status == napi_ok);
  if (!keeps_alive) (void)napi_unref_threadsafe_function(env, function);
  own.function = function;
  own.thread_id = mail_open(wake, function);
  if (own.thread_id == MAIL_NO_THREAD) {
    (void)napi_release_threadsafe_function(function, napi_tsfn_abort);
    own = ThreadMail{};
    return seam::number(env, static_cast<double>(MAIL_NO_THREAD));
  }
  status = napi_add_env_cleanup_hook(env, on_exit, nullptr);
  WARMPATH_CHECK(status == napi_ok);
  return seam::number(env, own.thread_id);
}

napi_value close(napi_env env, napi_callback_info info) {
  (void)info;
  if (own.thread_id != MAIL_NO_THREAD) {
    (void)napi_remove_env_cleanup_hook(env, on_exit, nullptr);
    close_own();
  }
  return nullptr;
}

napi_value post(napi_env env, napi_callback_info info) {
  const seam::Arguments<5> in(env, info);
  return seam::boolean(
      env, mail_post(seam::u32(env, in[0]), seam::u32(env, in[1]), seam::u32(env, in[2]),
                     seam::u32(env, in[3]), seam::u32(env, in[4])));
}

napi_value arm(napi_env env, napi_callback_info info) {
  const seam::Arguments<1> in(env, info);
  mail_arm(seam::u32(env, in[0]));
  return nullptr;
}

napi_value drain(napi_env env, napi_callback_info info) {
  const seam::Arguments<2> in(env, info);
  const std::uint32_t thread_id = seam::u32(env, in[0]);
  const auto out = seam::view<std::uint32_t>(env, in[1]);
  const auto mail_max = static_cast<std::uint32_t>(out.length / MAIL_WORDS);
  return seam::number(env, mail_drain(thread_id, out.data, mail_max));
}

}  // namespace

void register_mailbox(Napi::Env env, Napi::Object exports) {
  seam::export_function(env, exports, "mailOpen", open);
  seam::export_function(env, exports, "mailClose", close);
  seam::export_function(env, exports, "mailPost", post);
  seam::export_function(env, exports, "mailArm", arm);
  seam::export_function(env, exports, "mailDrain", drain);
}

}  // namespace warmpath
