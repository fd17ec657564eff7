/**
 * Exchanges that wait for a node to come back: theirs failed them, and all others are out.
 *
 *     wait() ──► waiting ──wake()──► attempt() true ──► gone
 *                   │  RETURN_MS_MAX later ──► expire()
 *                   └─ cancel() (the client left)
 *
 * They are apart from those of Admission, who wait for a place at nodes that are well: newcomers
 * queue behind those, and must not behind these.
 */
import type { Waiter } from './admission.ts'
import type { Clock } from './clock.ts'

/**
 * Milliseconds that an exchange waits for a node to come back: a node that was only slow answers
 * one of the next checks, and one that has to load its model needs far longer.
 */
export const RETURN_MS_MAX = 5_000

export interface ReturnRequest {
  /** Places the exchange if it can; true when it waits here no longer. */
  attempt(): boolean
  expire(): void
}

export class Outage {
  readonly #clock: Clock
  readonly #waiting: Map<ReturnRequest, () => void>

  constructor(clock: Clock) {
    this.#clock = clock
    this.#waiting = new Map()
  }

  wait(request: ReturnRequest): Waiter {
    const cancelTimer = this.#clock.after(RETURN_MS_MAX, () => {
      this.#waiting.delete(request)
      request.expire()
    })
    this.#waiting.set(request, cancelTimer)
    return { cancel: () => this.#remove(request) }
  }

  /** The fleet changed: nodes may have come back. */
  wake(): void {
    if (this.#waiting.size > 0) this.#clock.soon(() => this.#tryAll())
  }

  #tryAll(): void {
    for (const request of this.#waiting.keys()) {
      if (request.attempt()) this.#remove(request)
    }
  }

  #remove(request: ReturnRequest): void {
    this.#waiting.get(request)?.()
    this.#waiting.delete(request)
  }
}
