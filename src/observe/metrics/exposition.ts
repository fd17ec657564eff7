/**
 * Renders the counters of all threads, and values that the main thread was given, as Prometheus
 * text (version 0.0.4). Runs on the main thread, on demand: some 0.3 ms for ten nodes.
 *
 * Series that were never touched are left out when they have labels, so that an idle gateway has
 * a short page; a metric without labels is always there, with 0, so that `rate()` sees its start.
 */
import { SLOTS_MAX } from '../../native/limits.ts'
import {
  COUNTERS,
  type CounterSpec,
  GAUGES,
  type GaugeSpec,
  GIVEN,
  type GivenSpec,
  HISTOGRAMS,
  type HistogramSpec,
  type Label,
  NODE_COUNTERS,
  type NodeCounterSpec,
} from './catalog.ts'
import { combinations, G, H, M, N } from './layout.ts'
import type { ThreadBuffer } from './thread_metrics.ts'

export const METRICS_CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8'

export type GivenKey = keyof typeof GIVEN

/** A value known to the main thread; `labels` in the order of the catalog's `labelNames`. */
export interface Sample {
  readonly metric: GivenKey
  readonly labels: readonly string[]
  readonly value: number
}

/** The (node, rank) that a slot stands for now, taken from the fleet view. */
export interface SlotName {
  readonly slot: number
  readonly node: string
  readonly rank: number
}

export interface MetricsInput {
  readonly threads: readonly ThreadBuffer[]
  readonly slots: readonly SlotName[]
  readonly samples: readonly Sample[]
}

function escapeLabel(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
}

function labelText(names: readonly string[], values: readonly string[]): string {
  if (names.length === 0) return ''
  const pairs = names.map((name, index) => `${name}="${escapeLabel(values[index] ?? '')}"`)
  return `{${pairs.join(',')}}`
}

/** Values of every label at combination number `index`, last label fastest. */
function valuesAt(labels: readonly Label[], index: number): string[] {
  const values: string[] = []
  let rest = index
  for (const label of labels.toReversed()) {
    values.unshift(label.values[rest % label.values.length]!)
    rest = Math.floor(rest / label.values.length)
  }
  return values
}

class Page {
  readonly #lines: string[] = []
  readonly #cells: readonly Float64Array[]
  readonly #threads: readonly ThreadBuffer[]

  constructor(threads: readonly ThreadBuffer[]) {
    this.#threads = threads
    this.#cells = threads.map(thread => new Float64Array(thread.buffer))
  }

  #sum(cell: number): number {
    return this.#cells.reduce((sum, cells) => sum + cells[cell]!, 0)
  }

  #head(spec: { name: string; help: string }, type: string): void {
    this.#lines.push(`# HELP ${spec.name} ${spec.help}`, `# TYPE ${spec.name} ${type}`)
  }

  #line(name: string, labels: string, value: number): void {
    this.#lines.push(`${name}${labels} ${Number.isFinite(value) ? value : 'NaN'}`)
  }

  counter(spec: CounterSpec, base: number): void {
    this.#head(spec, 'counter')
    const names = spec.labels.map(label => label.name)
    for (let index = 0; index < combinations(spec); index += 1) {
      const value = this.#sum(base + index)
      if (value === 0 && names.length > 0) continue
      this.#line(spec.name, labelText(names, valuesAt(spec.labels, index)), value)
    }
  }

  nodeCounter(spec: NodeCounterSpec, base: number, slots: readonly SlotName[]): void {
    if (slots.length === 0) return
    this.#head(spec, 'counter')
    const names = ['node', 'rank', ...spec.labels.map(label => label.name)]
    const width = combinations(spec)
    for (const { slot, node, rank } of slots) {
      for (let index = 0; index < width; index += 1) {
        const value = this.#sum(base + slot * width + index)
        if (value === 0 && width > 1) continue
        const values = [node, String(rank), ...valuesAt(spec.labels, index)]
        this.#line(spec.name, labelText(names, values), value)
      }
    }
  }

  histogram(spec: HistogramSpec, base: number): void {
    this.#head(spec, 'histogram')
    let count = 0
    for (const [index, bound] of spec.bounds.entries()) {
      count += this.#sum(base + index)
      this.#line(`${spec.name}_bucket`, `{le="${bound}"}`, count)
    }
    count += this.#sum(base + spec.bounds.length)
    this.#line(`${spec.name}_bucket`, '{le="+Inf"}', count)
    this.#line(`${spec.name}_sum`, '', this.#sum(base + spec.bounds.length + 1))
    this.#line(`${spec.name}_count`, '', count)
  }

  gauge(spec: GaugeSpec, cell: number): void {
    this.#head(spec, 'gauge')
    if (spec.kind === 'sum_gauge') {
      this.#line(spec.name, '', this.#sum(cell))
      return
    }
    for (const [index, thread] of this.#threads.entries()) {
      this.#line(spec.name, labelText(['thread'], [thread.thread]), this.#cells[index]![cell]!)
    }
  }

  given(spec: GivenSpec, samples: readonly Sample[]): void {
    if (samples.length === 0) return
    this.#head(spec, spec.type)
    for (const sample of samples) {
      this.#line(spec.name, labelText(spec.labelNames, sample.labels), sample.value)
    }
  }

  text(): string {
    return `${this.#lines.join('\n')}\n`
  }
}

function keysOf<K extends string>(record: Readonly<Record<K, unknown>>): K[] {
  // Decode boundary: Object.keys widens to string, the keys are exactly those of the record.
  return Object.keys(record) as K[]
}

/** The page that `/metrics` answers with. */
export function renderMetrics(input: MetricsInput): string {
  const page = new Page(input.threads)
  for (const key of keysOf(COUNTERS)) page.counter(COUNTERS[key], M[key])
  for (const key of keysOf(NODE_COUNTERS)) {
    page.nodeCounter(NODE_COUNTERS[key], N[key], input.slots)
  }
  for (const key of keysOf(HISTOGRAMS)) page.histogram(HISTOGRAMS[key], H[key].base)
  for (const key of keysOf(GAUGES)) page.gauge(GAUGES[key], G[key])
  for (const key of keysOf(GIVEN)) {
    const samples = input.samples.filter(sample => sample.metric === key)
    page.given(GIVEN[key], samples)
  }
  return page.text()
}

/** Zeroes the node counters of a slot in all threads, before another node takes the slot. */
export function clearSlotMetrics(threads: readonly ThreadBuffer[], slot: number): void {
  if (slot >= SLOTS_MAX) return
  for (const thread of threads) {
    const cells = new Float64Array(thread.buffer)
    for (const key of keysOf(NODE_COUNTERS)) {
      const width = combinations(NODE_COUNTERS[key])
      cells.fill(0, N[key] + slot * width, N[key] + (slot + 1) * width)
    }
  }
}
