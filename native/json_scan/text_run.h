// The inner loops over the bytes of a JSON string.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace warmpath::json_scan {

// Whether text beyond ASCII ends a run, or was checked before and is text like any other.
enum class Beyond { kStops, kPasses };

// First byte in [at, end) that is a quote, a backslash or, with kStops, a control character or
// beyond ASCII.
template <Beyond BEYOND>
inline const uint8_t* skip_run(const uint8_t* at, const uint8_t* end) {
  constexpr bool STOPS = BEYOND == Beyond::kStops;
#if defined(__SSE2__)
  const __m128i quote = _mm_set1_epi8('"');
  const __m128i backslash = _mm_set1_epi8('\\');
  while (end - at >= 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
    __m128i stop = _mm_or_si128(_mm_cmpeq_epi8(bytes, quote), _mm_cmpeq_epi8(bytes, backslash));
    // As signed bytes, everything beyond ASCII is below the space, as control characters are.
    if (STOPS) stop = _mm_or_si128(stop, _mm_cmplt_epi8(bytes, _mm_set1_epi8(' ')));
    const int mask = _mm_movemask_epi8(stop);
    if (mask != 0) return at + __builtin_ctz(static_cast<unsigned>(mask));
    at += 16;
  }
#elif defined(__aarch64__)
  while (end - at >= 16) {
    const uint8x16_t bytes = vld1q_u8(at);
    uint8x16_t stop = vorrq_u8(vceqq_u8(bytes, vdupq_n_u8('"')), vceqq_u8(bytes, vdupq_n_u8('\\')));
    if (STOPS) stop = vorrq_u8(stop, vcltq_s8(vreinterpretq_s8_u8(bytes), vdupq_n_s8(' ')));
    if (vmaxvq_u8(stop) != 0) break;
    at += 16;
  }
#else
  constexpr uint64_t ONES = 0x0101010101010101u;
  constexpr uint64_t HIGHS = 0x8080808080808080u;
  while (end - at >= 8) {
    uint64_t bytes;
    std::memcpy(&bytes, at, 8);
    // The classic test for a zero byte; a false alarm only ends the fast loop early.
    const uint64_t quote = bytes ^ (ONES * '"');
    const uint64_t backslash = bytes ^ (ONES * '\\');
    uint64_t stop = ((quote - ONES) & ~quote) | ((backslash - ONES) & ~backslash);
    if (STOPS) stop |= (bytes - ONES * ' ') | bytes;
    if ((stop & HIGHS) != 0) break;
    at += 8;
  }
#endif
  while (at < end && *at != '"' && *at != '\\' && (!STOPS || (*at >= 0x20 && *at < 0x80))) at++;
  return at;
}

constexpr bool is_continuation(uint8_t c) {
  return (c & 0xc0) == 0x80;
}

// Passes all well-formed sequences of two to four bytes from `at` on; stops at the first ASCII
// byte, at the end, or in front of a sequence that is not UTF-8 (then the result may be `at`).
inline const uint8_t* skip_beyond_ascii(const uint8_t* at, const uint8_t* end) {
  while (at < end && *at >= 0x80) {
    const uint8_t lead = at[0];
    const ptrdiff_t left = end - at;
    if (lead >= 0xc2 && lead <= 0xdf) {
      if (left < 2 || !is_continuation(at[1])) return at;
      at += 2;
    } else if (lead >= 0xe0 && lead <= 0xef) {
      if (left < 3 || !is_continuation(at[1]) || !is_continuation(at[2])) return at;
      // Overlong forms, and the surrogates that belong to UTF-16 alone.
      if ((lead == 0xe0 && at[1] < 0xa0) || (lead == 0xed && at[1] >= 0xa0)) return at;
      at += 3;
    } else if (lead >= 0xf0 && lead <= 0xf4) {
      if (left < 4 || !is_continuation(at[1]) || !is_continuation(at[2]) ||
          !is_continuation(at[3])) {
        return at;
      }
      // Overlong forms, and what lies beyond U+10FFFF.
      if ((lead == 0xf0 && at[1] < 0x90) || (lead == 0xf4 && at[1] >= 0x90)) return at;
      at += 4;
    } else {
      return at;
    }
  }
  return at;
}

}  // namespace warmpath::json_scan
