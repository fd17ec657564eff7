/**
 * Writes a response log to an HTTP client: the log's most common reader.
 *
 *     log.append ──► onBytes ──┬─────────────────► cork { whole events } ──────────────► socket
 *                              └─ end of the turn: cork { head once, events, end } ──► socket
 *                                  │ write() false: the bytes are queued, take no more
 *                                  ▼
 *                                onWritable ──► log.ready(this), which feeds the backlog
 *
 * What a stream begins and ends with waits for the end of the turn (flush_queue.ts), in copies; all
 * between is written where it lies, in the buffer of the node's socket.
 *
 * Three shapes leave here:
 * - **sse**: only whole events are written; the rest of a chunk waits for its end, so that an
 *   error event can always be appended to a stream that was cut. An event longer than
 *   `EVENT_HELD_BYTES_MAX` is passed on in pieces instead of being held.
 * - **plain with a length**: one `end` when the body fits one chunk, else `tryEnd`, whose
 *   unsent rest waits here for `onWritable`.
 * - **plain without a length**: chunked, as it comes.
 *
 * Rules of uWS that this file keeps: status, headers and first bytes in one cork; every write
 * corked; `onWritable` registered once at the start of a stream and always writing (an empty cork
 * when there is nothing), because otherwise the queued rest is not sent; nothing is called on
 * `res` once the client has gone. A client that takes nothing for 10–12 s is cut by uWS itself.
 *
 * Cost: one send for what one read of the node's socket brought, and no allocation but copies of
 * what had to wait. Of these `onBytes` says "no more" one chunk late, because the socket is asked
 * at the end of the turn, or after 64 KiB.
 */
import type { HttpResponse } from 'uWebSockets.js'
import { errorEvent } from '../api/error_event.ts'
import { OperatingError } from '../errors.ts'
import type { Asker } from '../exchange/asker.ts'
import { terminalClasses } from '../exchange/ends.ts'
import { NODE_HEADER } from '../exchange/kept_log.ts'
import type { EndpointFacts } from '../exchange/request.ts'
import type { Follow, Following } from '../responses/log_owner.ts'
import { isEventStream, type LogEnd, type LogHead } from '../responses/log_reader.ts'
import type { RefusedReader } from '../responses/remote_reader.ts'
import type { ResponseLog } from '../responses/response_log.ts'
import type { EventNumbers } from './event_numbers.ts'
import type { Flushable } from './flush_queue.ts'
import { flushFirst, flushSoon } from './flush_queue.ts'
import { hopHeaders } from './hop_headers.ts'
import { wireForm } from './octets.ts'
import type { Connection } from './reply.ts'
import { errorAnswer, reply, statusLine, writeOrigin } from './reply.ts'

/** Bytes of an incomplete event that are held back; an error event needs a whole one before it. */
export const EVENT_HELD_BYTES_MAX = 65_536

/**
 * Bytes of one stream gathered in a turn. A socket is read 32 times in a turn, 64 KiB each;
 * were all of it gathered, a reader that has stalled would be noticed 2 MiB late.
 */
const GATHERED_BYTES_MAX = 65_536

/** Headers of a node that concern its own connection or that the front writes itself. */
const OWN_HEADERS = new Set([
  'connection',
  'keep-alive',
  'transfer-encoding',
  'te',
  'trailer',
  'upgrade',
  'proxy-authenticate',
  'proxy-connection',
  'server',
  'date',
  'content-length',
  'x-request-id',
  'request-id',
  NODE_HEADER,
])
const SSE_HEADERS = new Set(['content-type', 'cache-control', 'x-accel-buffering'])

/** Where the time went before the node was asked (milliseconds). */
export interface OwnTimes {
  readonly queuedMs: number
  readonly overheadMs: number
}

export interface StreamFacts {
  readonly endpoint: EndpointFacts
  readonly requestId: string
  /** Name of the node that answered, where the client may know it. */
  nodeId(head: LogHead): string | null
  /** null for those who read what another's request brought. */
  times(): OwnTimes | null
  /** Further headers of the answer. */
  readonly headers: readonly (readonly [string, string])[]
  /** Puts numbers before the events, where the stream is resumable. */
  readonly numbers: EventNumbers | null
}

type Shape = 'sse' | 'sized' | 'chunked'

export class ClientStream implements Asker, Flushable {
  readonly #connection: Connection
  readonly #res: HttpResponse
  readonly #facts: StreamFacts
  readonly #terminal: number
  #log: ResponseLog | null = null
  /** The log, where it may be another thread's; its bytes are valid during the call only. */
  #following: Following | null = null
  #head: LogHead | null = null
  #shape: Shape = 'chunked'
  #length = 0
  #isHeadSent = false
  #isEnding = false
  #isLagging = false
  /** The piece of an event whose end has not come. */
  #held: Uint8Array | null = null
  /** What `tryEnd` has not taken yet, and the offset of its first byte in the body. */
  #unsent: Uint8Array | null = null
  #unsentOffset = 0
  #isWatchingWritable = false
  /** Bytes that the next flush writes, and further pieces of the same turn. */
  #out: Uint8Array | null = null
  #more: Uint8Array[] | null = null
  #isMarked = false
  #gatheredBytes = 0
  readonly #writeNow: () => void

  constructor(connection: Connection, facts: StreamFacts) {
    this.#connection = connection
    this.#res = connection.res
    this.#facts = facts
    this.#terminal = terminalClasses(facts.endpoint.completion)
    this.#writeNow = () => this.#writeCorked()
  }

  /** The client takes less than the node gives. */
  get isLagging(): boolean {
    return this.#isLagging
  }

  /** Nothing of a log was sent: the gateway's own error, in the client's dialect. */
  refuse(error: OperatingError): void {
    const { requestId, endpoint } = this.#facts
    reply(this.#connection, errorAnswer(error, { dialect: endpoint.dialect, requestId }))
  }

  /** Reads `log` from now on. */
  follow(log: ResponseLog): void {
    this.#log = log
    log.attach(this)
  }

  /** Reads a log of any thread; says why where it cannot. */
  join(follow: Follow): RefusedReader | null {
    const got = follow(this)
    if (typeof got === 'string') return got
    this.#following = got
    return null
  }

  /** The client has gone. */
  leave(): void {
    this.#following?.detach()
  }

  onHead(head: LogHead): void {
    this.#head = head
    const length = head.headers['content-length']
    if (isEventStream(head)) this.#shape = 'sse'
    else if (typeof length === 'string') this.#shape = 'sized'
    if (this.#shape === 'sized') this.#length = Number(length)
  }

  onBytes(chunk: Uint8Array, wholeEnd: number, flags: number): boolean {
    if (this.#connection.isGone) return false
    const { numbers } = this.#facts
    if (numbers !== null && this.#shape === 'sse') {
      return this.#writeEvents(numbers.insert(chunk), numbers.wholeEnd, flags)
    }
    if (this.#shape === 'sse') return this.#writeEvents(chunk, wholeEnd, flags)
    if (this.#shape === 'sized') return this.#writeSized(chunk)
    return this.#write(chunk)
  }

  onEnd(end: LogEnd): void {
    if (this.#connection.isGone) return
    if (end.kind === 'complete') {
      if (this.#unsent !== null) return
      this.#isEnding = true
      this.#write(this.#held)
      return
    }
    this.#break(end)
  }

  #writeEvents(chunk: Uint8Array, wholeEnd: number, flags: number): boolean {
    let bytes = wholeEnd === chunk.length ? chunk : chunk.subarray(0, wholeEnd)
    if (this.#held !== null && wholeEnd > 0) {
      bytes = Buffer.concat([this.#held, bytes])
      this.#held = null
    }
    if (wholeEnd < chunk.length) this.#hold(chunk.subarray(wholeEnd))
    if ((flags & this.#terminal) !== 0) this.#isEnding = true
    return bytes.length === 0 ? !this.#isLagging : this.#write(bytes)
  }

  /** Keeps a copy of an event's first piece, or lets go of it when it has grown too long. */
  #hold(piece: Uint8Array): void {
    const held = this.#held === null ? Buffer.from(piece) : Buffer.concat([this.#held, piece])
    if (held.length <= EVENT_HELD_BYTES_MAX) {
      this.#held = held
      return
    }
    this.#held = null
    this.#write(held)
  }

  #writeSized(chunk: Uint8Array): boolean {
    if (!this.#isHeadSent && chunk.length === this.#length) {
      this.#isEnding = true
      this.#isMarked = true
      this.#out = chunk
      if (flushFirst(this)) return true
      this.#out = Buffer.from(chunk)
      flushSoon(this)
      return true
    }
    this.#watchWritable()
    this.#unsent = chunk
    this.#unsentOffset = this.#isHeadSent ? this.#res.getWriteOffset() : 0
    this.#res.cork(() => {
      if (!this.#isHeadSent) this.#writeHead()
      this.#tryRest(0)
    })
    return this.#unsent === null
  }

  /** Gives `tryEnd` what is left after `skip` bytes of `#unsent`; copies what must wait. */
  #tryRest(skip: number): void {
    const rest = this.#unsent as Uint8Array // the callers have just set or checked it
    const [isTaken, isDone] = this.#res.tryEnd(skip > 0 ? rest.subarray(skip) : rest, this.#length)
    if (isDone) {
      this.#connection.isGone = true
      this.#unsent = null
    } else if (isTaken) {
      this.#unsent = null
    } else {
      // uWS took a part; `onWritable` tells how much by the offset. The chunk belongs to undici.
      this.#unsent = Buffer.from(rest)
      this.#isLagging = true
    }
  }

  /** Writes bytes now, or copies them for the end of this turn; false once the socket has lagged. */
  #write(bytes: Uint8Array | null): boolean {
    if (this.#isHeadSent && !this.#isMarked && !this.#isEnding) {
      this.#out = bytes
      this.#res.cork(this.#writeNow)
      return !this.#isLagging
    }
    if (bytes !== null) this.#keep(Buffer.from(bytes))
    if (!this.#isMarked) {
      this.#isMarked = true
      flushSoon(this)
    }
    if (this.#gatheredBytes > GATHERED_BYTES_MAX) this.flush()
    return !this.#isLagging
  }

  #keep(bytes: Uint8Array): void {
    if (this.#out === null) this.#out = bytes
    else if (this.#more === null) this.#more = [bytes]
    else this.#more.push(bytes)
    this.#gatheredBytes += bytes.length
  }

  /** Part of Flushable. */
  flush(): void {
    if (!this.#isMarked) return
    this.#isMarked = false
    this.#gatheredBytes = 0
    if (!this.#connection.isGone) this.#res.cork(this.#writeNow)
  }

  /** Inside the cork: head once, then the bytes, then the end when this was the last of it. */
  #writeCorked(): void {
    const { res } = this.#connection
    let bytes = this.#out
    if (bytes !== null && this.#more !== null) bytes = Buffer.concat([bytes, ...this.#more])
    this.#out = null
    this.#more = null
    const isWhole = this.#isEnding && !this.#isHeadSent && this.#shape !== 'sse'
    if (!this.#isHeadSent) this.#writeHead()
    if (isWhole) {
      this.#connection.isGone = true
      // RFC 9110 section 8.6: a 204 has no length.
      if (this.#head?.status === 204) res.endWithoutBody()
      else res.end(bytes ?? '')
      return
    }
    if (bytes !== null && bytes.length > 0 && !res.write(bytes)) this.#isLagging = true
    if (this.#isEnding) {
      this.#connection.isGone = true
      res.end()
    } else {
      this.#watchWritable()
    }
  }

  #writeHead(): void {
    const head = this.#head ?? { status: 200, headers: {} }
    const { res } = this.#connection
    this.#isHeadSent = true
    res.writeStatus(statusLine(head.status))
    const isSse = this.#shape === 'sse'
    if (isSse) {
      res.writeHeader('Content-Type', 'text/event-stream; charset=utf-8')
      res.writeHeader('Cache-Control', 'no-cache')
      res.writeHeader('X-Accel-Buffering', 'no')
    }
    const { connection } = head.headers
    const hops = typeof connection === 'string' ? hopHeaders(connection) : null
    for (const name in head.headers) {
      if (OWN_HEADERS.has(name) || (isSse && SSE_HEADERS.has(name))) continue
      if (hops?.has(name) === true) continue
      const value = head.headers[name]
      if (typeof value === 'string') res.writeHeader(name, wireForm(value))
      else for (const item of value ?? []) res.writeHeader(name, wireForm(item))
    }
    writeRequestId(res, this.#facts)
    const times = this.#facts.times()
    if (times !== null) {
      res.writeHeader('x-warmpath-queue-ms', times.queuedMs.toFixed(2))
      res.writeHeader('x-warmpath-overhead-ms', times.overheadMs.toFixed(2))
    }
    for (const [name, value] of this.#facts.headers) res.writeHeader(name, value)
    writeOrigin(this.#connection)
    const nodeId = this.#facts.nodeId(head)
    if (nodeId !== null) res.writeHeader(NODE_HEADER, nodeId)
  }

  #watchWritable(): void {
    if (this.#isWatchingWritable) return
    this.#isWatchingWritable = true
    this.#res.onWritable(offset => this.#writable(offset))
  }

  #writable(offset: number): boolean {
    if (this.#connection.isGone) return true
    this.#isLagging = false
    if (this.#unsent !== null) {
      this.#res.cork(() => this.#tryRest(offset - this.#unsentOffset))
      if (this.#unsent !== null) return true
    } else {
      // Without a write here the bytes that uWS has queued stay where they are.
      this.#res.cork(() => {})
    }
    if (this.#connection.isGone) return true
    if (this.#following !== null) {
      this.#following.ready()
      return true
    }
    this.#log?.ready(this)
    return true
  }

  /**
   * The log failed. A stream gets an error event and no `[DONE]`; a body that has begun can only
   * be broken off, since its head has promised more; where nothing has come there is an error to
   * answer with. Who was too slow is cut without a word, for which there would be no room.
   */
  #break(end: Exclude<LogEnd, { kind: 'complete' }>): void {
    const error =
      end.kind === 'failed'
        ? new OperatingError('upstream_error', end.reason)
        : new OperatingError('cancelled', 'the request was cancelled')
    if (this.#head === null && end.kind !== 'cut') return this.refuse(error)
    if (this.#shape === 'sse' && end.kind !== 'cut') {
      this.#held = null
      this.#isEnding = true
      const event = Buffer.from(errorEvent(this.#facts.endpoint, error))
      this.#write(this.#facts.numbers?.own(event) ?? event)
      return
    }
    this.#connection.isGone = true
    this.#res.close()
  }
}

/** Anthropic's clients look for the id under a name of their own. */
function writeRequestId(res: HttpResponse, { requestId, endpoint }: StreamFacts): void {
  const written = wireForm(requestId)
  res.writeHeader('x-request-id', written)
  if (endpoint.dialect === 'anthropic') res.writeHeader('request-id', written)
}
