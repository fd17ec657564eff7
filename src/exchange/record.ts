/**
 * What an exchange leaves behind: counters, histograms and one log line, all written by `finish`.
 *
 *     finish(facts) ──► held until the end of this turn of the event loop ──► written, all at once
 *
 * They are written after the turn's last bytes have left for the clients, who do not wait for our
 * books; and all of a turn's together, so that the code for them is warm from the second on. The
 * end of the process settles what is left (`settle`).
 *
 * Times are milliseconds of the thread's monotonic clock; 0 means "not reached". Nothing here is
 * done per chunk or per event.
 */

import type { ErrorCode } from '../errors.ts'
import type { OutcomeKind } from '../nodes/fleet_view.ts'
import { logExchange } from '../observe/exchange_log.ts'
import type { ThreadLog } from '../observe/log.ts'
import type { Endpoint, FinishReason, ReaderEnd } from '../observe/metrics/labels.ts'
import {
  ABORT,
  ENDPOINT,
  ERROR,
  FINISH,
  OUTCOME,
  OUTCOMES,
  READER_END,
  READER_ENDS,
  READER_KIND,
  RETRY,
  ROUTE,
} from '../observe/metrics/labels.ts'
import { G, H, M, N } from '../observe/metrics/layout.ts'
import type { ThreadMetrics } from '../observe/metrics/thread_metrics.ts'
import { logReader } from '../observe/reader_log.ts'
import type { LogName } from '../responses/log_owner.ts'
import type { RetryCause } from '../routing/retry_budget.ts'
import type { Placement } from '../routing/router.ts'
import type { ReaderFacts } from './late_reader.ts'
import type { ExchangeRequest } from './request.ts'
import { Tail } from './usage.ts'

/** What is known of one exchange; every field is set in the constructor, in one order. */
export class ExchangeFacts {
  readonly request: ExchangeRequest
  readonly startedMs: number
  /** First entry into the wait queue, and the time spent there in all. */
  waitedFromMs = 0
  queuedMs = 0
  dispatchedMs = 0
  firstByteMs = 0
  /** Status for the client; 0 when it left before one was known. */
  status = 0
  retries = 0
  promptTokens = 0
  bytes = 0
  events = 0
  /** When the stream was last read from. */
  lastReadMs = 0
  placement: Placement | null = null
  /** The log, where others may read it. */
  log: LogName | null = null
  /** Set by `finish`. */
  endedMs = 0
  reason: FinishReason = 'complete'
  readonly tail = new Tail()

  constructor(request: ExchangeRequest, startedMs: number) {
    this.request = request
    this.startedMs = startedMs
  }

  placed(placement: Placement, nowMs: number): void {
    this.placement = placement
    this.dispatchedMs = nowMs
    if (this.waitedFromMs === 0) return
    this.queuedMs += nowMs - this.waitedFromMs
    this.waitedFromMs = 0
  }

  /** What the gateway added before the last dispatch, without the wait for a place. */
  get overheadMs(): number {
    if (this.dispatchedMs === 0) return 0
    return Math.max(0, this.dispatchedMs - this.startedMs - this.queuedMs)
  }
}

/** What one reader of another exchange's answer got. */
export interface ReaderCounts {
  readonly events: number
  readonly bytes: number
  readonly totalMs: number
  readonly reason: ReaderEnd
}

export class Recorder {
  readonly #metrics: ThreadMetrics
  readonly #log: ThreadLog
  readonly #now: () => number
  /** Ended in this turn, and not yet in the books. */
  #ended: ExchangeFacts[] = []
  readonly #settleNow = (): void => this.settle()
  #running = 0

  constructor(metrics: ThreadMetrics, log: ThreadLog, now: () => number) {
    this.#metrics = metrics
    this.#log = log
    this.#now = now
  }

  begin(request: ExchangeRequest): ExchangeFacts {
    this.#metrics.set(G.exchanges, ++this.#running)
    this.#metrics.add(M.requestBytes, request.bytes.length)
    return new ExchangeFacts(request, this.#now())
  }

  /** A request that the gateway answered itself, without an exchange. */
  answered(endpoint: Endpoint, status: number): void {
    this.#metrics.countRequest(ENDPOINT[endpoint], status)
  }

  /** Somebody reads the answer of another exchange. */
  readerBegan({ endpoint, kind }: ReaderFacts): void {
    this.answered(endpoint, 200)
    this.#metrics.add(kind === 'resumed' ? M.resumes : M.collapsed, 1)
  }

  readerEnded(facts: ReaderFacts, log: LogName, read: ReaderCounts): void {
    const cell = READER_KIND[facts.kind] * READER_ENDS.length + READER_END[read.reason]
    this.#metrics.addFor(M.readers, cell, 1)
    this.#metrics.add(M.readerEvents, read.events)
    logReader(this.#log, {
      id: facts.id,
      client_id: facts.clientId,
      tenant: facts.tenant.name,
      endpoint: facts.endpoint,
      transport: facts.transport,
      kind: facts.kind,
      response: facts.responseId,
      log: nameOf(log),
      from: facts.from,
      events: read.events,
      bytes: read.bytes,
      total_ms: read.totalMs,
      reason: read.reason,
    })
  }

  /** A client asked for the end of a response. */
  cancelled(): void {
    this.#metrics.add(M.cancels, 1)
  }

  /** An error that the gateway made itself, inside an exchange or before one. */
  erred(code: ErrorCode): void {
    this.#metrics.addFor(M.errors, ERROR[code], 1)
  }

  routed(placement: Placement, promptTokens: number): void {
    const metrics = this.#metrics
    metrics.addFor(M.routed, ROUTE[placement.reason], 1)
    metrics.add(M.promptTokens, promptTokens)
    metrics.add(M.predictedCachedTokens, placement.predictedTokens)
    metrics.add(M.indexCachedTokens, placement.indexTokens)
    metrics.add(M.uncachedTokens, promptTokens - placement.predictedTokens)
  }

  outcome(placement: Placement, kind: OutcomeKind): void {
    this.#metrics.addNodeFor(N.nodeOutcomes, placement.slot, OUTCOMES.length, OUTCOME[kind], 1)
  }

  retried(cause: RetryCause): void {
    this.#metrics.addFor(M.retries, RETRY[cause], 1)
  }

  /** The budget forbids another try; answers that there is none. */
  retryDenied(): false {
    this.#metrics.add(M.retriesDenied, 1)
    return false
  }

  /** A stream was read from again. */
  read(facts: ExchangeFacts, nowMs: number): void {
    if (facts.lastReadMs > 0) {
      this.#metrics.observe(H.eventGapSeconds, (nowMs - facts.lastReadMs) / 1000)
    }
    facts.lastReadMs = nowMs
  }

  /** Takes an exchange that has ended; its books are written at the end of this turn. */
  finish(facts: ExchangeFacts, ended: FinishReason): void {
    // A node's own error that was relayed to its end is complete for its reader only.
    facts.reason = ended === 'complete' && facts.status >= 400 ? 'node_error' : ended
    facts.endedMs = this.#now()
    this.#metrics.set(G.exchanges, --this.#running)
    if (this.#ended.push(facts) === 1) setImmediate(this.#settleNow)
  }

  /** Writes the books of all exchanges that have ended so far. */
  settle(): void {
    const ended = this.#ended
    this.#ended = []
    for (const facts of ended) this.#write(facts)
  }

  #write(facts: ExchangeFacts): void {
    const metrics = this.#metrics
    const { endpoint } = facts.request
    const { reason } = facts
    const totalMs = facts.endedMs - facts.startedMs
    metrics.countRequest(ENDPOINT[endpoint.name], facts.status)
    metrics.addFor(M.finishes, FINISH[reason], 1)
    metrics.add(M.responseBytes, facts.bytes)
    metrics.add(M.events, facts.events)
    metrics.observe(H.requestSeconds, totalMs / 1000)
    if (facts.queuedMs > 0) metrics.observe(H.queueSeconds, facts.queuedMs / 1000)
    if (facts.dispatchedMs > 0) {
      metrics.observe(H.upstreamSeconds, (facts.endedMs - facts.dispatchedMs) / 1000)
      metrics.observe(H.overheadSeconds, facts.overheadMs / 1000)
    }
    if (facts.firstByteMs > 0) {
      metrics.observe(H.firstTokenSeconds, (facts.firstByteMs - facts.startedMs) / 1000)
    }
    if (reason === 'client_gone') this.#countAbort(facts)
    if (reason === 'slow_reader') metrics.add(M.slowReadersCut, 1)
    this.#writeUsage(facts, totalMs)
  }

  #countAbort(facts: ExchangeFacts): void {
    const phase = facts.firstByteMs > 0 ? 'decode' : facts.dispatchedMs > 0 ? 'prefill' : 'queue'
    this.#metrics.addFor(M.aborts, ABORT[phase], 1)
  }

  #writeUsage(facts: ExchangeFacts, totalMs: number): void {
    const { request, placement, reason } = facts
    const usage = facts.firstByteMs > 0 ? facts.tail.usage() : null
    if (usage !== null) {
      this.#metrics.add(M.reportedPromptTokens, usage.promptTokens)
      this.#metrics.add(M.reportedCompletionTokens, usage.outputTokens)
      if (usage.cachedTokens > 0) this.#metrics.add(M.reportedCachedTokens, usage.cachedTokens)
    }
    const isCachedKnown = usage !== null && usage.cachedTokens >= 0
    logExchange(this.#log, {
      id: request.id,
      client_id: request.clientId,
      tenant: request.tenant.name,
      endpoint: request.endpoint.name,
      model: request.model,
      log: facts.log === null ? null : nameOf(facts.log),
      node: placement?.node.id ?? null,
      rank: placement?.rank ?? null,
      status: facts.status,
      reason,
      stream: facts.events > 0,
      prompt_tokens: usage?.promptTokens ?? (facts.promptTokens || null),
      predicted_cached: placement?.predictedTokens ?? null,
      index_cached: placement?.indexTokens ?? null,
      reported_cached: isCachedKnown ? usage.cachedTokens : null,
      ttft_ms: facts.firstByteMs > 0 ? facts.firstByteMs - facts.startedMs : null,
      total_ms: totalMs,
      queue_ms: facts.queuedMs,
      overhead_ms: facts.overheadMs,
      retries: facts.retries,
      request_bytes: request.bytes.length,
      response_bytes: facts.bytes,
      events: facts.events,
    })
  }
}

/** The name of a log in log lines: those of an exchange and of its readers have the same. */
function nameOf({ slot, generation }: LogName): string {
  return `${slot}.${generation}`
}
