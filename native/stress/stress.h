// What the stress programs share: numbers that follow from a seed, and when a wait is lost.
#pragma once

#include <cstdint>

namespace warmpath {

// Seconds after which a wait counts as a lost wake, far beyond any scheduling delay.
inline constexpr int WAIT_SECONDS_MAX = 20;

// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), as a remainder.
struct Random {
  std::uint64_t state;
  std::uint32_t operator()(std::uint32_t below) {
    state += 0x9e3779b97f4a7c15ull;
    std::uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return static_cast<std::uint32_t>((z ^ (z >> 31)) % below);
  }
};

}  // namespace warmpath
