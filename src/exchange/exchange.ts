/**
 * An exchange: the run of one request to one response log.
 *
 *     keying ──► placing ──► waiting ──► asking ──► relaying ──► finished
 *        │          ▲  │        │          │            │
 *        │          │  └────────┘          │            └─ first byte sent: no retry any more
 *        │          └──── retry elsewhere ─┘
 *        └────────────────────── any state ──► finish(reason), exactly once
 *
 * - *keying*: the prompt's chain keys, at once for text-keyed prompts and memo hits, else after one
 *   hop to the prompt pool.
 * - *placing*: the router names a (node, rank) and grants a lease, or the exchange waits for one.
 * - *asking*: dispatched; the reply's head is held until its first bytes, so that a failure up to
 *   there can be retried on another node. A 429 or 5xx is read whole (it is small) and retried when
 *   the rules allow, else passed on as it came.
 * - *relaying*: each chunk is appended to the log, which hands it to its readers in the same turn.
 *
 * The log of a private request is opened with the reply's first bytes, a kept one at the start.
 * `finish` alone releases the lease, stops the attempt, ends the log, writes metrics and the log
 * line. Costs per exchange: this object, an attempt, a log and a lease; per chunk: one native scan.
 */
import assert from 'node:assert/strict'
import { OperatingError } from '../errors.ts'
import type { OutcomeKind } from '../nodes/fleet_view.ts'
import type { FinishReason } from '../observe/metrics/labels.ts'
import { skipsPrefixCache } from '../prompt/eligibility.ts'
import type { PromptKeys } from '../prompt/keyer.ts'
import { isEventStream, type LogHead } from '../responses/log_reader.ts'
import { ResponseLog } from '../responses/response_log.ts'
import type { Waiter } from '../routing/admission.ts'
import type { RouteRequest } from '../routing/candidates.ts'
import type { Attempts, RetryCause } from '../routing/retry_budget.ts'
import type { Placement, Waiting } from '../routing/router.ts'
import type { Asker } from './asker.ts'
import type { AttemptListener, Breakage, NodeHeaders } from './attempt.ts'
import { Attempt } from './attempt.ts'
import type { Timed } from './deadlines.ts'
import { elsewhere } from './elsewhere.ts'
import { earlyEnd, endOf, REFUSED_AS, terminalClasses } from './ends.ts'
import type { KeptFlow, KeptLog } from './kept_log.ts'
import { Opening } from './opening.ts'
import type { ExchangeFacts } from './record.ts'
import { outcomeOf, Refusal } from './refusal.ts'
import type { ExchangeRequest } from './request.ts'
import type { ExchangeThread } from './thread.ts'
import { upstreamHeaders } from './upstream_headers.ts'

type State = 'keying' | 'placing' | 'waiting' | 'asking' | 'relaying' | 'finished'

export class Exchange implements AttemptListener, KeptFlow, Timed, Waiting {
  readonly request: ExchangeRequest
  readonly facts: ExchangeFacts
  /** The gateway's own error that it ended with. */
  refusal: OperatingError | null = null
  deadlineMs = Infinity
  rosterIndex = -1
  readonly #thread: ExchangeThread
  readonly #asker: Asker | null
  readonly #attempts: Attempts
  #state: State = 'keying'
  #route: RouteRequest
  /** Ids of nodes that failed this request. */
  readonly #tried: string[] = []
  #attempt: Attempt | null = null
  #head: LogHead | null = null
  /** What a stream that ends with `[DONE]` has said so far. */
  #opening: Opening | null = null
  /** A 429 or 5xx reply that may yet be retried. */
  #refusal: Refusal | null = null
  #log: ResponseLog | null = null
  readonly #kept: KeptLog | null
  #isSse = false
  readonly #terminal: number
  #stopKeying: (() => void) | null = null
  #waiter: Waiter | null = null

  /** Without an asker, others read the log that is kept. */
  constructor(
    thread: ExchangeThread,
    request: ExchangeRequest,
    asker: Asker | null,
    kept: KeptLog | null = null,
  ) {
    this.#thread = thread
    this.request = request
    this.#asker = asker
    this.#terminal = terminalClasses(request.endpoint.completion)
    this.#attempts = thread.router.retries.begin()
    this.#route = { model: request.model, prompt: null, promptTokens: 0, skipsCache: false }
    this.facts = thread.recorder.begin(request)
    this.#kept = kept
    if (kept === null) return
    kept.serve(this)
    this.#log = kept.log
    this.facts.log = kept.log
    asker?.follow(kept.log)
  }

  get isFinished(): boolean {
    return this.#state === 'finished'
  }

  /** Name of the node that answers, once one does. */
  get nodeId(): string | null {
    return this.#attempt?.placement.node.id ?? null
  }

  start(): void {
    this.#thread.deadlines.watch(this)
    const stop = this.#thread.keyPrompt(this.request, keys => this.#keyed(keys))
    if (this.#state === 'keying') this.#stopKeying = stop
  }

  /** The client has gone: the work is cancelled at every stage. */
  leave(): void {
    if (this.#asker === null) return
    if (this.#log !== null) this.#log.detach(this.#asker)
    else if (!this.isFinished) this.finish('client_gone')
  }

  #keyed(keys: PromptKeys | null): void {
    if (this.#state !== 'keying') return
    this.#stopKeying = null
    if (keys !== null) {
      const { model, body, endpoint } = this.request
      const { promptTokens } = keys
      const skipsCache = skipsPrefixCache(body, endpoint.promptKind)
      this.facts.promptTokens = promptTokens
      this.#route = { model, prompt: keys, promptTokens, skipsCache }
    }
    this.#place()
  }

  #place(): void {
    this.#state = 'placing'
    const placed = this.#thread.router.place(this.#route, this.#tried, this)
    switch (placed.kind) {
      case 'placed':
        return this.#dispatch(placed.placement)
      case 'waiting':
        return this.#wait(placed.waiter)
      case 'refused':
        return this.refused(placed.error)
    }
  }

  #wait(waiter: Waiter): void {
    this.#state = 'waiting'
    this.#waiter = waiter
    this.facts.waitedFromMs ||= this.#thread.now()
  }

  /** Part of Waiting: a place has become free. */
  placed(placement: Placement): void {
    this.#waiter = null
    this.#dispatch(placement)
  }

  /** Part of Waiting: there is no place, or none became free in time. */
  refused(error: OperatingError): void {
    this.#waiter = null
    this.#refuse(REFUSED_AS[error.code] ?? 'no_node', error)
  }

  #dispatch(placement: Placement): void {
    const { facts, request } = this
    this.#state = 'asking'
    facts.placed(placement, this.#thread.now())
    this.#thread.recorder.routed(placement, facts.promptTokens)
    this.deadlineMs = facts.dispatchedMs + this.#thread.timeouts.firstByteMs
    this.#head = null
    this.#refusal = null
    this.#attempt = new Attempt(placement, this)
    this.#thread.sockets.dispatch(
      placement.node,
      {
        method: request.method,
        path: request.target,
        headers: upstreamHeaders(request, placement, this.#thread.forwardsAuthorization()),
        body: request.method === 'POST' ? request.bytes : null,
      },
      this.#attempt,
    )
  }

  onHead(attempt: Attempt, status: number, headers: NodeHeaders): void {
    if (attempt !== this.#attempt) return
    this.#head = { status, headers }
    this.facts.status = status
    this.#isSse = isEventStream({ headers })
    const isChat = this.request.endpoint.completion === 'done'
    this.#opening = this.#isSse && isChat ? new Opening() : null
    if (status >= 500 || status === 429) this.#refusal = new Refusal()
    else this.deadlineMs = this.#thread.now() + this.#thread.timeouts.firstByteMs
  }

  onData(attempt: Attempt, chunk: Buffer): void {
    if (attempt !== this.#attempt) return
    if (this.#refusal?.push(chunk) === false) return this.#passRefusal()
    if (this.#refusal !== null) return
    const emptyEnd = this.#opening?.emptyEnd(chunk) ?? -1
    if (this.#state === 'asking') {
      if (emptyEnd >= 0) return this.#failed('reset')
      this.#openLog()
    }
    if (emptyEnd === -1) return this.#append(chunk)
    if (emptyEnd > 0) this.#append(chunk.subarray(0, emptyEnd))
    this.#failed('reset')
  }

  #append(chunk: Buffer): void {
    const log = this.#log
    if (log === null) return
    const now = this.#thread.now()
    this.deadlineMs = now + this.#thread.timeouts.betweenBytesMs
    if (this.#isSse) this.#thread.recorder.read(this.facts, now)
    this.facts.tail.push(chunk)
    const flags = this.#kept === null ? log.append(chunk) : this.#kept.append(chunk)
    if ((flags & this.#terminal) !== 0 && !this.isFinished) this.finish('complete')
  }

  /** The log begins with the reply's first bytes: up to here another node could be asked. */
  #openLog(): void {
    const head = this.#head
    assert(head !== null && this.#attempt !== null)
    this.#state = 'relaying'
    this.facts.firstByteMs = this.#thread.now()
    const { lease, node } = this.#attempt.placement
    lease.firstToken()
    if (this.#kept !== null) return this.#kept.head(head, node.id)
    const log = new ResponseLog({
      kind: this.#isSse ? 'sse' : 'json',
      mode: 'window',
      tenant: this.request.tenant.id,
      bytesMax: this.#thread.logLimits.keptBytesMax,
      lagBytesMax: this.#thread.logLimits.lagBytesMax,
      upstream: this,
    })
    this.#log = log
    this.#asker?.follow(log)
    log.head(head)
  }

  onDone(attempt: Attempt): void {
    if (attempt !== this.#attempt || this.isFinished) return
    if (this.#refusal !== null) return this.#refused()
    if (this.#state === 'asking') this.#openLog()
    const fault = this.#isSse ? earlyEnd(this.request.endpoint.completion) : undefined
    this.finish(fault === undefined ? 'complete' : 'truncated', fault)
  }

  onBroken(attempt: Attempt, breakage: Breakage): void {
    if (attempt !== this.#attempt || this.isFinished) return
    this.#failed(breakage)
  }

  /** A 429 or 5xx has been read whole: another node, or the reply as it came. */
  #refused(): void {
    const status = this.#head?.status ?? 500
    const isFull = status === 503 && this.#refusal?.isQueueFull === true
    this.#report(outcomeOf(status, isFull))
    if (this.#retry(isFull ? 'queue_full' : 'status')) return
    this.#passRefusal()
    if (!this.isFinished) this.finish('complete')
  }

  #passRefusal(): void {
    const pieces = this.#refusal?.pieces ?? []
    this.#refusal = null
    this.#openLog()
    for (const piece of pieces) this.#append(piece)
  }

  #failed(breakage: Breakage): void {
    this.#report(breakage)
    if (this.#state === 'relaying') {
      return this.finish('truncated', 'the node failed in the middle of its answer')
    }
    if (this.#retry(breakage)) return
    if (breakage === 'timeout') {
      const message = 'the node did not answer in time'
      return this.#refuse('timeout', new OperatingError('upstream_timeout', message))
    }
    const message = `the node's connection broke (${breakage})`
    this.#refuse('node_failed', new OperatingError('upstream_error', message))
  }

  /** Gives the attempt's place back and tries elsewhere; false when the rules forbid it. */
  #retry(cause: RetryCause): boolean {
    const attempt = this.#attempt
    assert(attempt !== null)
    const { facts, request } = this
    const { recorder, router } = this.#thread
    const failed = [...this.#tried, attempt.placement.node.id]
    const next = elsewhere(this.#thread.view(), request.model, failed, cause, facts.retries)
    if (next === 'nowhere') return false
    if (!this.#attempts.mayRetry(cause)) return recorder.retryDenied()
    if (next !== 'same') this.#tried.push(attempt.placement.node.id)
    facts.retries++
    recorder.retried(cause)
    attempt.abandon()
    attempt.placement.lease.release()
    this.#attempt = null
    this.#refusal = null
    if (next !== 'returning') this.#place()
    else this.#wait(router.awaitReturn(this.#route, this.#tried, this))
    return true
  }

  #report(kind: OutcomeKind): void {
    const placement = this.#attempt?.placement
    if (placement === undefined) return
    this.#thread.recorder.outcome(placement, kind)
    this.#thread.report(placement.node, kind)
  }

  /** Part of Timed: the node was silent for too long. */
  expire(): void {
    this.deadlineMs = Infinity
    if (this.#state === 'asking') return this.#failed('timeout')
    if (this.#state !== 'relaying') return
    this.#report('timeout')
    this.finish('timeout', 'the node fell silent in the middle of its answer')
  }

  pause(): void {
    // A client that reads slowly is not a silent node.
    this.deadlineMs = Infinity
    this.#attempt?.pause()
  }

  resume(): void {
    this.deadlineMs = this.#thread.now() + this.#thread.timeouts.betweenBytesMs
    this.#attempt?.resume()
  }

  /** The last reader has gone. */
  abandoned(): void {
    if (!this.isFinished) this.finish(this.#asker?.isLagging ? 'slow_reader' : 'client_gone')
  }

  /** Part of UpstreamFlow: somebody asked for the end. */
  stopped(): void {
    if (!this.isFinished) this.finish('cancelled')
  }

  /** Part of KeptFlow. */
  deserted(): void {
    if (!this.isFinished) this.finish('client_gone')
  }

  /** The process ends before this exchange did. */
  shutDown(): void {
    if (this.isFinished) return
    const message = 'the gateway is shutting down'
    if (this.#state === 'relaying') return this.finish('draining', message)
    this.#refuse('draining', new OperatingError('draining', message))
  }

  #refuse(reason: FinishReason, error: OperatingError): void {
    this.facts.status = error.status
    this.refusal = error
    this.#thread.recorder.erred(error.code)
    this.#kept?.refuse(error, error.body(this.request.endpoint.dialect))
    this.finish(reason)
    if (this.#kept === null) this.#asker?.refuse(error)
  }

  /**
   * The one way out. `fault` tells the readers why a reply that had begun did not become whole.
   */
  finish(reason: FinishReason, fault?: string): void {
    assert(this.#state !== 'finished', `exchange ${this.request.id} finished twice`)
    this.#state = 'finished'
    this.#thread.deadlines.release(this)
    this.#stopKeying?.()
    this.#waiter?.cancel()
    const attempt = this.#attempt
    if (attempt !== null) {
      if (reason === 'complete') {
        if (this.facts.status < 500) this.#report('ok')
        attempt.mute()
      } else {
        attempt.abandon()
      }
      attempt.placement.lease.release()
    }
    const log = this.#log
    if (log !== null) {
      this.facts.bytes = log.bytes
      this.facts.events = log.events
      const end = endOf(reason, fault)
      if (this.#kept !== null) this.#kept.end(end)
      else log.end(end)
      log.close()
    }
    this.#thread.recorder.finish(this.facts, reason)
  }
}
