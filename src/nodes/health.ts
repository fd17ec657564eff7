/**
 * Is a node a candidate? A pure state machine over two kinds of evidence: active checks of
 * /health, and the outcomes of real exchanges (passive). The clock is an argument.
 *
 *                     active check answered
 *      starting ──────────────────────────► healthy ◄─ an exchange succeeded, or 5 s ──┐
 *                                           │  ▲  │                                    │
 *        refused, /health 5xx, checks       │  │  │ failuresMax failures in a row      │
 *        in a row without an answer         ▼  │  ▼                                    │
 *        (from every state) ──────────►  down  │ open ── after the pause ──────────► trial
 *                                          │   │  ▲                                    │
 *                                          └───┘  └────────────── a failure ───────────┘
 *                            active check answered
 *
 * Candidates are `healthy` and `trial`; in `trial` the fleet admits a few requests only.
 *
 * Rules, each with its reason:
 * - A refused connection takes the node out at once: nobody listens, and the answer was instant.
 *   One answered check brings it back, so a restarted node waits for one check, not for a penalty.
 * - A check that times out is weaker evidence (the server may be busy), so it takes two in a row,
 *   or one together with a failed exchange.
 * - A 4xx and an engine's full-queue 503 are reported as `ok` and so never count: the client's
 *   mistake, or a busy engine, says nothing against the node.
 * - An answered check does not clear the failure count: an engine may fail every request while its
 *   HTTP server answers /health. Only an exchange that succeeds does.
 * - The breaker's pause does not grow. It is below 2 s so that a node that has recovered is back
 *   in time; the price is some failed (and retried) requests every 1.5 s of a long failure.
 *
 * What it does badly: a node that fails every second request never trips, for it counts failures
 * in a row.
 */
import type { HealthTimings } from './config.ts'
import type { OutcomeKind } from './fleet_view.ts'

/** What an active check saw; `broken` is a 5xx of /health, by which vLLM says its engine died. */
export type CheckResult = 'alive' | 'refused' | 'broken' | 'silent'

/**
 * A trial without a failure for this long ends well (ms): the requests on trial may be long, or
 * there may be none.
 */
export const TRIAL_MS = 5000

export type HealthState =
  | { readonly kind: 'starting' }
  | { readonly kind: 'healthy' }
  | { readonly kind: 'down' }
  | { readonly kind: 'open'; readonly untilMs: number }
  | { readonly kind: 'trial'; readonly untilMs: number }

const STARTING: HealthState = { kind: 'starting' }
const HEALTHY: HealthState = { kind: 'healthy' }
const DOWN: HealthState = { kind: 'down' }

export class NodeHealth {
  readonly #timings: Pick<HealthTimings, 'timeouts_max' | 'failures_max' | 'breaker_pause_ms'>
  #state: HealthState = STARTING
  /** Failed exchanges in a row. */
  #failures = 0
  /** Active checks in a row without an answer. */
  #silences = 0
  /** A connection was refused since the node was last a candidate. */
  #wasRefused = false

  constructor(timings: Pick<HealthTimings, 'timeouts_max' | 'failures_max' | 'breaker_pause_ms'>) {
    this.#timings = timings
  }

  get state(): HealthState {
    return this.#state
  }

  get isCandidate(): boolean {
    return this.#state.kind === 'healthy' || this.#state.kind === 'trial'
  }

  /** Nobody listened at some moment of this outage: the process was most likely replaced. */
  get wasRefused(): boolean {
    return this.#wasRefused
  }

  /** Takes the result of an active check. */
  checked(result: CheckResult): void {
    switch (result) {
      case 'alive':
        this.#silences = 0
        if (this.#state.kind !== 'starting' && this.#state.kind !== 'down') return
        this.#state = HEALTHY
        this.#failures = 0
        this.#wasRefused = false
        return
      case 'refused':
        this.#goDown(true)
        return
      case 'broken':
        this.#goDown(false)
        return
      case 'silent':
        this.#silences++
        if (this.#silences >= this.#timings.timeouts_max || this.#failures > 0) this.#goDown(false)
        return
    }
  }

  /** Takes the outcome of an exchange; true when an active check should follow at once. */
  exchanged(kind: OutcomeKind, nowMs: number): boolean {
    switch (kind) {
      case 'ok':
        this.#failures = 0
        if (this.#state.kind === 'trial') this.#state = HEALTHY
        break
      case 'refused':
        this.#goDown(true)
        break
      case 'reset':
      case 'timeout':
        this.#fail(nowMs)
        if (this.#silences > 0) this.#goDown(false)
        break
      case 'status5xx':
        this.#fail(nowMs)
        break
    }
    return kind !== 'ok' && kind !== 'status5xx'
  }

  /** When `elapsed` has something to do next; null = nothing. */
  get dueMs(): number | null {
    return 'untilMs' in this.#state ? this.#state.untilMs : null
  }

  /** Lets time pass: an open breaker admits a trial, a trial without a failure ends. */
  elapsed(nowMs: number): void {
    const { kind } = this.#state
    if (this.dueMs === null || nowMs < this.dueMs) return
    if (kind === 'open') this.#state = { kind: 'trial', untilMs: nowMs + TRIAL_MS }
    // The failures of before still count: one more opens the breaker again.
    if (kind === 'trial') this.#state = HEALTHY
  }

  /**
   * Another process has taken over in place: what exchanges met before does not count. Checks
   * without an answer do, for nothing says that the new process answers.
   */
  replaced(): void {
    this.#failures = 0
    if (this.#state.kind === 'open' || this.#state.kind === 'trial') this.#state = HEALTHY
  }

  #fail(nowMs: number): void {
    if (!this.isCandidate) return
    this.#failures++
    if (this.#state.kind === 'trial' || this.#failures >= this.#timings.failures_max) {
      this.#state = { kind: 'open', untilMs: nowMs + this.#timings.breaker_pause_ms }
    }
  }

  #goDown(isRefused: boolean): void {
    this.#wasRefused ||= isRefused
    // A node that was never up stays `starting`: it has nothing to lose yet.
    if (this.#state.kind !== 'starting') this.#state = DOWN
  }
}
