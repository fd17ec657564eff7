// The canonical text of a request and its chain of keys.
//
//   0"tools":[…],"messages":[{"role":"user","content":"hi"}      the bracket that would close the
//   |└ what stands in front of the conversation    ▲             growing value is left out, so the
//   └ kind of the request                          │             next turn extends this very text
//                                                  └ no whitespace between tokens
//
//   chunks of chunk_bytes:   c0        c1        c2      tail
//   keys:                    k0 ─────► k1 ─────► k2      k_i = chain(k_{i-1}, c_i), k_-1 = root
//
// A member counts with its last duplicate, as in the node's parser. Values keep the client's own
// spelling: its order of members, its escapes, its way to write numbers. A client that writes the
// same history differently misses, which costs a worse route and nothing else.
//
// The digest continues the chain over the tail, the end of the growing value and every option
// that changes what the tokens or the prediction would be; it names the whole prompt in memos.
#include <cassert>
#include <cstring>

#include "chain_hash/chain_hash.h"
#include "json_scan/json_scan.h"
#include "json_scan/key_names.h"
#include "json_scan/text_run.h"

namespace warmpath::json_scan {
namespace {

struct Member {
  uint32_t id;
  const char* name() const { return NAMES[id]; }
};
consteval Member member(const char* name) {
  return Member{known_id(name)};
}

// In front of the conversation, in the order in which templates put them.
constexpr Member HEAD[] = {
    member("tools"),
    member("documents"),
    member("chat_template"),
    member("chat_template_kwargs"),
    member("reasoning_effort"),
    member("previous_response_id"),
    member("system"),
    member("instructions"),
};
// Options that change the tokens or whether the node looks its cache up at all.
constexpr Member OPTIONS[] = {
    member("add_generation_prompt"),
    member("continue_final_message"),
    member("add_special_tokens"),
    member("truncate_prompt_tokens"),
    member("truncation_side"),
    member("prompt_logprobs"),
    member("prompt_embeds"),
    member("mm_processor_kwargs"),
    member("echo"),
    member("logprobs"),
    member("tool_choice"),
    member("reasoning"),
    member("thinking"),
    member("response_format"),
    member("n"),
};
constexpr Member GROWING[K_COUNT] = {member("messages"), member("prompt"), member("input"),
                                     member("input"), member("messages")};

class Chunker {
 public:
  Chunker(uint64_t root, uint32_t chunk_bytes, uint64_t* keys, uint32_t keys_max)
      : key_(root), chunk_bytes_(chunk_bytes), keys_(keys), keys_max_(keys_max) {}

  void feed(const uint8_t* bytes, size_t length) {
    total_ += length;
    if (held_ != 0) {
      const size_t take = length < chunk_bytes_ - held_ ? length : chunk_bytes_ - held_;
      std::memcpy(chunk_ + held_, bytes, take);
      held_ += take;
      bytes += take;
      length -= take;
      if (held_ < chunk_bytes_) return;
      close(chunk_);
      held_ = 0;
    }
    for (; length >= chunk_bytes_; bytes += chunk_bytes_, length -= chunk_bytes_) close(bytes);
    std::memcpy(chunk_, bytes, length);
    held_ = length;
  }
  void feed(const char* text) { feed(reinterpret_cast<const uint8_t*>(text), std::strlen(text)); }

  // From here on chunks extend the digest only.
  void seal() { keys_max_ = count_; }
  uint64_t digest() const { return held_ == 0 ? key_ : link(chunk_, held_); }
  uint32_t count() const { return count_; }
  size_t total() const { return total_; }

 private:
  // The key behind one more chunk; the same function as everywhere else.
  uint64_t link(const uint8_t* chunk, size_t length) const {
    uint64_t key = 0;
    text_keys(key_, chunk, length, static_cast<uint32_t>(length), &key);
    return key;
  }
  void close(const uint8_t* chunk) {
    key_ = link(chunk, chunk_bytes_);
    if (count_ < keys_max_) keys_[count_++] = key_;
  }

  uint64_t key_;
  const size_t chunk_bytes_;
  uint64_t* const keys_;
  uint32_t keys_max_;
  uint32_t count_ = 0;
  size_t held_ = 0;
  size_t total_ = 0;
  uint8_t chunk_[CHUNK_BYTES_MAX];
};

// The last member of each id; null where there is none, or where its value is null.
class Members {
 public:
  Members(const Span* spans, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) last_[spans[i].key_id] = &spans[i];
  }
  const Span* find(Member member) const {
    const Span* span = last_[member.id];
    return span == nullptr || span->value_type == V_NULL ? nullptr : span;
  }

 private:
  const Span* last_[NAME_COUNT] = {};
};

// Feeds valid JSON without the whitespace between its tokens, in runs as long as they come.
void feed_minified(Chunker& out, const uint8_t* at, const uint8_t* end) {
  const uint8_t* run = at;
  while (at < end) {
    const uint8_t c = *at;
    if (c == '"') {
      at++;
      for (;;) {
        at = skip_run<Beyond::kPasses>(at, end);
        assert(at < end);
        if (*at == '"') break;
        at += *at == '\\' ? 2 : 1;
      }
      at++;
    } else if (c == ' ' || c == '\n' || c == '\r' || c == '\t') {
      out.feed(run, static_cast<size_t>(at - run));
      do at++;
      while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t'));
      run = at;
    } else {
      at++;
    }
  }
  out.feed(run, static_cast<size_t>(end - run));
}

void feed_name(Chunker& out, Member member) {
  out.feed("\"");
  out.feed(member.name());
  out.feed("\":");
}

void feed_member(Chunker& out, const uint8_t* body, Member member, const Span& span) {
  feed_name(out, member);
  feed_minified(out, body + span.value_start, body + span.value_end);
}

// All of the growing value but the bracket or quote that closes it, which is returned.
const uint8_t* feed_open(Chunker& out, const uint8_t* body, Member member, const Span& span) {
  feed_name(out, member);
  const uint8_t* const start = body + span.value_start;
  const uint8_t* const last = body + span.value_end - 1;
  if (span.value_type == V_STRING) {
    out.feed(start, static_cast<size_t>(last - start));
    return last;
  }
  if (span.value_type == V_ARRAY) {
    feed_minified(out, start, last);
    return last;
  }
  feed_minified(out, start, last + 1);
  return nullptr;
}

}  // namespace

Keys canonical_keys(const uint8_t* body, const Span* spans, uint32_t count, PromptKind kind,
                    uint64_t root, uint32_t chunk_bytes, uint64_t* keys, uint32_t keys_max) {
  assert(kind < K_COUNT);
  assert(chunk_bytes > 0 && chunk_bytes <= CHUNK_BYTES_MAX);
  Chunker out(root, chunk_bytes, keys, keys_max);
  const char kind_text[] = {static_cast<char>('0' + kind), 0};
  out.feed(kind_text);
  const Members members(spans, count);
  for (const Member member : HEAD) {
    const Span* span = members.find(member);
    if (span == nullptr) continue;
    feed_member(out, body, member, *span);
    out.feed(",");
  }
  const Span* growing = members.find(GROWING[kind]);
  const uint8_t* const closing =
      growing == nullptr ? nullptr : feed_open(out, body, GROWING[kind], *growing);
  out.seal();
  const size_t text_bytes = out.total();
  if (closing != nullptr) out.feed(closing, 1);
  for (const Member member : OPTIONS) {
    const Span* option = members.find(member);
    if (option != nullptr) feed_member(out, body, member, *option);
  }
  return Keys{out.count(), static_cast<uint32_t>(text_bytes), out.digest()};
}

uint32_t token_array(const uint8_t* body, uint32_t start, uint32_t end, uint32_t* tokens,
                     uint32_t tokens_max) {
  assert(start < end && body[start] == '[');
  const uint8_t* at = body + start + 1;
  const uint8_t* const stop = body + end;
  const auto skip_space = [&] {
    while (at < stop && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')) at++;
  };
  skip_space();
  if (at < stop && *at == '[') {
    at++;
    skip_space();
  }
  uint32_t count = 0;
  if (at < stop && *at == ']') return 0;
  for (;;) {
    uint64_t id = 0;
    const uint8_t* const first = at;
    for (; at < stop && *at >= '0' && *at <= '9' && at - first <= 10; at++)
      id = id * 10 + (*at - '0');
    if (at == first || id > 0xffffffffu) return NOT_TOKENS;
    if (count < tokens_max) tokens[count] = static_cast<uint32_t>(id);
    count++;
    skip_space();
    if (at >= stop) return NOT_TOKENS;
    if (*at == ']') return count;
    if (*at != ',') return NOT_TOKENS;
    at++;
    skip_space();
  }
}

uint32_t number_count(const uint8_t* body, uint32_t start, uint32_t end) {
  assert(start < end && body[start] == '[');
  uint32_t count = 0;
  // Where a run of digits begins; without a branch, for prompts of many megabytes.
  for (uint32_t at = start + 1; at < end; at++) {
    const bool is_digit = static_cast<uint8_t>(body[at] - '0') < 10;
    const bool was_digit = static_cast<uint8_t>(body[at - 1] - '0') < 10;
    count += is_digit & !was_digit;
  }
  return count;
}

}  // namespace warmpath::json_scan
