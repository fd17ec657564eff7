/** A clock that only moves when told, and a small seeded random source. */
import type { Clock } from '../../src/nodes/clock.ts'

interface Timer {
  readonly dueMs: number
  readonly order: number
  readonly run: () => void
}

export class FakeClock implements Clock {
  #nowMs = 0
  #order = 0
  readonly #timers = new Set<Timer>()

  nowMs(): number {
    return this.#nowMs
  }

  get timerCount(): number {
    return this.#timers.size
  }

  after(delayMs: number, run: () => void): () => void {
    const timer = { dueMs: this.#nowMs + Math.max(0, delayMs), order: this.#order++, run }
    this.#timers.add(timer)
    return () => void this.#timers.delete(timer)
  }

  /** Runs timers in order up to a moment; promises settle between any two. */
  async advanceTo(untilMs: number, afterEach: () => void = () => {}): Promise<void> {
    for (;;) {
      const next = this.#next()
      if (next === null || next.dueMs > untilMs) break
      this.#timers.delete(next)
      this.#nowMs = next.dueMs
      next.run()
      await new Promise(resolve => setImmediate(resolve))
      afterEach()
    }
    this.#nowMs = untilMs
  }

  #next(): Timer | null {
    let next: Timer | null = null
    for (const timer of this.#timers) {
      const isSooner = next === null || timer.dueMs < next.dueMs
      if (isSooner || (timer.dueMs === next?.dueMs && timer.order < next.order)) next = timer
    }
    return next
  }
}

/** mulberry32: a number in [0, 1) per call. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}
