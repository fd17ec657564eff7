// The model cache's addon (Linux): everything that the daemon does below JavaScript.
#include <napi.h>

#include "check.h"
#include "model_cache/bindings.h"

namespace warmpath::model_cache {

std::string text_of(napi_env env, napi_value value) {
  std::size_t length = 0;
  WARMPATH_CHECK(napi_get_value_string_utf8(env, value, nullptr, 0, &length) == napi_ok);
  std::string text(length, '\0');
  const napi_status status =
      napi_get_value_string_utf8(env, value, text.data(), length + 1, &length);
  WARMPATH_CHECK(status == napi_ok);
  return text;
}

std::vector<std::string> texts_of(napi_env env, napi_value list) {
  std::uint32_t count = 0;
  WARMPATH_CHECK(napi_get_array_length(env, list, &count) == napi_ok);
  std::vector<std::string> texts;
  texts.reserve(count);
  for (std::uint32_t i = 0; i < count; i++) {
    napi_value one = nullptr;
    WARMPATH_CHECK(napi_get_element(env, list, i, &one) == napi_ok);
    texts.push_back(text_of(env, one));
  }
  return texts;
}

}  // namespace warmpath::model_cache

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  warmpath::model_cache::register_events(env, exports);
  warmpath::model_cache::register_chunks(env, exports);
  warmpath::model_cache::register_mount(env, exports);
  warmpath::model_cache::register_transfer(env, exports);
  return exports;
}

NODE_API_MODULE(warmpath_model_cache, init)
