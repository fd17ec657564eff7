import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { SLOTS_MAX } from '../../src/native/limits.ts'
import { CATALOG, COUNTERS, HISTOGRAMS, NODE_COUNTERS } from '../../src/observe/metrics/catalog.ts'
import { clearSlotMetrics, renderMetrics } from '../../src/observe/metrics/exposition.ts'
import { ENDPOINT, OUTCOME, OUTCOMES, RETRY } from '../../src/observe/metrics/labels.ts'
import { CELL_COUNT, combinations, G, H, M, N } from '../../src/observe/metrics/layout.ts'
import { createThreadBuffer, ThreadMetrics } from '../../src/observe/metrics/thread_metrics.ts'

function oneThread(name = 'gateway-0') {
  const thread = createThreadBuffer(name)
  return { thread, metrics: new ThreadMetrics(thread.buffer) }
}

/** Value of one series on the page; null when it is not there. */
function seriesOn(page: string, series: string): number | null {
  const line = page.split('\n').find(text => text.startsWith(`${series} `))
  return line === undefined ? null : Number(line.slice(series.length + 1))
}

describe('layout', () => {
  test('no two metrics share a cell and the buffer has room for all', () => {
    const spans: [number, number][] = []
    for (const [key, base] of Object.entries(M)) {
      spans.push([base, combinations(COUNTERS[key as keyof typeof COUNTERS])])
    }
    for (const [key, base] of Object.entries(N)) {
      const width = combinations(NODE_COUNTERS[key as keyof typeof NODE_COUNTERS])
      spans.push([base, width * SLOTS_MAX])
    }
    for (const { base, bounds } of Object.values(H)) spans.push([base, bounds.length + 2])
    for (const base of Object.values(G)) spans.push([base, 1])
    spans.sort((a, b) => a[0] - b[0])
    let next = 0
    for (const [base, size] of spans) {
      expect(base).toBe(next)
      next += size
    }
    expect(next).toBe(CELL_COUNT)
  })

  test('every name is used once, has the prefix and the suffix of its kind', () => {
    const names = CATALOG.map(spec => spec.name)
    expect(new Set(names).size).toBe(names.length)
    for (const spec of CATALOG) {
      expect(spec.name).toMatch(/^warmpath_[a-z0-9_]+$/)
      const isCounter =
        spec.kind === 'counter' ||
        spec.kind === 'node_counter' ||
        (spec.kind === 'given' && spec.type === 'counter')
      expect(spec.name.endsWith('_total'), spec.name).toBe(isCounter)
      expect(spec.help, spec.name).toMatch(/\.$/)
    }
  })

  test('bounds of histograms rise', () => {
    for (const spec of Object.values(HISTOGRAMS)) {
      expect([...spec.bounds].toSorted((a, b) => a - b)).toEqual([...spec.bounds])
    }
  })
})

describe('exposition', () => {
  test('counters of several threads are added up', () => {
    const a = oneThread('gateway-0')
    const b = oneThread('gateway-1')
    a.metrics.addFor(M.retries, RETRY.refused, 2)
    b.metrics.addFor(M.retries, RETRY.refused, 3)
    b.metrics.countRequest(ENDPOINT.chat, 429)
    b.metrics.countRequest(ENDPOINT.chat, 0)
    const page = renderMetrics({ threads: [a.thread, b.thread], slots: [], samples: [] })
    expect(seriesOn(page, 'warmpath_retries_total{reason="refused"}')).toBe(5)
    expect(seriesOn(page, 'warmpath_retries_total{reason="reset"}')).toBe(null)
    expect(seriesOn(page, 'warmpath_requests_total{endpoint="chat",status="4xx"}')).toBe(1)
    expect(seriesOn(page, 'warmpath_requests_total{endpoint="chat",status="none"}')).toBe(1)
    expect(seriesOn(page, 'warmpath_slow_readers_cut_total')).toBe(0)
  })

  test('node counters carry the name of the node that has the slot now', () => {
    const { thread, metrics } = oneThread()
    metrics.addNode(N.kvBlocks, 7, 40)
    metrics.addNodeFor(N.nodeOutcomes, 7, OUTCOMES.length, OUTCOME.reset, 2)
    metrics.addNode(N.kvBlocks, SLOTS_MAX, 1)
    const slots = [{ slot: 7, node: 'a:8000', rank: 1 }]
    const page = renderMetrics({ threads: [thread], slots, samples: [] })
    expect(seriesOn(page, 'warmpath_kv_blocks_total{node="a:8000",rank="1"}')).toBe(40)
    const reset = 'warmpath_node_outcomes_total{node="a:8000",rank="1",outcome="reset"}'
    expect(seriesOn(page, reset)).toBe(2)
    clearSlotMetrics([thread], 7)
    const cleared = renderMetrics({ threads: [thread], slots, samples: [] })
    expect(seriesOn(cleared, 'warmpath_kv_blocks_total{node="a:8000",rank="1"}')).toBe(0)
    expect(seriesOn(cleared, reset)).toBe(null)
  })

  test('given values are rendered with their labels, escaped', () => {
    const samples = [
      { metric: 'indexBytes', labels: ['a"b\\c\nd', '16'], value: 12 },
      { metric: 'residentBytes', labels: [], value: 5 },
    ] as const
    const page = renderMetrics({ threads: [], slots: [], samples })
    expect(page).toContain('warmpath_index_bytes{model="a\\"b\\\\c\\nd",block_size="16"} 12\n')
    expect(page).toContain('# TYPE warmpath_resident_memory_bytes gauge\n')
    expect(page).toContain('warmpath_resident_memory_bytes 5\n')
  })

  test('gauges are a sum or one series a thread', () => {
    const a = oneThread('gateway-0')
    const b = oneThread('gateway-1')
    a.metrics.set(G.waiting, 3)
    b.metrics.set(G.waiting, 4)
    b.metrics.set(G.loopDelayMax, 0.25)
    const page = renderMetrics({ threads: [a.thread, b.thread], slots: [], samples: [] })
    expect(seriesOn(page, 'warmpath_waiting_requests')).toBe(7)
    const delay = 'warmpath_event_loop_delay_max_seconds'
    expect(seriesOn(page, `${delay}{thread="gateway-0"}`)).toBe(0)
    expect(seriesOn(page, `${delay}{thread="gateway-1"}`)).toBe(0.25)
  })

  test('a histogram counts every value in all buckets at or above it', () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: 0, max: 2000, noNaN: true })), values => {
        const { thread, metrics } = oneThread()
        for (const value of values) metrics.observe(H.requestSeconds, value)
        const page = renderMetrics({ threads: [thread], slots: [], samples: [] })
        const name = 'warmpath_request_duration_seconds'
        for (const bound of HISTOGRAMS.requestSeconds.bounds) {
          const below = values.filter(value => value <= bound).length
          expect(seriesOn(page, `${name}_bucket{le="${bound}"}`)).toBe(below)
        }
        expect(seriesOn(page, `${name}_bucket{le="+Inf"}`)).toBe(values.length)
        expect(seriesOn(page, `${name}_count`)).toBe(values.length)
        const sum = values.reduce((total, value) => total + value, 0)
        expect(seriesOn(page, `${name}_sum`)).toBeCloseTo(sum, 6)
      }),
      { numRuns: 50 },
    )
  })

  test('every line is a comment or a sample of the text format', () => {
    const { thread, metrics } = oneThread()
    metrics.countRequest(ENDPOINT.models, 200)
    const page = renderMetrics({ threads: [thread], slots: [], samples: [] })
    const sample = /^warmpath_[a-z0-9_]+(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? [-+.\de]+$/
    for (const line of page.trimEnd().split('\n')) {
      expect(line).toMatch(line.startsWith('#') ? /^# (HELP|TYPE) warmpath_\S+ .+$/ : sample)
    }
  })
})

test('a buffer of another layout is refused', () => {
  expect(() => new ThreadMetrics(new SharedArrayBuffer(8))).toThrow(TypeError)
})

test('counting is cheap', () => {
  const { metrics } = oneThread()
  const rounds = 1_000_000
  const nanoseconds = (run: (n: number) => void): number => {
    for (let n = 0; n < rounds; n += 1) run(n)
    const from = process.hrtime.bigint()
    for (let n = 0; n < rounds; n += 1) run(n)
    return Number(process.hrtime.bigint() - from) / rounds
  }
  const adding = nanoseconds(n => metrics.addFor(M.retries, n & 3, 1))
  const observing = nanoseconds(n => metrics.observe(H.requestSeconds, (n & 1023) / 10))
  console.info(`addFor ${adding.toFixed(1)} ns, observe ${observing.toFixed(1)} ns`)
  // Hundred times the usual: only a change of kind (a map, a string) can be that slow.
  expect(adding).toBeLessThan(500)
  expect(observing).toBeLessThan(2000)
})
