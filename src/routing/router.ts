/**
 * Routing of one gateway thread: from a request to a placement with a lease, now or after a wait.
 *
 *     place(request, tried, waiting)
 *       ├─ route(): candidates ─► policy ─► lease ─► predict ──► Placement
 *       ├─ every place full ─► Admission ─► … waiting.placed(placement) | waiting.refused(error)
 *       └─ no place at all ──► OperatingError (unknown model, no healthy node, queue full)
 *     awaitReturn(request, tried, waiting) ─► Outage ─► the same, once a node is back
 *
 * Predict-on-route: the chosen slot is told, in the shared overlay, to hold the prompt's blocks
 * before the engine says so, so that siblings of the same burst follow the first one. A prediction
 * about a node with events lives `PREDICTION_MS`, just long enough for the engine's own store to
 * arrive, and is renewed while the request waits for its first token, however long it queues. One
 * about a node without events (or of a prompt keyed by text) is all that will ever be known: it
 * lives `PREDICTION_BLIND_MS`, bounded by the blocks that the node has.
 *
 * Matches are taken again at the moment of the decision: those that came with the prompt were
 * made on another thread, or before a wait, and do not know the siblings placed meanwhile.
 *
 * Reasons of a placement, for metrics: `prefix` it has the deepest match; `spill` another place
 * holds more but costs more; `cold` nobody holds anything; `unkeyed` there was nothing to compare;
 * `turn` round robin.
 */
import assert from 'node:assert/strict'
import type { OperatingError } from '../errors.ts'
import { SLOTS_MAX } from '../native/limits.ts'
import type { FleetView, NodeView } from '../nodes/fleet_view.ts'
import type { RouteReason } from '../observe/metrics/labels.ts'
import { Admission, type WaitBoard, type Waiter } from './admission.ts'
import { announces, Candidates, type MatchedPrompt, type RouteRequest } from './candidates.ts'
import type { Clock } from './clock.ts'
import type { RoutingConfig } from './config.ts'
import { Lease, type LeaseKeeper, type LeasePrediction, type LoadTable } from './lease.ts'
import { leastLoad } from './least_load.ts'
import { Outage } from './outage.ts'
import type { Candidate, Policy, PolicyName } from './policy.ts'
import { prefix } from './prefix.ts'
import { RetryBudget } from './retry_budget.ts'
import { Roster } from './roster.ts'
import { createRoundRobin } from './round_robin.ts'

/** Milliseconds a prediction lives on a node with events: some scheduler steps and a hop. */
export const PREDICTION_MS = 5_000
/** Milliseconds it lives where no event will ever confirm it. */
export const PREDICTION_BLIND_MS = 180_000
/** Milliseconds between two looks at the predictions of requests without a first token. */
export const RENEWAL_MS = 1_000

/** The part of `native/overlay` that routing uses. */
export interface Overlay {
  predict(slot: number, keys: BigUint64Array, count: number, nowMs: number, ttlMs: number): void
  setCapacity(slot: number, blocks: number): void
}

/** Native lookup of index and overlay at once; see `matchPrefix` in native/overlay. */
export type MatchPrefix = (
  indexId: number,
  keys: BigUint64Array,
  count: number,
  nowMs: number,
  outSlots: Uint32Array,
  outDepths: Uint32Array,
  outIndexDepths: Uint32Array,
) => number

export interface Placement {
  readonly node: NodeView
  readonly rank: number
  readonly slot: number
  readonly reason: RouteReason
  /** Tokens expected to be cached, predictions included. */
  readonly predictedTokens: number
  /** The part that the index alone vouches for: what the engine's `cached_tokens` should say. */
  readonly indexTokens: number
  readonly lease: Lease
}

/** Called at most once, never from inside `place`. */
export interface Waiting {
  placed(placement: Placement): void
  refused(error: OperatingError): void
}

export type PlaceResult =
  | { readonly kind: 'placed'; readonly placement: Placement }
  | { readonly kind: 'waiting'; readonly waiter: Waiter }
  | { readonly kind: 'refused'; readonly error: OperatingError }

export interface RouterOptions {
  readonly config: RoutingConfig
  readonly clock: Clock
  /** [0, 1). */
  readonly random: () => number
  readonly loadTable: LoadTable
  readonly overlay: Overlay
  /** null: the matches that came with the prompt are used as they are. */
  readonly match: MatchPrefix | null
  readonly board: WaitBoard
}

export class Router implements LeaseKeeper {
  readonly admission: Admission
  readonly retries: RetryBudget
  readonly #clock: Clock
  readonly #random: () => number
  readonly #table: LoadTable
  readonly #overlay: Overlay
  readonly #match: MatchPrefix | null
  readonly #policy: Policy
  readonly #candidates: Candidates
  readonly #outage: Outage
  /** Leases whose prediction is renewed until their first token. */
  readonly #predicted: Roster<Lease>
  readonly #rematched = new Rematched()
  #cancelRenewal: (() => void) | null
  /** Leases not yet released; 0 when the thread is idle. */
  #held: number

  constructor(options: RouterOptions) {
    const { config, clock, board } = options
    const { waiting_items_max: itemsMax, wait_ms_max: waitMsMax } = config
    this.admission = new Admission({ clock, board, itemsMax, waitMsMax })
    this.retries = new RetryBudget(config.retry_share)
    this.#clock = clock
    this.#random = options.random
    this.#table = options.loadTable
    this.#overlay = options.overlay
    this.#match = options.match
    this.#policy = POLICIES[config.policy]()
    this.#candidates = new Candidates(options.loadTable)
    this.#outage = new Outage(clock)
    this.#predicted = new Roster()
    this.#cancelRenewal = null
    this.#held = 0
  }

  get held(): number {
    return this.#held
  }

  useView(view: FleetView): void {
    this.#candidates.useView(view)
    for (const node of view.nodes) {
      if (node.blockCount === 0) continue
      for (const { slot } of node.ranks) this.#overlay.setCapacity(slot, node.blockCount)
    }
    this.admission.wakeAll()
    this.#outage.wake()
  }

  /** Decides now: a placement, `full` when every place is taken, or why there is no place. */
  route(request: RouteRequest, tried: readonly string[]): Placement | 'full' | OperatingError {
    const candidates = this.#candidates
    const prompt = this.#rematch(request)
    const policy = prompt === null && this.#policy === prefix ? leastLoad : this.#policy
    for (let count = candidates.build(request, tried, prompt); count > 0; count--) {
      const index = policy.choose(candidates.items, count, this.#random)
      const chosen = candidates.items[index]
      assert(chosen !== undefined && index < count, 'the policy names a candidate')
      const lease = this.#acquire(chosen, request)
      if (lease !== null) return this.#placement(chosen, lease, request, policy)
      candidates.drop(index, count)
    }
    return candidates.saturated > 0 ? 'full' : candidates.refusal(request.model)
  }

  /** As `route`, but waits for a place when all are taken. */
  place(request: RouteRequest, tried: readonly string[], waiting: Waiting): PlaceResult {
    if (!this.admission.hasWaiters(request.model)) {
      const routed = this.route(request, tried)
      if (routed instanceof Error) return { kind: 'refused', error: routed }
      if (routed !== 'full') return placedAt(routed)
    }
    return this.#wait(request, tried, waiting)
  }

  /** For who knows that no node is well: waits until one is, or is refused `RETURN_MS_MAX` later. */
  awaitReturn(request: RouteRequest, tried: readonly string[], waiting: Waiting): Waiter {
    let queued: Waiter | null = null
    const returning = this.#outage.wait({
      attempt: () => {
        const routed = this.route(request, tried)
        if (routed instanceof Error) return false
        const result = routed === 'full' ? this.#wait(request, tried, waiting) : placedAt(routed)
        if (result.kind === 'waiting') queued = result.waiter
        else if (result.kind === 'placed') waiting.placed(result.placement)
        else waiting.refused(result.error)
        return true
      },
      expire: () => waiting.refused(this.#candidates.refusal(request.model)),
    })
    const cancel = (): void => {
      returning.cancel()
      queued?.cancel()
    }
    return { cancel }
  }

  firstToken(lease: Lease): void {
    const { prediction } = lease
    if (prediction === null) return
    // The engine announces the prompt's blocks about now: the prediction lives on until it did.
    this.#renew(lease, prediction, this.#clock.nowMs())
    this.#predicted.leave(lease)
  }

  released(lease: Lease): void {
    this.#held--
    this.#predicted.leave(lease)
    this.admission.slotFreed(lease.slot)
  }

  #wait(request: RouteRequest, tried: readonly string[], waiting: Waiting): PlaceResult {
    let isQueued = false
    let placement: Placement | null = null
    const waiter = this.admission.wait({
      model: request.model,
      isFresh: tried.length === 0,
      attempt: () => {
        const routed = this.route(request, tried)
        // A fleet that is gone for the moment may be back before the deadline: wait on.
        if (routed === 'full' || routed instanceof Error) return false
        if (isQueued) waiting.placed(routed)
        else placement = routed
        return true
      },
      refuse: error => waiting.refused(error),
    })
    isQueued = true
    if (waiter instanceof Error) return { kind: 'refused', error: waiter }
    if (waiter !== null) return { kind: 'waiting', waiter }
    assert(placement !== null, 'an attempt that succeeded left its placement')
    return placedAt(placement)
  }

  #acquire(chosen: Candidate, request: RouteRequest): Lease | null {
    const blocks = Math.ceil((request.promptTokens + 1) / chosen.blockSize)
    const { slot, uncachedTokens, node } = chosen
    const lease = Lease.acquire(this.#table, this, slot, uncachedTokens, blocks, node.inFlightMax)
    if (lease !== null) this.#held++
    return lease
  }

  #placement(chosen: Candidate, lease: Lease, request: RouteRequest, policy: Policy): Placement {
    const { node, rank, slot, matchedTokens: predictedTokens, indexTokens } = chosen
    const reason = this.#reason(chosen, request, policy)
    const { prompt } = request
    // What the index holds already needs no prediction: a prompt that the whole fleet holds would
    // else leave an entry per block and node, which every later match has to walk.
    const newTokens = request.promptTokens - indexTokens
    if (prompt !== null && newTokens > prompt.blockSize) this.#predict(lease, node, prompt)
    return { node, rank, slot, reason, predictedTokens, indexTokens, lease }
  }

  #reason(chosen: Candidate, request: RouteRequest, policy: Policy): RouteReason {
    if (policy.name === 'round-robin') return 'turn'
    if (request.prompt === null || request.prompt.count === 0 || request.skipsCache) {
      return 'unkeyed'
    }
    if (this.#candidates.matchedTokensBest === 0) return 'cold'
    return chosen.matchedTokens === this.#candidates.matchedTokensBest ? 'prefix' : 'spill'
  }

  /** The prompt with the matches of this moment, in an object that the next request reuses. */
  #rematch(request: RouteRequest): MatchedPrompt | null {
    const { prompt } = request
    if (this.#match === null || prompt === null || prompt.count === 0 || request.skipsCache) {
      return prompt
    }
    const indexId = prompt.exact ? this.#candidates.indexOf(request.model, prompt.blockSize) : 0
    const { slots, depths, indexDepths } = this.#rematched
    const { keys, count } = prompt
    const now = this.#clock.nowMs()
    const matched = this.#match(indexId, keys, count, now, slots, depths, indexDepths)
    return this.#rematched.take(prompt, matched)
  }

  #predict(lease: Lease, node: NodeView, prompt: MatchedPrompt): void {
    const ttlMs = announces(node, prompt) ? PREDICTION_MS : PREDICTION_BLIND_MS
    const madeMs = this.#clock.nowMs()
    const { keys, count } = prompt
    this.#overlay.predict(lease.slot, keys, count, madeMs, ttlMs)
    lease.prediction = { keys, count, ttlMs, madeMs }
    this.#predicted.join(lease)
    this.#armRenewal()
  }

  #renew(lease: Lease, prediction: LeasePrediction, nowMs: number): void {
    // Half of its life still ahead: long enough until the next look.
    if (nowMs - prediction.madeMs < prediction.ttlMs / 2) return
    prediction.madeMs = nowMs
    const { keys, count, ttlMs } = prediction
    this.#overlay.predict(lease.slot, keys, count, nowMs, ttlMs)
  }

  #armRenewal(): void {
    if (this.#cancelRenewal !== null) return
    this.#cancelRenewal = this.#clock.after(RENEWAL_MS, () => {
      this.#cancelRenewal = null
      const now = this.#clock.nowMs()
      for (const lease of this.#predicted.members()) {
        if (lease.prediction !== null) this.#renew(lease, lease.prediction, now)
      }
      if (this.#predicted.size > 0) this.#armRenewal()
    })
  }
}

/** A prompt's keys with the matches of one decision; the arrays are those the lookup fills. */
class Rematched implements MatchedPrompt {
  exact = false
  promptTokens = 0
  blockSize = 0
  keys: BigUint64Array = new BigUint64Array(0)
  count = 0
  readonly slots = new Uint32Array(SLOTS_MAX)
  readonly depths = new Uint32Array(SLOTS_MAX)
  readonly indexDepths = new Uint32Array(SLOTS_MAX)
  matched = 0

  take(prompt: MatchedPrompt, matched: number): this {
    this.exact = prompt.exact
    this.promptTokens = prompt.promptTokens
    this.blockSize = prompt.blockSize
    this.keys = prompt.keys
    this.count = prompt.count
    this.matched = matched
    return this
  }
}

function placedAt(placement: Placement): PlaceResult {
  return { kind: 'placed', placement }
}

const POLICIES: Readonly<Record<PolicyName, () => Policy>> = {
  prefix: () => prefix,
  'least-load': () => leastLoad,
  'round-robin': createRoundRobin,
}
