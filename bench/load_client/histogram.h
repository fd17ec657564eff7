#ifndef WARMPATH_BENCH_LOAD_CLIENT_HISTOGRAM_H_
#define WARMPATH_BENCH_LOAD_CLIENT_HISTOGRAM_H_

// Log-linear histogram of durations: 64 buckets per power of two, so a percentile is at most
// 1.6 % too high. A record costs about 2 ns and nothing is allocated, which matters at 10⁵
// events a second on the core that also runs the mock nodes.
//
//   value 1000 ns = 0b1111101000: power 9, top six bits behind the first one 111101
//   bucket = (9 - 6 + 1) * 64 + 0b111101 = 317

#include <array>
#include <bit>
#include <cassert>
#include <cstdint>

namespace load {

class Histogram {
 public:
  void record(uint64_t ns) {
    const uint64_t value = ns < VALUE_MAX ? ns : VALUE_MAX;
    counts_[bucket(value)]++;
    count_++;
    sum_ += value;
    if (value > max_) max_ = value;
  }

  /** Upper edge of the bucket that holds the share `quantile` of all records; 0 when empty. */
  uint64_t at(double quantile) const {
    assert(quantile >= 0 && quantile <= 1);
    const uint64_t rank = static_cast<uint64_t>(quantile * static_cast<double>(count_));
    uint64_t seen = 0;
    for (uint32_t i = 0; i < BUCKETS; i++) {
      seen += counts_[i];
      if (seen > rank) return upper(i) < max_ ? upper(i) : max_;
    }
    return max_;
  }

  uint64_t count_between(uint64_t low_ns, uint64_t high_ns) const {
    uint64_t seen = 0;
    for (uint32_t i = bucket(low_ns); i < bucket(high_ns); i++) seen += counts_[i];
    return seen;
  }

  uint64_t count() const { return count_; }
  uint64_t max() const { return max_; }
  double mean() const {
    return count_ == 0 ? 0 : static_cast<double>(sum_) / static_cast<double>(count_);
  }

 private:
  static constexpr uint32_t SUB_BITS = 6;
  static constexpr uint32_t POWER_MAX = 40;  // 2^40 ns is 18 minutes
  static constexpr uint64_t VALUE_MAX = (uint64_t{1} << POWER_MAX) - 1;
  static constexpr uint32_t BUCKETS = (POWER_MAX - SUB_BITS + 1) << SUB_BITS;

  static uint32_t bucket(uint64_t value) {
    if (value < (1u << SUB_BITS)) return static_cast<uint32_t>(value);
    const uint32_t shift = static_cast<uint32_t>(std::bit_width(value)) - 1 - SUB_BITS;
    return ((shift + 1) << SUB_BITS) + static_cast<uint32_t>((value >> shift) & 63);
  }

  static uint64_t upper(uint32_t index) {
    if (index < (1u << SUB_BITS)) return index;
    const uint32_t shift = (index >> SUB_BITS) - 1;
    return ((uint64_t{64} + (index & 63) + 1) << shift) - 1;
  }

  std::array<uint64_t, BUCKETS> counts_{};
  uint64_t count_ = 0;
  uint64_t sum_ = 0;
  uint64_t max_ = 0;
};

}  // namespace load

#endif  // WARMPATH_BENCH_LOAD_CLIENT_HISTOGRAM_H_
