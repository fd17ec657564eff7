// The parts of the model cache's addon; each registers its own functions. Also the reading of
// text arguments, which no other addon function takes.
#pragma once

#include <node_api.h>

#include <string>
#include <vector>

namespace warmpath::model_cache {

void register_events(napi_env env, napi_value exports);
void register_chunks(napi_env env, napi_value exports);
void register_mount(napi_env env, napi_value exports);
void register_transfer(napi_env env, napi_value exports);

std::string text_of(napi_env env, napi_value value);
std::vector<std::string> texts_of(napi_env env, napi_value list);

}  // namespace warmpath::model_cache
