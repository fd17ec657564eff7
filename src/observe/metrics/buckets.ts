/**
 * Upper bounds of histogram buckets, in seconds. Two scales are enough: what Warmpath itself adds
 * lies between 10 µs and a second, what a node takes between a millisecond and ten minutes.
 * Steps of about 2 to 2.5 keep a quantile read from the buckets within a factor of 1.6.
 */
export const FAST_BOUNDS: readonly number[] = [
  0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
  0.25, 1,
]

export const SLOW_BOUNDS: readonly number[] = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600,
]
