/**
 * Whether an attempt that failed before its first byte may be tried on another node.
 *
 *     cause of the failure        costs
 *     refused, reset              one free retry of each per exchange, further ones from the budget
 *     queue full (engine's 503)   free: nothing was computed, and the node is not tried again
 *     status, timeout             the budget
 *
 * The budget keeps retries from multiplying load in an outage: every exchange pays in a tenth, a
 * retry takes one out, so in the long run at most 10 % of the traffic is retries. It holds
 * `BUDGET_RETRIES_MAX` at most, which is also what it starts with, so that a quiet gateway can
 * retry at all. One budget a gateway thread; no clock.
 */
import assert from 'node:assert/strict'

export type RetryCause = 'refused' | 'reset' | 'queue_full' | 'status' | 'timeout'

/** Retries a thread can have saved up: a burst above it would double the load of a sick fleet. */
export const BUDGET_RETRIES_MAX = 10
/** Retries per exchange in the long run, as a fraction. */
export const BUDGET_SHARE_DEFAULT = 0.1
/** Attempts of one exchange, the first included: bounds the tail when a whole fleet refuses. */
export const ATTEMPTS_MAX = 8

export class RetryBudget {
  readonly #share: number
  #saved: number
  /** Retries that the budget paid for, and those it refused; for metrics. */
  spent: number
  refused: number

  constructor(share: number = BUDGET_SHARE_DEFAULT) {
    assert(share >= 0 && share <= 1, 'the retry share is a fraction')
    this.#share = share
    this.#saved = share === 0 ? 0 : BUDGET_RETRIES_MAX
    this.spent = 0
    this.refused = 0
  }

  /** One exchange begins. */
  begin(): Attempts {
    this.#saved = Math.min(BUDGET_RETRIES_MAX, this.#saved + this.#share)
    return new Attempts(this)
  }

  /** Takes one retry out; false when there is none. */
  take(): boolean {
    // Ten deposits of 0.1 sum to 0.9999…: the slack lets them pay for one retry.
    const hasOne = this.#saved >= 1 - 1e-9
    if (hasOne) {
      this.#saved = Math.max(0, this.#saved - 1)
      this.spent++
    } else {
      this.refused++
    }
    return hasOne
  }
}

/** The attempts of one exchange. */
export class Attempts {
  readonly #budget: RetryBudget
  #count: number
  #freeRefused: boolean
  #freeReset: boolean

  constructor(budget: RetryBudget) {
    this.#budget = budget
    this.#count = 1
    this.#freeRefused = true
    this.#freeReset = true
  }

  get count(): number {
    return this.#count
  }

  /** Asks for one more attempt after a failure of this cause, and counts it when granted. */
  mayRetry(cause: RetryCause): boolean {
    if (this.#count >= ATTEMPTS_MAX) return false
    if (!this.#isFree(cause) && !this.#budget.take()) return false
    this.#count++
    return true
  }

  #isFree(cause: RetryCause): boolean {
    let isFree = cause === 'queue_full'
    if (cause === 'refused') {
      isFree = this.#freeRefused
      this.#freeRefused = false
    } else if (cause === 'reset') {
      isFree = this.#freeReset
      this.#freeReset = false
    }
    return isFree
  }
}
