/**
 * Where every cell of the catalog lies in a thread's buffer. The layout is computed once from the
 * catalog, the same in every thread, so a cell is named by its number alone.
 *
 *   | counters              | node counters                   | histograms             | gauges |
 *   | cell, cell, cell, ... | slot 0: a b c | slot 1: a b c … | b0 b1 … bInf sum | ... | g g g  |
 *
 * A counter with labels takes one cell for each combination, last label fastest:
 * `requests{endpoint="chat",status="4xx"}` is `M.requests + ENDPOINT.chat × 5 + 2`.
 * A node counter takes SLOTS × combinations cells, combination fastest.
 */
import { SLOTS_MAX } from '../../native/limits.ts'
import {
  COUNTERS,
  type CounterSpec,
  GAUGES,
  HISTOGRAMS,
  NODE_COUNTERS,
  type NodeCounterSpec,
} from './catalog.ts'

/** A histogram's place: `bounds.length + 1` buckets, then the sum of the observed seconds. */
export interface Histogram {
  readonly base: number
  readonly bounds: Float64Array
}

export type CounterKey = keyof typeof COUNTERS
export type NodeCounterKey = keyof typeof NODE_COUNTERS
export type HistogramKey = keyof typeof HISTOGRAMS
export type GaugeKey = keyof typeof GAUGES

/** Combinations of label values of a counter. */
export function combinations(spec: CounterSpec | NodeCounterSpec): number {
  return spec.labels.reduce((product, label) => product * label.values.length, 1)
}

let cells = 0

function place<K extends string, S, R>(
  specs: Record<K, S>,
  size: (spec: S) => number,
  entry: (base: number, spec: S) => R,
): Readonly<Record<K, R>> {
  const placed: [string, R][] = []
  for (const [key, spec] of Object.entries<S>(specs)) {
    placed.push([key, entry(cells, spec)])
    cells += size(spec)
  }
  // Decode boundary: Object.fromEntries widens the keys, which are exactly those of `specs`.
  return Object.freeze(Object.fromEntries(placed)) as Readonly<Record<K, R>>
}

/** First cell of every counter: the id that `add` and `addFor` take. */
export const M: Readonly<Record<CounterKey, number>> = place(COUNTERS, combinations, base => base)

/** First cell of every node counter: the id that `addNode` takes. */
export const N: Readonly<Record<NodeCounterKey, number>> = place(
  NODE_COUNTERS,
  spec => combinations(spec) * SLOTS_MAX,
  base => base,
)

/** Every histogram: what `observe` takes. */
export const H: Readonly<Record<HistogramKey, Histogram>> = place(
  HISTOGRAMS,
  spec => spec.bounds.length + 2,
  (base, spec) => ({ base, bounds: Float64Array.from(spec.bounds) }),
)

/** Every gauge of a thread: what `set` takes. */
export const G: Readonly<Record<GaugeKey, number>> = place(
  GAUGES,
  () => 1,
  base => base,
)

/** Cells of one thread's buffer. */
export const CELL_COUNT = cells
