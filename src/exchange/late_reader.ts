/**
 * Readers of an answer that is another exchange's: a client that comes back to it (resumed), and
 * one whose identical request is in flight (joined). The exchange has its own books; each of these
 * readers leaves a log line and counts of its own.
 *
 *     log ──► LateReader: counts ──► the client's writer (HTTP or a lane of a WebSocket)
 *                 └── the end of the log, or the client left ──► recorder.readerEnded
 *
 * Costs one scan of each chunk for the ends of events, for these readers only. What it does badly:
 * an event counts as sent when it was handed to the writer, so of a client that is cut off some may
 * never have arrived.
 */
import { EventEnds } from '../native/event_scanner.ts'
import type { Endpoint, ReaderEnd, ReaderKind } from '../observe/metrics/labels.ts'
import type { Follow, Following, LogName } from '../responses/log_owner.ts'
import {
  isEventStream,
  type LogEnd,
  type LogHead,
  type LogReader,
} from '../responses/log_reader.ts'
import { AheadReader } from './ahead_reader.ts'
import type { ExchangeRequest, Owner } from './request.ts'
import type { ExchangeThread } from './thread.ts'

/** Who reads, and what. */
export interface ReaderFacts {
  /** Id of this visit, which the gateway gave. */
  readonly id: string
  /** The client's own `x-request-id`. */
  readonly clientId: string | undefined
  readonly tenant: Owner
  readonly endpoint: Endpoint
  readonly transport: 'http' | 'websocket'
  readonly kind: ReaderKind
  /** What the client came back to; null where it does not know an id. */
  readonly responseId: string | null
  /** Number of the first event that it gets. */
  readonly from: number
}

/** All of it. */
export const FROM_START = { position: 0, skipped: 0 }

/** The facts of a request that reads the answer to an identical one. */
export function joinedBy(
  { id, clientId, tenant, endpoint }: ExchangeRequest,
  transport: ReaderFacts['transport'],
): ReaderFacts {
  const { name } = endpoint
  return {
    id,
    clientId,
    tenant,
    endpoint: name,
    transport,
    kind: 'joined',
    responseId: null,
    from: 0,
  }
}

/**
 * Lets a writer follow a log from a position on, but for the first `skipped` events that are still
 * to come, and keeps the books of it.
 */
export function followLate(
  thread: ExchangeThread,
  log: LogName,
  { position, skipped }: { readonly position: number; readonly skipped: number },
  facts: ReaderFacts,
): Follow {
  return reader => {
    const late = new LateReader(thread, log, facts, reader)
    const ahead = skipped > 0 ? new AheadReader(late, skipped) : late
    const got = thread.logs.follow(log, facts.tenant.id, ahead, position)
    if (typeof got === 'string') return got
    thread.recorder.readerBegan(facts)
    return late.following(got)
  }
}

class LateReader implements LogReader {
  readonly #thread: ExchangeThread
  readonly #log: LogName
  readonly #facts: ReaderFacts
  readonly #reader: LogReader
  readonly #startedMs: number
  /** null: no stream, which has no events. */
  #ends: EventEnds | null = null
  #events = 0
  #bytes = 0
  #hasEnded = false

  constructor(thread: ExchangeThread, log: LogName, facts: ReaderFacts, reader: LogReader) {
    this.#thread = thread
    this.#log = log
    this.#facts = facts
    this.#reader = reader
    this.#startedMs = thread.now()
  }

  /** The reins of the writer: who lets go of them has left. */
  following(got: Following): Following {
    const detach = (): void => {
      got.detach()
      this.#ended('client_gone')
    }
    return { ready: () => got.ready(), detach }
  }

  onHead(head: LogHead): void {
    if (isEventStream(head)) this.#ends = new EventEnds()
    this.#reader.onHead(head)
  }

  onBytes(chunk: Uint8Array, wholeEnd: number, classes: number): boolean {
    this.#bytes += chunk.length
    this.#events += this.#ends?.scan(chunk).length ?? 0
    return this.#reader.onBytes(chunk, wholeEnd, classes)
  }

  onEnd(end: LogEnd): void {
    this.#ended(end.kind)
    this.#reader.onEnd(end)
  }

  #ended(reason: ReaderEnd): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    const thread = this.#thread
    thread.recorder.readerEnded(this.#facts, this.#log, {
      events: this.#events,
      bytes: this.#bytes,
      totalMs: thread.now() - this.#startedMs,
      reason,
    })
  }
}
