// The names that Warmpath reads or edits in a request body, and their ids.
#pragma once

#include <cstddef>
#include <cstdint>

namespace warmpath::json_scan {

// Names of the members that Warmpath reads or edits; the position is the id, and
// src/native/json_scan.ts holds the same list (a test compares them).
constexpr const char* NAMES[] = {"",
                                 "model",
                                 "stream",
                                 "messages",
                                 "prompt",
                                 "input",
                                 "tools",
                                 "cache_salt",
                                 "n",
                                 "max_tokens",
                                 "max_completion_tokens",
                                 "max_output_tokens",
                                 "stream_options",
                                 "prompt_logprobs",
                                 "logprobs",
                                 "top_logprobs",
                                 "echo",
                                 "kv_transfer_params",
                                 "ec_transfer_params",
                                 "vllm_xargs",
                                 "kv_cache_report_mode",
                                 "request_id",
                                 "session_id",
                                 "priority",
                                 "chat_template",
                                 "chat_template_kwargs",
                                 "add_generation_prompt",
                                 "continue_final_message",
                                 "add_special_tokens",
                                 "truncate_prompt_tokens",
                                 "truncation_side",
                                 "documents",
                                 "system",
                                 "instructions",
                                 "reasoning_effort",
                                 "reasoning",
                                 "thinking",
                                 "temperature",
                                 "seed",
                                 "top_p",
                                 "tool_choice",
                                 "response_format",
                                 "background",
                                 "store",
                                 "previous_response_id",
                                 "previous_input_messages",
                                 "conversation",
                                 "prompt_embeds",
                                 "mm_processor_kwargs",
                                 "best_of",
                                 "suffix",
                                 "user",
                                 "include_usage",
                                 "continuous_usage_stats",
                                 "cache",
                                 "dimensions",
                                 "encoding_format",
                                 "truncation",
                                 "output_config",
                                 "metadata",
                                 "output",
                                 "response",
                                 "type",
                                 "stream_id",
                                 "generate",
                                 "response_id",
                                 "starting_after",
                                 "warmpath:resume",
                                 "status"};
constexpr uint32_t NAME_COUNT = sizeof(NAMES) / sizeof(NAMES[0]);
// Bytes of a name: an escaped key is undone in a buffer of that size on the stack.
constexpr size_t NAME_LENGTH_MAX = 31;

constexpr size_t length_of(const char* text) {
  size_t length = 0;
  while (text[length] != 0) length++;
  return length;
}

// Ids grouped by the length of their names: FIRST[n] … FIRST[n + 1] of BY_LENGTH.
struct NameTable {
  uint8_t by_length[NAME_COUNT] = {};
  uint8_t first[NAME_LENGTH_MAX + 2] = {};
  constexpr NameTable() {
    uint32_t at = 0;
    for (size_t length = 1; length <= NAME_LENGTH_MAX; length++) {
      first[length] = static_cast<uint8_t>(at);
      for (uint32_t id = 1; id < NAME_COUNT; id++) {
        if (length_of(NAMES[id]) == length) by_length[at++] = static_cast<uint8_t>(id);
      }
    }
    first[NAME_LENGTH_MAX + 1] = static_cast<uint8_t>(at);
  }
};
constexpr NameTable TABLE;
static_assert(NAME_COUNT < 256 && TABLE.first[NAME_LENGTH_MAX + 1] == NAME_COUNT - 1);

// Id of a key name given without quotes and escapes; 0 when it is none of ours.
constexpr uint32_t key_id_of(const char* name, size_t length) {
  if (length == 0 || length > NAME_LENGTH_MAX) return 0;
  for (uint32_t i = TABLE.first[length]; i < TABLE.first[length + 1]; i++) {
    const char* const known = NAMES[TABLE.by_length[i]];
    size_t same = 0;
    while (same < length && known[same] == name[same]) same++;
    if (same == length) return TABLE.by_length[i];
  }
  return 0;
}

// The same at compile time; a name that is not in the list does not compile.
consteval uint32_t known_id(const char* name) {
  const uint32_t id = key_id_of(name, length_of(name));
  if (id == 0) __builtin_unreachable();
  return id;
}

}  // namespace warmpath::json_scan
