#include "replies.h"

#include <time.h>

#include <cassert>
#include <cstdio>
#include <cstring>

namespace mock {

namespace {

constexpr std::string_view ID_PLACE = "IIIIIIIIIIIIIIII";
constexpr std::string_view TIME_PLACE = "TTTTTTTTTTTTTTTTTTTT";
static_assert(ID_PLACE.size() == REQUEST_ID_BYTES);
static_assert(TIME_PLACE.size() == TIME_DIGITS);

Template with_places(std::string bytes) {
  Template made;
  const size_t id_at = bytes.find(ID_PLACE);
  const size_t time_at = bytes.find(TIME_PLACE);
  if (id_at != std::string::npos) made.request_id_at = id_at;
  if (time_at != std::string::npos) made.time_at = time_at;
  made.bytes = std::move(bytes);
  return made;
}

/** One SSE event as one HTTP chunk. */
Template event(const std::string& json) {
  const std::string data = "data: " + json + "\n\n";
  char size[16];
  snprintf(size, sizeof(size), "%zx\r\n", data.size());
  return with_places(size + data + "\r\n");
}

Template plain_reply(const std::string& json) {
  return with_places("server: uvicorn\r\ncontent-length: " + std::to_string(json.size()) +
                     "\r\ncontent-type: application/json\r\n\r\n" + json);
}

std::string plain_body(const std::string& json, const char* type) {
  return std::string("server: uvicorn\r\ncontent-length: ") + std::to_string(json.size()) +
         "\r\ncontent-type: " + type + "\r\n\r\n" + json;
}

constexpr const char* USAGE =
    R"("usage":{"prompt_tokens":64,"total_tokens":65,"completion_tokens":1,)"
    R"("prompt_tokens_details":{"cached_tokens":0}})";

Endpoint chat_endpoint(const std::string& model) {
  const std::string stem =
      R"({"id":"chatcmpl-IIIIIIIIIIIIIIII","object":"chat.completion.chunk","created":1795266377,)"
      R"("model":")" +
      model + R"(","choices":[)";
  const std::string stamp = R"(,"mock_ns":"TTTTTTTTTTTTTTTTTTTT"})";
  Endpoint made;
  made.role = event(stem +
                    R"({"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,)"
                    R"("finish_reason":null}],"prompt_token_ids":null)" +
                    stamp);
  made.token = event(stem +
                     R"({"index":0,"delta":{"content":" warm"},"logprobs":null,)"
                     R"("finish_reason":null,"token_ids":null}])" +
                     stamp);
  made.last_token = event(stem +
                          R"({"index":0,"delta":{"content":" path"},"logprobs":null,)"
                          R"("finish_reason":"length","stop_reason":null,"token_ids":null}])" +
                          stamp);
  made.usage = event(stem + "]," + USAGE + stamp);
  made.plain = plain_reply(
      R"({"id":"chatcmpl-IIIIIIIIIIIIIIII","object":"chat.completion","created":1795266377,)"
      R"("model":")" +
      model +
      R"(","choices":[{"index":0,"message":{"role":"assistant","content":" path","refusal":null,)"
      R"("annotations":null,"audio":null,"function_call":null,"reasoning":null},"logprobs":null,)"
      R"("finish_reason":"length","stop_reason":null,"token_ids":null,"routed_experts":null}],)"
      R"("service_tier":null,"system_fingerprint":"vllm-0.32.0-mock",)" +
      USAGE + R"(,"prompt_logprobs":null,"prompt_token_ids":null,"kv_transfer_params":null})");
  return made;
}

Endpoint completion_endpoint(const std::string& model) {
  const std::string stem =
      R"({"id":"cmpl-IIIIIIIIIIIIIIII","object":"text_completion","created":1795266377,"model":")" +
      model + R"(","choices":[)";
  const std::string stamp = R"(,"mock_ns":"TTTTTTTTTTTTTTTTTTTT"})";
  Endpoint made;
  made.token = event(stem +
                     R"({"index":0,"text":" warm","logprobs":null,"finish_reason":null,)"
                     R"("stop_reason":null}])" +
                     stamp);
  made.last_token = event(stem +
                          R"({"index":0,"text":" path","logprobs":null,"finish_reason":"length",)"
                          R"("stop_reason":null}])" +
                          stamp);
  made.usage = event(stem + "]," + USAGE + stamp);
  made.plain = plain_reply(stem +
                           R"({"index":0,"text":" path","logprobs":null,"finish_reason":"length",)"
                           R"("stop_reason":null,"token_ids":null,"prompt_logprobs":null}],)"
                           R"("service_tier":null,"system_fingerprint":"vllm-0.32.0-mock",)" +
                           USAGE + R"(,"kv_transfer_params":null})");
  return made;
}

std::string models_body(const std::vector<std::string>& names) {
  std::string items;
  for (const std::string& name : names) {
    if (!items.empty()) items += ',';
    items += R"({"id":")" + name +
             R"(","object":"model","created":1795266362,"owned_by":"vllm","root":")" + name +
             R"(","parent":null,"max_model_len":131072})";
  }
  return plain_body(R"({"object":"list","data":[)" + items + "]}", "application/json");
}

std::string metrics_body(const std::string& model) {
  const std::string label = R"({engine="0",model_name=")" + model + "\"}";
  std::string text;
  for (const char* gauge :
       {"vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"}) {
    text += std::string("# TYPE ") + gauge + " gauge\n" + gauge + label + " 0.0\n";
  }
  text +=
      "# TYPE vllm:cache_config_info gauge\n"
      "vllm:cache_config_info{block_size=\"16\",enable_prefix_caching=\"True\",engine=\"0\","
      "hash_block_size=\"None\",num_gpu_blocks=\"16384\",prefix_caching_hash_algo=\"sha256\"} "
      "1.0\n";
  return plain_body(text, "text/plain; version=0.0.4; charset=utf-8");
}

std::string kv_sources_body(const Settings& settings) {
  if (settings.kv_events.empty()) return "";
  const std::string replay = settings.kv_replay.empty() ? "null" : "\"" + settings.kv_replay + "\"";
  return plain_body(
      R"({"0":{"enable_kv_cache_events":true,"publisher":"zmq","endpoint":")" + settings.kv_events +
          R"(","replay_endpoint":)" + replay +
          R"(,"buffer_steps":10000,"hwm":100000,"max_queue_size":100000,"topic":""}})",
      "application/json");
}

void write_digits(char* to, uint64_t value) {
  for (size_t i = TIME_DIGITS; i-- > 0; value /= 10) to[i] = static_cast<char>('0' + value % 10);
}

}  // namespace

void Template::append_to(std::string& out, const char* request_id, uint64_t now_ns) const {
  const size_t start = out.size();
  out.append(bytes);
  if (request_id_at != 0) memcpy(out.data() + start + request_id_at, request_id, REQUEST_ID_BYTES);
  if (time_at != 0) write_digits(out.data() + start + time_at, now_ns);
}

Replies::Replies(const Settings& settings) {
  assert(!settings.models.empty());
  chat = chat_endpoint(settings.models[0]);
  completion = completion_endpoint(settings.models[0]);
  models = models_body(settings.models);
  metrics = metrics_body(settings.models[0]);
  kv_event_sources = kv_sources_body(settings);
  refresh_date();
}

void Replies::append_head(std::string& out, const char* fixed) const {
  out.append(date_);
  out.append(fixed);
}

void Replies::refresh_date() {
  const time_t now = time(nullptr);
  tm parts;
  gmtime_r(&now, &parts);
  char text[96];
  strftime(text, sizeof(text), "HTTP/1.1 200 OK\r\ndate: %a, %d %b %Y %H:%M:%S GMT\r\n", &parts);
  date_ = text;
}

}  // namespace mock
