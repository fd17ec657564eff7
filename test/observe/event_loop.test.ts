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
  const maxima: number[] = []
  stop = watchEventLoop(metrics, () => maxima.push(metrics.read(G.loopDelayMax)))
  const seen = async (isAsked: (max: number) => boolean): Promise<void> => {
    const from = maxima.length
    await vi.waitFor(() => expect(maxima.slice(from).some(isAsked)).toBe(true), 20_000)
  }
  await seen(() => true)
  block(BLOCKED_MS)
  await seen(max => max > BLOCKED_MS / 2000)
  await seen(max => max < BLOCKED_MS / 2000)
})
