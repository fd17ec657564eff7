#include "json_scan/json_scan.h"

#include <cassert>
#include <cstring>

#include "json_scan/key_names.h"
#include "json_scan/text_run.h"

namespace warmpath::json_scan {
namespace {

constexpr bool is_space(uint8_t c) {
  return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}
constexpr bool is_digit(uint8_t c) {
  return c >= '0' && c <= '9';
}

int hex_value(uint8_t c) {
  if (is_digit(c)) return c - '0';
  const uint8_t lower = c | 0x20;
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

class Scanner {
 public:
  Scanner(const uint8_t* body, uint32_t start, uint32_t end)
      : body_(body), at_(body + start), end_(body + end) {}

  Outcome members(Span* spans, uint32_t spans_max);

 private:
  bool fail(Fault fault, const uint8_t* where) {
    if (fault_ == Fault::kNone) {
      fault_ = fault;
      fault_at_ = static_cast<uint32_t>(where - body_);
    }
    return false;
  }
  bool fail() { return fail(Fault::kSyntax, at_); }
  uint32_t offset() const { return static_cast<uint32_t>(at_ - body_); }
  uint8_t peek() const { return at_ < end_ ? *at_ : 0; }
  void skip_space() {
    while (at_ < end_ && is_space(*at_)) at_++;
  }
  bool expect(uint8_t c) {
    if (at_ == end_ || *at_ != c) return fail();
    at_++;
    return true;
  }
  bool literal(const char* rest, size_t length);
  bool number();
  bool string(bool* has_escape);
  bool escape();
  bool colon();
  bool value(ValueType* type);
  bool scalar(ValueType* type);
  uint32_t key_id(const uint8_t* start, const uint8_t* end, bool has_escape) const;

  bool is_object(size_t depth) const { return (kinds_[depth / 64] >> (depth % 64)) & 1; }
  void set_kind(size_t depth, bool object) {
    const uint64_t bit = uint64_t{1} << (depth % 64);
    kinds_[depth / 64] = object ? kinds_[depth / 64] | bit : kinds_[depth / 64] & ~bit;
  }

  const uint8_t* const body_;
  const uint8_t* at_;
  const uint8_t* const end_;
  Fault fault_ = Fault::kNone;
  uint32_t fault_at_ = 0;
  uint32_t overflow_at_ = 0;
  uint64_t kinds_[DEPTH_MAX / 64] = {};  // one bit a level: set for an object
};

bool Scanner::literal(const char* rest, size_t length) {
  for (size_t i = 0; i < length; i++) {
    if (!expect(static_cast<uint8_t>(rest[i]))) return false;
  }
  return true;
}

bool Scanner::number() {
  if (peek() == '-') at_++;
  if (peek() == '0') {
    at_++;
  } else {
    if (!is_digit(peek())) return fail();
    while (is_digit(peek())) at_++;
  }
  if (peek() == '.') {
    at_++;
    if (!is_digit(peek())) return fail();
    while (is_digit(peek())) at_++;
  }
  if ((peek() | 0x20) == 'e') {
    at_++;
    if (peek() == '+' || peek() == '-') at_++;
    if (!is_digit(peek())) return fail();
    while (is_digit(peek())) at_++;
  }
  return true;
}

// at_ is behind a backslash.
bool Scanner::escape() {
  switch (peek()) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
      at_++;
      return true;
    case 'u':
      at_++;
      for (int i = 0; i < 4; i++) {
        if (at_ == end_ || hex_value(*at_) < 0) return fail();
        at_++;
      }
      return true;
    default:
      return fail();
  }
}

// at_ is behind the opening quote; leaves it behind the closing one.
bool Scanner::string(bool* has_escape) {
  for (;;) {
    at_ = skip_run<Beyond::kStops>(at_, end_);
    if (at_ == end_) return fail();
    const uint8_t c = *at_;
    if (c == '"') {
      at_++;
      return true;
    }
    if (c == '\\') {
      *has_escape = true;
      at_++;
      if (!escape()) return false;
    } else if (c < 0x20) {
      return fail();
    } else {
      const uint8_t* next = skip_beyond_ascii(at_, end_);
      // Equal means that the sequence at at_ is not UTF-8.
      if (next == at_) return fail(Fault::kUtf8, at_);
      at_ = next;
    }
  }
}

bool Scanner::colon() {
  skip_space();
  if (!expect(':')) return false;
  skip_space();
  return true;
}

bool Scanner::scalar(ValueType* type) {
  switch (peek()) {
    case '"': {
      bool has_escape = false;
      *type = V_STRING;
      at_++;
      return string(&has_escape);
    }
    case 'n':
      *type = V_NULL;
      return literal("null", 4);
    case 't':
      *type = V_TRUE;
      return literal("true", 4);
    case 'f':
      *type = V_FALSE;
      return literal("false", 5);
    default:
      *type = V_NUMBER;
      return number();
  }
}

// Scans any value at at_, which is not whitespace. Brackets are counted, not recursed into: the
// depth of the body cannot touch the stack of the thread.
bool Scanner::value(ValueType* type) {
  size_t depth = 0;
  for (bool is_first = true;; is_first = false) {
    const uint8_t c = peek();
    if (c == '{' || c == '[') {
      // The object whose members are listed is a level of its own.
      if (depth + 1 == DEPTH_MAX) return fail(Fault::kTooDeep, at_);
      if (is_first) *type = c == '{' ? V_OBJECT : V_ARRAY;
      set_kind(depth++, c == '{');
      at_++;
      skip_space();
      if (peek() != (c == '{' ? '}' : ']')) {
        if (c == '{') {
          bool has_escape = false;
          if (!expect('"') || !string(&has_escape) || !colon()) return false;
        }
        continue;
      }
    } else {
      ValueType inner = V_NULL;
      if (!scalar(&inner)) return false;
      if (is_first) *type = inner;
    }
    // A value has ended, or an empty bracket stands open: close all that ends here.
    for (;;) {
      if (depth == 0) return true;
      skip_space();
      const bool object = is_object(depth - 1);
      if (peek() == ',') {
        at_++;
        skip_space();
        if (object) {
          bool has_escape = false;
          if (!expect('"') || !string(&has_escape) || !colon()) return false;
        }
        break;
      }
      if (!expect(object ? '}' : ']')) return false;
      depth--;
    }
  }
}

// Undoes the escapes of a key, [start, end) without quotes, as far as an ASCII name needs it.
uint32_t Scanner::key_id(const uint8_t* start, const uint8_t* end, bool has_escape) const {
  if (!has_escape) {
    return key_id_of(reinterpret_cast<const char*>(start), static_cast<size_t>(end - start));
  }
  char name[NAME_LENGTH_MAX];
  size_t length = 0;
  for (const uint8_t* p = start; p < end;) {
    uint32_t unit = *p++;
    if (unit == '\\') {
      unit = *p++;
      if (unit == 'u') {
        unit = 0;
        for (int i = 0; i < 4; i++) unit = unit * 16 + static_cast<uint32_t>(hex_value(*p++));
      } else if (unit >= 'a' && unit <= 'z') {
        return 0;  // \b \f \n \r \t: control characters, in no name of ours
      }
    }
    if (unit == 0 || unit > 0x7f || length == NAME_LENGTH_MAX) return 0;
    name[length++] = static_cast<char>(unit);
  }
  return key_id_of(name, length);
}

Outcome Scanner::members(Span* spans, uint32_t spans_max) {
  uint32_t count = 0;
  const auto outcome = [&] { return Outcome{fault_, fault_at_, count}; };
  skip_space();
  const uint8_t* const opening = at_;
  const bool is_object_here = peek() == '{';
  if (!is_object_here) {
    ValueType type = V_NULL;
    if (!value(&type)) return outcome();
    skip_space();
    fail(at_ == end_ ? Fault::kNotObject : Fault::kSyntax, at_ == end_ ? opening : at_);
    return outcome();
  }
  at_++;
  skip_space();
  if (peek() == '}') {
    at_++;
  } else {
    for (;;) {
      Span span = {};
      bool has_escape = false;
      span.key_start = offset();
      if (!expect('"') || !string(&has_escape)) return outcome();
      span.key_end = offset();
      span.key_id = key_id(body_ + span.key_start + 1, body_ + span.key_end - 1, has_escape);
      if (!colon()) return outcome();
      span.value_start = offset();
      ValueType type = V_NULL;
      if (!value(&type)) return outcome();
      span.value_end = offset();
      span.value_type = type;
      // The rest is still validated, so that a fault of syntax is never hidden by this limit.
      if (count < spans_max)
        spans[count++] = span;
      else if (overflow_at_ == 0)
        overflow_at_ = span.key_start;
      skip_space();
      if (peek() != ',') break;
      at_++;
      skip_space();
    }
    if (!expect('}')) return outcome();
  }
  skip_space();
  if (at_ != end_) fail();
  if (overflow_at_ != 0) fail(Fault::kTooMany, body_ + overflow_at_);
  return outcome();
}

}  // namespace

Outcome scan_object(const uint8_t* body, uint32_t start, uint32_t end, Span* spans,
                    uint32_t spans_max) {
  assert(start <= end);
  assert(spans != nullptr || spans_max == 0);
  return Scanner(body, start, end).members(spans, spans_max);
}

}  // namespace warmpath::json_scan
