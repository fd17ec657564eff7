// Words that one writer and many readers share without a lock.
//
// Every word that a reader may see is read with acquire and written with release. That is all a
// seqlock needs, without a fence (which ThreadSanitizer cannot follow):
//
//   writer: version = odd;  word = x;  word' = y;  version = even
//   reader: v = version;    read words;            version == v and even?  then they are of one
//                                                  moment, else read again
//
// A reader that sees x has, by release and acquire, also the odd version behind it, so its second
// look at the version fails. On x86 all of this compiles to plain moves.
#pragma once

#include <cstdint>

namespace warmpath {

template <typename T>
inline T shared_load(const T& word) {
  return __atomic_load_n(&word, __ATOMIC_ACQUIRE);
}

template <typename T>
inline void shared_store(T& word, T value) {
  __atomic_store_n(&word, value, __ATOMIC_RELEASE);
}

// The writer's own look at a word that only it changes.
template <typename T>
inline T own_load(const T& word) {
  return __atomic_load_n(&word, __ATOMIC_RELAXED);
}

inline uint64_t pack(uint32_t high, uint32_t low) {
  return uint64_t{high} << 32 | low;
}
inline uint32_t high_of(uint64_t word) {
  return static_cast<uint32_t>(word >> 32);
}
inline uint32_t low_of(uint64_t word) {
  return static_cast<uint32_t>(word);
}

// A strong, invertible mix of 64 bits (the finaliser of splitmix64).
inline uint64_t scramble(uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9u;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

}  // namespace warmpath
