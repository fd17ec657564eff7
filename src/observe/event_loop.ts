/**
 * Watches the event loop of the calling thread: Node's native delay histogram, read once a second
 * into the gauges `loopDelayP99` and `loopDelayMax`. The histogram records the time between two
 * firings of its own timer, so its resolution is taken off. A reading also forgets when the timer
 * fired last: a delay that begins within one sample of it, 2 % of the time, is not seen.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { G } from './metrics/layout.ts'
import type { ThreadMetrics } from './metrics/thread_metrics.ts'

/** Milliseconds between two samples; at 20 an idle thread wakes 50 times a second, in C++ only. */
export const LOOP_SAMPLE_MS = 20

/** Milliseconds between two readings of the histogram. */
export const LOOP_WINDOW_MS = 1000

const NS_PER_S = 1e9

/** Starts watching, calls `onWindow` with every reading; returns the function that stops it. Neither keeps the thread alive. */
export function watchEventLoop(metrics: ThreadMetrics, onWindow: () => void): () => void {
  const delay = monitorEventLoopDelay({ resolution: LOOP_SAMPLE_MS })
  const offset = LOOP_SAMPLE_MS / 1000
  delay.enable()
  const timer = setInterval(() => {
    metrics.set(G.loopDelayP99, Math.max(0, delay.percentile(99) / NS_PER_S - offset))
    metrics.set(G.loopDelayMax, Math.max(0, delay.max / NS_PER_S - offset))
    delay.reset()
    onWindow()
  }, LOOP_WINDOW_MS)
  timer.unref()
  return () => {
    clearInterval(timer)
    delay.disable()
  }
}
