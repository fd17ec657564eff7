import { afterEach, expect, test, vi } from 'vitest'
import { LOOP_SAMPLE_MS, LOOP_WINDOW_MS, watchEventLoop } from '../../src/observe/event_loop.ts'
import { G } from '../../src/observe/metrics/layout.ts'
import { createThreadBuffer, ThreadMetrics } from '../../src/observe/metrics/thread_metrics.ts'

/** Far above what a busy machine does to a loop without work between two samples. */
const BLOCKED_MS = 400

let stop: () => void = () => {}
afterEach(() => stop())

function block(milliseconds: number): void {
  const until = performance.now() + milliseconds
  while (performance.now() < until);
}

test('a blocked loop is seen, and forgotten in a later window', async () => {
  const metrics = new ThreadMetrics(createThreadBuffer('main').buffer)
  const maxima: number[] = []
  let readAtMs = 0
  stop = watchEventLoop(metrics, () => {
    maxima.push(metrics.read(G.loopDelayMax))
    readAtMs = performance.now()
  })
  const seen = async (isAsked: (max: number) => boolean): Promise<void> => {
    const from = maxima.length
    await vi.waitFor(() => expect(maxima.slice(from).some(isAsked)).toBe(true), 20_000)
  }
  // Past the blind spot behind a reading.
  await vi.waitFor(() => {
    const sinceMs = performance.now() - readAtMs
    expect(readAtMs > 0 && sinceMs > 3 * LOOP_SAMPLE_MS && sinceMs < LOOP_WINDOW_MS / 2).toBe(true)
  }, 20_000)
  block(BLOCKED_MS)
  await seen(max => max > BLOCKED_MS / 2000)
  await seen(max => max < BLOCKED_MS / 2000)
})
