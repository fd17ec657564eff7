/**
 * One timer for all exchanges of a thread.
 *
 * A timer per exchange would be set and cleared on every event; here an exchange only writes its
 * own deadline, and a sweep over the running ones finds those that have passed. The price is
 * resolution: a deadline fires up to `SWEEP_INTERVAL_MS` late, which is little against timeouts
 * of seconds. The timer runs only while there is something to watch.
 */

import type { Member } from '../routing/roster.ts'
import { Roster } from '../routing/roster.ts'

/** Milliseconds between sweeps. */
const SWEEP_INTERVAL_MS = 250

export interface Timed extends Member {
  /** Milliseconds of the thread's clock after which `expire` is due; Infinity for none. */
  deadlineMs: number
  expire(): void
  shutDown(): void
}

export class Deadlines {
  readonly #now: () => number
  readonly #watched = new Roster<Timed>()
  #timer: NodeJS.Timeout | null = null

  constructor(now: () => number) {
    this.#now = now
  }

  watch(item: Timed): void {
    this.#watched.join(item)
    this.#timer ??= setInterval(() => this.sweep(), SWEEP_INTERVAL_MS)
  }

  release(item: Timed): void {
    this.#watched.leave(item)
  }

  /** Expires what is due; stops the timer once nothing has been left to watch. */
  sweep(): void {
    if (this.#watched.size === 0) return this.close()
    const now = this.#now()
    for (const item of this.#watched.members()) {
      if (item.rosterIndex >= 0 && item.deadlineMs <= now) item.expire()
    }
  }

  get size(): number {
    return this.#watched.size
  }

  /** Ends everything that still runs. */
  shutDown(): void {
    for (const item of this.#watched.members()) item.shutDown()
  }

  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
  }
}
