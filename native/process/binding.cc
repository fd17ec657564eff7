// The end of the process without Node's own, which stops all workers first: one whose
// uWebSockets.js app still listens would abort the process then ("uv_loop_close() while having open
// handles"), and so end with a core dump in place of an exit code.
#include <napi.h>
#include <unistd.h>

#include "seam.h"

namespace warmpath {

namespace {

// (exit code 0 to 255); does not return
napi_value end(napi_env env, napi_callback_info info) {
  const seam::Arguments<1> in(env, info);
  _exit(static_cast<int>(seam::u32(env, in[0])));
}

}  // namespace

void register_process(Napi::Env env, Napi::Object exports) {
  seam::export_function(env, exports, "processEnd", end);
}

}  // namespace warmpath
