/**
 * The scheduler of one rank: continuous batching in simulated time.
 *
 *   waiting (first come first served) ──match, allocate──► running ──last token──► finished
 *       ▲                                                    │ pool empty: the youngest gives
 *       └──────────────── preempted, computed anew ◄─────────┘ its blocks back
 *
 * One step computes one token for each decoding sequence and up to `TOKENS_PER_STEP_MAX` prompt
 * tokens, running sequences first. It lasts
 *
 *   (prompt tokens / 8000 tokens/s + (6 ms + 0.35 ms × decoding, if any)) × time factor
 *
 * so that cached tokens are free and a loaded node decodes slower. A sequence gives its first token
 * at the end of the step that computes its last prompt token. All events of a step leave as one
 * batch at its end. With the time factor 0 a step takes one turn of the event loop.
 *
 * Steps are timed from the end of the step before, not from when the timer fired, so that a timer's
 * lateness does not add up. There is no timer while nothing runs. `now` and the timers are
 * arguments, so that a test can drive a whole engine on a fake clock.
 */
import assert from 'node:assert/strict'
import type { CacheScope, KvCache, KvEvent } from './kv_cache.ts'
import { KvSequence } from './kv_cache.ts'

/** Tokens of one step at most, vLLM's `max_num_batched_tokens`. */
export const TOKENS_PER_STEP_MAX = 2048
const PREFILL_TOKENS_PER_MS = 8
const DECODE_STEP_MS = 6
const DECODE_SEQUENCE_MS = 0.35
/** A process that was held up makes up for this much at most, instead of for a whole pause. */
const LATENESS_MS_MAX = 20
/** A step that is due this soon starts at the next turn: timers are no finer than a millisecond. */
const TURN_MS = 0.5

export type FinishReason = 'stop' | 'length' | 'abort'

export interface EngineClock {
  now(): number
  /** Runs once after `ms`; returns what cancels it. */
  after(ms: number, run: () => void): () => void
}

/** Who asked for a sequence; called inside the step, must not throw. */
export interface SequenceOwner {
  /** One token was generated; `reason` is set with the last one. */
  onToken(sequence: EngineSequence, token: number, reason: FinishReason | null): void
}

export interface SequenceRequest {
  readonly prompt: Uint32Array
  readonly scope: CacheScope
  readonly tokensMax: number
  /** Reason with the last token: `length` for a limit asked for, `stop` for a natural end. */
  readonly lastReason: FinishReason
  /** The n-th generated token. */
  readonly tokenAt: (n: number) => number
  /** Prompt log probabilities need every token computed. */
  readonly skipsCacheRead: boolean
  readonly owner: SequenceOwner
}

type State = 'waiting' | 'running' | 'finished'

export class EngineSequence {
  readonly request: SequenceRequest
  readonly kv: KvSequence
  state: State
  /** Tokens whose keys and values are in the cache (found or computed). */
  computed: number
  generated: number
  /** Prompt tokens found in the cache at first scheduling. */
  cachedTokens: number
  /** Tokens scheduled in the step that runs now. */
  scheduled: number
  readonly arrivedAt: number
  startedAt: number
  firstTokenAt: number
  lastTokenAt: number

  constructor(request: SequenceRequest, now: number) {
    this.request = request
    this.kv = new KvSequence(request.prompt, request.scope)
    this.state = 'waiting'
    this.computed = 0
    this.generated = 0
    this.cachedTokens = 0
    this.scheduled = 0
    this.arrivedAt = now
    this.startedAt = -1
    this.firstTokenAt = -1
    this.lastTokenAt = -1
  }
}

/** What the metrics of a node see of an engine. */
export interface EngineObserver {
  onScheduled(sequence: EngineSequence, isFirstTime: boolean): void
  onFinished(sequence: EngineSequence, reason: FinishReason): void
  onPreempted(): void
  onStep(tokens: number): void
  onTokens(sequence: EngineSequence): void
}

export interface EngineOptions {
  readonly cache: KvCache
  readonly sequencesMax: number
  readonly timeFactor: number
  readonly tokensPerStepMax: number
  readonly clock: EngineClock
  readonly observer: EngineObserver
  /** The events of one step. */
  readonly publish: (events: KvEvent[]) => void
}

export class Engine {
  readonly cache: KvCache
  private readonly options: EngineOptions
  private readonly waiting: EngineSequence[]
  private running: EngineSequence[]
  private cancelTimer: (() => void) | null
  private dueAt: number
  private isHeld: boolean
  private isClosed: boolean

  constructor(options: EngineOptions) {
    this.cache = options.cache
    this.options = options
    this.waiting = []
    this.running = []
    this.cancelTimer = null
    this.dueAt = 0
    this.isHeld = false
    this.isClosed = false
  }

  get runningCount(): number {
    return this.running.length
  }

  get waitingCount(): number {
    return this.waiting.length
  }

  /** Prompt tokens of sequences that have not given their first token. */
  get queuedTokens(): number {
    let sum = 0
    for (const sequence of this.waiting) sum += sequence.kv.promptTokens
    for (const { generated, kv } of this.running) if (generated === 0) sum += kv.promptTokens
    return sum
  }

  add(request: SequenceRequest): EngineSequence {
    assert(!this.isClosed)
    assert(request.prompt.length > 0 && request.tokensMax > 0)
    const sequence = new EngineSequence(request, this.options.clock.now())
    this.waiting.push(sequence)
    this.wake()
    return sequence
  }

  /** Ends a sequence at once, in whatever state; its blocks are free when this returns. */
  abort(sequence: EngineSequence): boolean {
    if (sequence.state === 'finished') return false
    const list = sequence.state === 'waiting' ? this.waiting : this.running
    const at = list.indexOf(sequence)
    assert(at >= 0)
    list.splice(at, 1)
    this.finish(sequence, 'abort')
    return true
  }

  /** Sleep and freeze: no step starts, and the one that runs does not end, until `resume`. */
  hold(): void {
    this.isHeld = true
    this.stopTimer()
  }

  resume(): void {
    if (!this.isHeld) return
    this.isHeld = false
    for (const sequence of this.running) sequence.scheduled = 0
    this.wake()
  }

  /** Takes the blocks of all running sequences back; they start again from the queue. */
  preemptAll(): void {
    while (this.running.length > 0) this.preemptYoungest()
  }

  close(): void {
    this.isClosed = true
    this.stopTimer()
    for (const sequence of [...this.running, ...this.waiting]) this.abort(sequence)
  }

  private stopTimer(): void {
    this.cancelTimer?.()
    this.cancelTimer = null
  }

  private wake(): void {
    if (this.cancelTimer !== null || this.isHeld || this.isClosed) return
    if (this.waiting.length === 0 && this.running.length === 0) return
    // Requests that arrive in one turn of the event loop meet in one step.
    this.dueAt = this.options.clock.now()
    this.cancelTimer = this.options.clock.after(0, () => this.beginStep())
  }

  private beginStep(): void {
    this.cancelTimer = null
    const durationMs = this.schedule()
    if (durationMs < 0) return
    const { clock, timeFactor } = this.options
    if (timeFactor === 0) {
      this.endStep()
      return
    }
    this.dueAt = Math.max(this.dueAt, clock.now() - LATENESS_MS_MAX) + durationMs * timeFactor
    const waitMs = this.dueAt - clock.now()
    this.cancelTimer = clock.after(waitMs < TURN_MS ? 0 : waitMs, () => this.endStep())
  }

  /** Chooses what the next step computes; returns its duration in ms, or -1 with nothing to do. */
  private schedule(): number {
    let budget = this.options.tokensPerStepMax
    let decoding = 0
    let prefill = 0
    let hasPreempted = false
    for (let at = 0; at < this.running.length && budget > 0; at++) {
      const sequence = this.running[at]
      assert(sequence !== undefined)
      const tokens = Math.min(sequence.kv.tokenCount - sequence.computed, budget)
      while (!this.cache.allocate(sequence.kv, sequence.computed + tokens)) {
        hasPreempted = true
        if (this.preemptYoungest() === sequence) break
      }
      if (sequence.state !== 'running') break
      sequence.scheduled = tokens
      budget -= tokens
      if (sequence.generated > 0 && tokens === 1) decoding++
      else prefill += tokens
    }
    const sequencesMax = hasPreempted ? 0 : this.options.sequencesMax
    while (budget > 0 && this.running.length < sequencesMax) {
      const tokens = this.admit(budget)
      if (tokens === 0) break
      budget -= tokens
      prefill += tokens
    }
    const total = this.options.tokensPerStepMax - budget
    if (total === 0) return -1
    this.options.observer.onStep(total)
    const decodeMs = decoding === 0 ? 0 : DECODE_STEP_MS + DECODE_SEQUENCE_MS * decoding
    return prefill / PREFILL_TOKENS_PER_MS + decodeMs
  }

  /** Starts the first waiting sequence; returns its tokens in this step, 0 when it cannot start. */
  private admit(budget: number): number {
    const sequence = this.waiting[0]
    if (sequence === undefined) return 0
    const { kv, request } = sequence
    const found = request.skipsCacheRead ? [] : this.cache.match(kv)
    const cached = found.length * this.cache.blockSize
    const tokens = Math.min(kv.tokenCount - cached, budget)
    if (!this.cache.allocate(kv, cached + tokens, found)) return 0
    this.waiting.shift()
    this.running.push(sequence)
    sequence.state = 'running'
    sequence.computed = cached
    sequence.scheduled = tokens
    const isFirstTime = sequence.startedAt < 0
    if (isFirstTime) {
      sequence.cachedTokens = cached
      sequence.startedAt = this.options.clock.now()
    }
    this.options.observer.onScheduled(sequence, isFirstTime)
    return tokens
  }

  private preemptYoungest(): EngineSequence {
    const sequence = this.running.pop()
    assert(sequence !== undefined, 'a request longer than the cache is refused before')
    this.cache.release(sequence.kv)
    sequence.state = 'waiting'
    sequence.computed = 0
    sequence.scheduled = 0
    this.waiting.unshift(sequence)
    this.options.observer.onPreempted()
    return sequence
  }

  private endStep(): void {
    this.cancelTimer = null
    const events = this.cache.takeEvents()
    if (events.length > 0) this.options.publish(events)
    const now = this.options.clock.now()
    // Owners may abort sequences while they are told of tokens, so the list must not change.
    const told = this.running.slice()
    for (const sequence of told) {
      if (sequence.state !== 'running' || sequence.scheduled === 0) continue
      sequence.computed += sequence.scheduled
      sequence.scheduled = 0
      if (sequence.computed === sequence.kv.tokenCount) this.generate(sequence, now)
    }
    this.running = this.running.filter(({ state }) => state === 'running')
    if (this.isHeld || this.isClosed || this.cancelTimer !== null) return
    if (this.waiting.length === 0 && this.running.length === 0) return
    const { clock, timeFactor } = this.options
    if (timeFactor === 0) this.cancelTimer = clock.after(0, () => this.beginStep())
    else this.beginStep()
  }

  private generate(sequence: EngineSequence, now: number): void {
    const { request } = sequence
    const token = request.tokenAt(sequence.generated++)
    sequence.kv.append(token)
    const reason = sequence.generated >= request.tokensMax ? request.lastReason : null
    if (sequence.firstTokenAt < 0) sequence.firstTokenAt = now
    this.options.observer.onTokens(sequence)
    sequence.lastTokenAt = now
    if (reason !== null) this.finish(sequence, reason)
    request.owner.onToken(sequence, token, reason)
  }

  private finish(sequence: EngineSequence, reason: FinishReason): void {
    sequence.state = 'finished'
    this.cache.release(sequence.kv)
    this.options.observer.onFinished(sequence, reason)
  }
}

/** The clock of the process. */
export const realClock: EngineClock = {
  now: () => performance.now(),
  after(ms, run) {
    if (ms <= 0) {
      const immediate = setImmediate(run)
      return () => clearImmediate(immediate)
    }
    const timer = setTimeout(run, ms)
    return () => clearTimeout(timer)
  },
}
