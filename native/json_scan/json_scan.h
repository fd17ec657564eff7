// Finds the members of a JSON object without building anything: one pass over a request body.
//
//   {"model":"m", "messages": [ … ], "kv_transfer\u005fparams":1}
//    ^keyStart  ^keyEnd  ^valueStart ^valueEnd
//
// A span is six words: key id (0 for a name we do not know), start and end of the key with its
// quotes, start and end of the value, type of the value. Offsets are bytes from the start of the
// body. Every duplicate is listed, in order, because the node's parser takes the last one and a
// splice that saw the first only would be a hole. A key is compared after its escapes are undone.
//
// What is accepted is RFC 8259 in UTF-8 and nothing else: no byte order mark, no NaN, no
// unescaped control character, no overlong or surrogate byte sequence; a lone surrogate written
// as an escape is legal. Two limits: DEPTH_MAX levels, and as many members as the spans hold.
//
// Costs: a string is passed at 16 bytes a step (SSE2, NEON) or 8 (elsewhere) while it is plain
// ASCII; text beyond ASCII is checked by the byte, which is about five times slower. Nothing is
// allocated: the kind of each open bracket is one bit on the stack.
//
// The second function writes nothing but keys: it walks the values that make the prompt, leaves
// out the whitespace between tokens, and chain-hashes what remains in chunks of equal size.
#pragma once

#include <cstddef>
#include <cstdint>

namespace warmpath::json_scan {

// Levels of nesting; a deeper body is refused. Tool schemas in use stay below 40; the bits below
// take 128 bytes of stack.
constexpr size_t DEPTH_MAX = 1024;

enum ValueType : uint32_t { V_NULL, V_FALSE, V_TRUE, V_NUMBER, V_STRING, V_ARRAY, V_OBJECT };

struct Span {
  uint32_t key_id;
  uint32_t key_start;
  uint32_t key_end;
  uint32_t value_start;
  uint32_t value_end;
  uint32_t value_type;
};
static_assert(sizeof(Span) == 24);
constexpr size_t SPAN_WORDS = sizeof(Span) / sizeof(uint32_t);

enum class Fault : int32_t {
  kNone = 0,
  kSyntax = 1,     // not JSON; the offset is the first byte that no JSON text could have there
  kNotObject = 2,  // JSON, but another value than an object; the offset is where it starts
  kTooDeep = 3,    // the offset is the bracket that opens one level too many
  kTooMany = 4,    // more members than spans; the offset is the key that found no room
  kUtf8 = 5,       // the offset is the first byte of a sequence that is not UTF-8
};

struct Outcome {
  Fault fault;
  uint32_t offset;
  uint32_t count;
};

// Scans body[start, end), which must hold one JSON object and whitespace around it.
Outcome scan_object(const uint8_t* body, uint32_t start, uint32_t end, Span* spans,
                    uint32_t spans_max);

// What a request's canonical text is made of; the last one grows with a conversation.
enum PromptKind : uint32_t { K_CHAT, K_COMPLETION, K_EMBEDDING, K_RESPONSES, K_MESSAGES, K_COUNT };

// Chain-hashes the canonical text of a request, see json_scan_keys.cc. `body` must have been
// accepted by scan_object, which gave `spans`.
struct Keys {
  uint32_t count;       // whole chunks hashed, at most keys_max
  uint32_t text_bytes;  // bytes of the canonical text, the last, partial chunk included
  uint64_t digest;      // chain of all chunks, the last, partial one included, and of the options
};
// Bytes of a chunk: the one that is not full yet is held on the stack.
constexpr uint32_t CHUNK_BYTES_MAX = 1024;
Keys canonical_keys(const uint8_t* body, const Span* spans, uint32_t count, PromptKind kind,
                    uint64_t root, uint32_t chunk_bytes, uint64_t* keys, uint32_t keys_max);

// Reads body[start, end), one JSON array that scan_object accepted, as token ids: at most
// tokens_max of them are written, all are counted. NOT_TOKENS when an element is anything but a
// plain whole number of 32 bits. An array of arrays is read as its first one.
constexpr uint32_t NOT_TOKENS = 0xffffffffu;
uint32_t token_array(const uint8_t* body, uint32_t start, uint32_t end, uint32_t* tokens,
                     uint32_t tokens_max);

// Numbers in body[start, end), a JSON array of arrays of token ids: what they are together.
uint32_t number_count(const uint8_t* body, uint32_t start, uint32_t end);

}  // namespace warmpath::json_scan
