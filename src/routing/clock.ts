/**
 * Time as the routing room sees it, passed in so that a seeded simulation can own it.
 *
 * `nowMs` must read the same on every thread of the process (predictions are shared between
 * threads and expire by it), so it is the wall clock and not `performance.now()`, whose zero
 * differs from worker to worker. A jump of the wall clock makes predictions live shorter or
 * longer once; deadlines are timers and do not notice.
 */
export interface Clock {
  nowMs(): number
  /** Runs once after `ms`; the returned function cancels it. */
  after(ms: number, run: () => void): () => void
  /** Runs once, after the code that is running now, before any timer. */
  soon(run: () => void): void
}

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  after(ms, run) {
    const timer = setTimeout(run, ms)
    // A thread that drains does not wait for a prediction to be renewed.
    timer.unref()
    return () => clearTimeout(timer)
  },
  soon: run => queueMicrotask(run),
}
