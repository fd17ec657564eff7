import { afterEach, expect, test, vi } from 'vitest'
import { watchEventLoop } from '../../src/observe/event_loop.ts'
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
  let windows = 0
  stop = watchEventLoop(metrics, () => (windows += 1))
  await vi.waitFor(() => expect(windows).toBe(1), { timeout: 10_000 })
  block(BLOCKED_MS)
  await vi.waitFor(() => expect(windows).toBeGreaterThan(1), { timeout: 10_000, interval: 5 })
  expect(metrics.read(G.loopDelayMax)).toBeGreaterThan(BLOCKED_MS / 2 / 1000)
  await vi.waitFor(() => expect(metrics.read(G.loopDelayMax)).toBeLessThan(BLOCKED_MS / 2000), {
    timeout: 20_000,
  })
})
