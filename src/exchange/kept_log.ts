/**
 * The log of an exchange that outlives its asker or has several: open and published before the
 * node has said a word, so that whoever comes early waits for the head with all others.
 *
 *   opened ──► published under its ids ──► head ──► events … ──► end ──► retained ──► gone
 *                                           ▲
 *              the gateway's own error ─────┘  becomes the log's content: every reader gets it
 *
 * Where a log is closed by the gateway (a cancelled response needs its terminal event), it holds
 * whole events only: the beginning of an event waits here for its end. An error is not kept: the
 * log loses its ids before it has a head, so that nobody who has read the error finds it still.
 * Only a background response keeps its error, as somebody will poll it.
 */
import type { OperatingError } from '../errors.ts'
import { EventEnds } from '../native/event_scanner.ts'
import { nativeLog } from '../native/response_log.ts'
import {
  isEventStream,
  type LogEnd,
  type LogHead,
  type UpstreamFlow,
} from '../responses/log_reader.ts'
import { ResponseLog } from '../responses/response_log.ts'
import type { Keeping } from './keeping.ts'
import type { ExchangeRequest } from './request.ts'
import type { ExchangeThread } from './thread.ts'

/** Header of a stored head that names the node; only those who may see it get it. */
export const NODE_HEADER = 'x-warmpath-node'

const HEADS = {
  sse: { 'content-type': 'text/event-stream; charset=utf-8' },
  json: { 'content-type': 'application/json' },
} as const

/** The exchange behind a kept log. */
export interface KeptFlow extends UpstreamFlow {
  /** Nobody came back within the grace period. */
  deserted(): void
}

export class KeptLog implements UpstreamFlow {
  /** Clients can find it: its ids were not taken, and there was room for its note. */
  readonly isPublished: boolean
  readonly log: ResponseLog
  readonly #keeping: Keeping
  #upstream: KeptFlow | null = null
  readonly #graceMs: number
  readonly #heldBytesMax: number
  /** Finds the ends of events where only whole ones may be appended. */
  #ends: EventEnds | null
  #held: Buffer | null = null
  #status = 0
  #isRefused = false
  #grace: NodeJS.Timeout | null = null

  constructor(thread: ExchangeThread, request: ExchangeRequest, keeping: Keeping) {
    this.#keeping = keeping
    const { keptBytesMax, lagBytesMax, graceMs } = thread.logLimits
    this.#graceMs = graceMs
    this.#heldBytesMax = keptBytesMax
    this.#ends = keeping.closing !== null && keeping.kind === 'sse' ? new EventEnds() : null
    this.log = new ResponseLog({
      kind: keeping.kind,
      mode: 'kept',
      tenant: request.tenant.id,
      bytesMax: keptBytesMax,
      lagBytesMax,
      upstream: this,
      owner: thread.logs,
    })
    const { slot, generation } = this.log
    nativeLog.logSetRetention(slot, generation, keeping.retentionMs)
    // Without room for its note a log could not be made sense of: nobody will find it.
    const { note, ids } = keeping
    const hasNote = note === null || nativeLog.logSetNote(slot, generation, note)
    this.isPublished = hasNote && ids.every(id => this.log.publish(id))
  }

  /** The exchange that fills it. */
  serve(exchange: KeptFlow): void {
    this.#upstream = exchange
  }

  /** Nobody will fill it: an identical request was first, or nobody could find it. */
  withdraw(): void {
    this.#forget()
    this.log.end({ kind: 'cancelled' })
    this.log.close()
  }

  pause(): void {
    this.#upstream?.pause()
  }

  resume(): void {
    this.#upstream?.resume()
  }

  abandoned(): void {
    if (this.#isLeft()) this.#upstream?.abandoned()
  }

  stopped(): void {
    this.#upstream?.stopped()
  }

  head(head: LogHead, nodeId: string): void {
    this.#begin(head.status)
    if (!isEventStream(head)) this.#ends = null
    this.log.head({ ...head, headers: { ...head.headers, [NODE_HEADER]: nodeId } })
  }

  /** The classes of the events that the readers have got by now. */
  append(chunk: Buffer): number {
    if (this.#ends === null) return this.log.append(chunk)
    const end = this.#ends.scan(chunk).at(-1) ?? 0
    const whole = end === chunk.length ? chunk : chunk.subarray(0, end)
    const bytes = this.#held === null || end === 0 ? whole : Buffer.concat([this.#held, whole])
    if (end > 0) this.#held = null
    if (end < chunk.length) this.#hold(chunk.subarray(end))
    return this.log.append(bytes)
  }

  #hold(piece: Buffer): void {
    this.#held = this.#held === null ? Buffer.from(piece) : Buffer.concat([this.#held, piece])
    if (this.#held.length <= this.#heldBytesMax) return
    // No event is that long; what comes passes as it is, and the log turns into a window.
    this.#ends = null
    this.log.append(this.#held)
    this.#held = null
  }

  /** Nothing came from a node: the gateway's own error is what every reader gets. */
  refuse(error: OperatingError, body: string): void {
    this.#isRefused = true
    this.#begin(error.status)
    const bytes = Buffer.from(body)
    const length = { 'content-length': String(bytes.length) }
    const headers = { ...HEADS.json, ...length, ...error.retryAdvice }
    this.log.head({ status: error.status, headers })
    this.log.append(bytes)
  }

  end(end: LogEnd): void {
    this.stay()
    if (this.#keeping.retentionMs === 0) this.#forget()
    this.log.end(this.#isRefused ? { kind: 'complete' } : this.#close(end))
  }

  #begin(status: number): void {
    this.#status = status
    if (status >= 400 && this.#keeping.onLeft !== 'continue') this.#forget()
  }

  /** Nobody finds it any more; those who read it go on. */
  #forget(): void {
    nativeLog.logDiscard(this.log.slot, this.log.generation)
  }

  /** Appends what makes the log whole, and says how it ends then. */
  #close(end: LogEnd): LogEnd {
    const { closing, kind } = this.#keeping
    if (end.kind === 'complete') {
      if (this.#held !== null) this.log.append(this.#held)
      return end
    }
    const isOpenBody = kind === 'json' && this.log.bytes > 0
    const isErrorReply = this.#status >= 400
    if (closing === null || isOpenBody || isErrorReply) return end
    const bytes = closing(this.log, end)
    if (bytes === null) return end
    if (this.#status === 0) this.log.head({ status: 200, headers: HEADS[kind] })
    this.log.append(bytes)
    return end.kind === 'failed' ? { ...end, isTold: true } : { kind: 'complete' }
  }

  /** The last reader has left: true when the work must end with it. */
  #isLeft(): boolean {
    const { onLeft, retentionMs } = this.#keeping
    if (onLeft === 'continue') return false
    if (onLeft === 'grace') {
      // Each leaving begins it anew; a reader who stays is seen when it is over.
      this.stay()
      this.#grace = setTimeout(() => this.#graceOver(), this.#graceMs)
      return false
    }
    const { slot, generation } = this.log
    // An identical request may have joined on another thread in this very moment.
    return retentionMs > 0 || nativeLog.logDoomIfUnread(slot, generation)
  }

  #graceOver(): void {
    this.#grace = null
    this.log.reconsider(false)
    // Whoever left meanwhile has begun a new grace period.
    if (this.log.readers === 0 && !this.log.isEnded && this.#grace === null) {
      this.#upstream?.deserted()
    }
  }

  /** No grace period ends any more. */
  stay(): void {
    if (this.#grace !== null) clearTimeout(this.#grace)
    this.#grace = null
  }
}
