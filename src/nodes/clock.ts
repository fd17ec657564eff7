/**
 * Time as an argument: the fleet never asks the system, so that one seeded simulation can drive
 * it. `nowMs` is monotonic and has no relation to the calendar.
 */

export interface Clock {
  nowMs(): number
  /** Runs `run` once after the delay; the returned function cancels it and may be called twice. */
  after(delayMs: number, run: () => void): () => void
}

/** The real clock. Its timers keep no process alive. */
export const systemClock: Clock = {
  nowMs: () => performance.now(),
  after(delayMs, run) {
    const timer = setTimeout(run, delayMs)
    timer.unref()
    return () => clearTimeout(timer)
  },
}
