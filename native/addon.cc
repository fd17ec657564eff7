// The addon of the gateway: each structure registers its own functions.
//
// Every structure below lives in process-wide memory and is named by 32-bit ids, so that all
// threads (isolates) of the process see the same one. Nothing here keeps a JavaScript object,
// apart from one thread-safe function per thread: the mailbox.
#include <napi.h>

namespace warmpath {
void register_chain_hash(Napi::Env env, Napi::Object exports);
void register_event_frames(Napi::Env env, Napi::Object exports);
void register_json_scan(Napi::Env env, Napi::Object exports);
void register_load_table(Napi::Env env, Napi::Object exports);
void register_mailbox(Napi::Env env, Napi::Object exports);
void register_overlay(Napi::Env env, Napi::Object exports);
void register_prefix_index(Napi::Env env, Napi::Object exports);
void register_process(Napi::Env env, Napi::Object exports);
void register_response_log(Napi::Env env, Napi::Object exports);
}  // namespace warmpath

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  warmpath::register_chain_hash(env, exports);
  warmpath::register_event_frames(env, exports);
  warmpath::register_json_scan(env, exports);
  warmpath::register_load_table(env, exports);
  warmpath::register_mailbox(env, exports);
  warmpath::register_overlay(env, exports);
  warmpath::register_prefix_index(env, exports);
  warmpath::register_process(env, exports);
  warmpath::register_response_log(env, exports);
  return exports;
}

NODE_API_MODULE(warmpath, init)
