/**
 * Whether the machine stood still while something was measured: a timer of 5 ms says so.
 *
 * Engines keep both cores busy, and a virtual machine may be stopped for a second; a time that was
 * taken meanwhile says nothing of the gateway. Such a try counts for nothing and is made again.
 */

const TICK_MS = 5
/** A timer later than this (ms) is no queue for a core any more. */
const LATE_MS_MAX = 250

/** Runs `measure`; null in place of its result where the machine stood still. */
export async function unlessStill<T>(measure: () => Promise<T>): Promise<T | null> {
  let latest = performance.now()
  let worstMs = 0
  const look = (): void => {
    const now = performance.now()
    worstMs = Math.max(worstMs, now - latest - TICK_MS)
    latest = now
  }
  const timer = setInterval(look, TICK_MS)
  try {
    const result = await measure()
    look()
    return worstMs > LATE_MS_MAX ? null : result
  } finally {
    clearInterval(timer)
  }
}
