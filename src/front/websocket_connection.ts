/**
 * One WebSocket: client frames in, lanes, and one socket that all lanes share.
 *
 *     frame ──► readClientFrame ──► lane's queue ──► pump: free lane, free place ──► exchange
 *     lanes with events:  [ a b c ]   flush: a quantum of a, one of b, one of c, a …  until the
 *                                     socket has BUFFERED_BYTES_MAX queued; `drain` goes on there
 *
 * Invariants: a lane runs one response at a time, in the order of its creates; at most
 * `inFlightMax` lanes run, the others wait in the order in which their creates came; what waits is
 * bounded in number and bytes; the socket's own queue is bounded, so that a lane with much to send
 * (a resumed log, a huge event) delays a token of another lane by the quanta of the ring, not by
 * megabytes.
 *
 * Once retired (drain, age) a connection takes no create, answers those that wait with the error
 * it was retired with, and closes when its last lane is done.
 */
import type { WebSocket } from 'uWebSockets.js'
import type { Tenant } from '../access/keys.ts'
import { errorFrame } from '../api/ws_errors.ts'
import type { ClientFrame, CreateFrame, Dialect, ResumeFrame } from '../api/ws_frames.ts'
import { readClientFrame } from '../api/ws_frames.ts'
import type { ErrorCode } from '../errors.ts'
import { OperatingError } from '../errors.ts'
import { FRAME_MSGPACK, FRAME_TEXT } from '../native/event_frames.ts'
import type { WebSocketClose } from '../observe/metrics/labels.ts'
import type { Member } from '../routing/roster.ts'
import { readBinaryFrame } from './binary_frame.ts'
import type { Flushable } from './flush_queue.ts'
import { flushSoon } from './flush_queue.ts'
import { frameShape, ownMessage } from './frame_sender.ts'
import type { SocketMemory } from './socket_memory.ts'
import type { LaneHost, Turn } from './websocket_lane.ts'
import { faultTurn, Lane } from './websocket_lane.ts'

/** Named lanes over the life of a connection; the default lane is not counted. */
export const LANES_MAX = 32
/** Creates of one connection that wait for their lane or for a place. */
export const QUEUED_MAX = 64
/** Bytes of the frames of creates that wait. */
export const QUEUED_BYTES_MAX = 12 * 2 ** 20
/** Bytes queued in the socket beyond which lanes keep what they have. */
export const BUFFERED_BYTES_MAX = 65_536
/** Bytes queued in the socket of a client that goes on asking without reading its errors. */
export const UNREAD_BYTES_MAX = 524_288

/** What `send` answers when more is queued than it takes: the message is lost. */
const DROPPED = 2

/** Close codes, as clients expect them: they come back on 1012 and 1013 and not on the others. */
export const CLOSE_CODES = {
  aged: 1000,
  policy: 1008,
  too_big: 1009,
  internal: 1011,
  draining: 1012,
  overload: 1013,
} as const satisfies Partial<Record<WebSocketClose, number>>

/** What a connection needs of the front; one object serves all connections of a path. */
export interface ConnectionOptions {
  readonly dialect: Dialect
  readonly inFlightMax: number
  readonly frameBytesMax: number
  readonly now: () => number
  /** From a frame to what its lane runs. */
  turnOf(connection: Connection, frame: CreateFrame | ResumeFrame): Turn
  /** Ends the work of a response; an error when there is none. */
  cancel(connection: Connection, responseId: string): OperatingError | null
  /** Counts an error of the gateway's own. */
  erred(code: ErrorCode): void
}

/** What is remembered of the handshake, for every request on the socket. */
export interface HandshakeFacts {
  readonly authorization: string | undefined
  readonly apiKey: string | undefined
  readonly headers: readonly string[]
  readonly target: string
  readonly requestId: string | undefined
  /** `x-warmpath-collapse` of the handshake, for all requests. */
  readonly collapse: string | undefined
  readonly isMsgpack: boolean
}

export interface SocketData {
  readonly connection: Connection
}

interface Retirement {
  readonly close: keyof typeof CLOSE_CODES
  readonly error: OperatingError
}

export class Connection implements LaneHost, Flushable, Member {
  rosterIndex = -1
  readonly facts: HandshakeFacts
  readonly tenant: Tenant
  /** Responses that are not stored; made with the first of them. */
  memory: SocketMemory | null = null
  /** When it was opened, when it is pinged next, and since when its socket takes nothing (ms). */
  openedMs = 0
  nextPingMs = 0
  blockedMs = 0
  closedAs: WebSocketClose = 'client'
  readonly #options: ConnectionOptions
  #ws: WebSocket<SocketData> | null = null
  #default: Lane | null = null
  #named: Map<string, Lane> | null = null
  /** The lane whose turn it is to send, and those behind it: nearly always there is one. */
  #next: Lane | null = null
  readonly #ring: Lane[] = []
  #waiting: Lane[] = []
  #inFlight = 0
  #queued = 0
  #queuedBytes = 0
  #isFlushing = false
  #isMarked = false
  #isPumping = false
  /** The socket has room again, and lanes go on behind the handler that said so. */
  #isResuming = false
  /** Something may be queued in uWebSockets.js. */
  #mayBeFull = false
  #retirement: Retirement | null = null
  #sendNow: (() => void) | null = null

  constructor(options: ConnectionOptions, facts: HandshakeFacts, tenant: Tenant) {
    this.#options = options
    this.facts = facts
    this.tenant = tenant
  }

  get isRetired(): boolean {
    return this.#retirement !== null
  }

  opened(ws: WebSocket<SocketData>): void {
    this.#ws = ws
    this.openedMs = this.#options.now()
  }

  /** The socket has gone, for whatever reason: what runs is cancelled. */
  closed(): void {
    this.#ws = null
    for (const lane of this.#lanes()) lane.leave()
    this.memory?.close()
  }

  message(message: ArrayBuffer, isBinary: boolean): void {
    if (message.byteLength > this.#options.frameBytesMax) {
      return this.end('too_big', `a frame has at most ${this.#options.frameBytesMax} bytes`)
    }
    // The message is gone when the handler returns, and the request's body is made of it.
    const bytes = Buffer.from(new Uint8Array(message))
    const { dialect } = this.#options
    if (!isBinary) return this.#heard(readClientFrame(bytes, dialect))
    const frame = this.facts.isMsgpack ? readBinaryFrame(bytes, dialect) : NOT_TEXT
    this.#heard(frame)
  }

  /**
   * The socket takes more. Nothing is sent from inside of this handler: what a long message leaves
   * unwritten there is forgotten, for uWebSockets.js (3.0.6) stops polling for room when the
   * handler returns unless a write failed in it, and the write of a message of 16 KiB and more
   * (`us_socket_write2`) does not count as one (Bun's copy of it: oven-sh/bun #38177). Nor in its
   * microtasks, which run before it returns.
   */
  drained(): void {
    const ws = this.#ws
    if (ws === null || this.blockedMs === 0) return
    this.blockedMs = this.#options.now()
    if (this.#isResuming || ws.getBufferedAmount() > BUFFERED_BYTES_MAX / 2) return
    this.#isResuming = true
    setImmediate(() => this.#resume())
  }

  ping(): void {
    this.#ws?.ping()
  }

  /** Takes no create from now on, and closes once the last lane is done. */
  retire(close: keyof typeof CLOSE_CODES, error: OperatingError): void {
    if (this.#retirement !== null) return
    this.#retirement = { close, error }
    for (const lane of this.#lanes()) {
      for (const turn of lane.turns.splice(0)) this.#fail(error, lane.shape.name, turn)
    }
    this.#waiting = []
    this.#closeIfDone()
  }

  /** Closes with a code that tells the client whether to come back. */
  end(close: keyof typeof CLOSE_CODES, reason: string): void {
    const ws = this.#ws
    if (ws === null) return
    this.closedAs = close
    // The close handler is called inside this call.
    ws.end(CLOSE_CODES[close], reason)
  }

  sendNow(lane: Lane): void {
    const isQuiet = this.#next === null && !this.#isMarked && !this.#isFlushing
    const isOpen = this.#ws !== null && this.blockedMs === 0
    if (!isQuiet || !isOpen || this.#inFlight > 1) return this.mark(lane)
    lane.isMarked = true
    this.#next = lane
    this.flush()
  }

  mark(lane: Lane): void {
    if (this.#ws === null) return
    lane.isMarked = true
    if (this.#next === null) this.#next = lane
    else this.#ring.push(lane)
    if (this.#isMarked || this.#isFlushing || this.blockedMs > 0) return
    this.#isMarked = true
    flushSoon(this)
  }

  say(message: string | Uint8Array): void {
    const ws = this.#ws
    if (ws === null) return
    if (ws.send(message, typeof message !== 'string') === DROPPED) {
      return this.end('overload', 'the client does not read')
    }
    this.#mayBeFull = true
    this.endIfUnread()
  }

  /** Ends a connection on which only answers to noise pile up; lanes see to themselves. */
  endIfUnread(): void {
    if (this.#ws === null || this.#inFlight > 0) return
    if (this.#ws.getBufferedAmount() <= UNREAD_BYTES_MAX) return
    this.end('overload', 'the client does not read')
  }

  erred(code: ErrorCode): void {
    this.#options.erred(code)
  }

  turnOver(lane: Lane): void {
    lane.isRunning = false
    this.#inFlight--
    if (lane.turns.length > 0) this.#waiting.push(lane)
    this.#pump()
    this.#closeIfDone()
  }

  /** Part of Flushable: lanes in turn, until all is sent or the socket is full. */
  flush(): void {
    this.#isMarked = false
    if (this.#ws === null || this.#next === null) return
    // A cork is for several sends; a paced token is one.
    if (this.#ring.length === 0 && this.#next.isShort) return this.#sendRing(false)
    this.#sendNow ??= () => this.#sendRing(true)
    this.#ws.cork(this.#sendNow)
  }

  #resume(): void {
    this.#isResuming = false
    this.blockedMs = 0
    this.flush()
  }

  #sendRing(isCorked: boolean): void {
    this.#isFlushing = true
    for (let lane = this.#next; lane !== null; lane = this.#next) {
      const ws = this.#ws
      if (ws === null) break
      // Beyond its own limit uWebSockets.js would drop a message.
      if (this.#mayBeFull && this.#isFull(ws)) {
        this.blockedMs = this.#options.now()
        break
      }
      this.#next = this.#ring.length === 0 ? null : (this.#ring.shift() ?? null)
      lane.isMarked = false
      const sent = lane.sendOne(ws, isCorked)
      if (sent === 'dropped') {
        this.end('internal', 'a message was lost')
        break
      }
      if (sent === 'queued') this.#mayBeFull = true
      if (lane.hasPieces && !lane.isMarked) this.mark(lane)
    }
    this.#isFlushing = false
  }

  #isFull(ws: WebSocket<SocketData>): boolean {
    const queued = ws.getBufferedAmount()
    this.#mayBeFull = queued > 0
    return queued > BUFFERED_BYTES_MAX
  }

  #heard(frame: ClientFrame): void {
    if (frame.kind === 'noise') return this.#fail(frame.error, null, null)
    if (frame.kind === 'fault') return this.#take(frame.lane, faultTurn(frame.error))
    if (frame.kind === 'cancel') {
      const error = this.#options.cancel(this, frame.responseId)
      return error === null ? undefined : this.#fail(error, frame.lane, null)
    }
    if (this.#retirement !== null) return this.#fail(this.#retirement.error, frame.lane, null)
    this.#take(frame.lane, this.#options.turnOf(this, frame))
  }

  /** Runs a turn, or queues it behind those of its lane. */
  #take(name: string | null, turn: Turn): void {
    const lane = this.#laneOf(name)
    if (lane === null) {
      const message = `a connection has at most ${LANES_MAX} named lanes over its life`
      const error = new OperatingError('websocket_stream_limit_reached', message, 'stream_id')
      return this.#fail(error, name, null)
    }
    const isFree = !lane.isRunning && lane.turns.length === 0
    if (isFree && turn.kind === 'fault') return this.#fail(turn.error, name, null)
    if (!isFree || this.#inFlight >= this.#options.inFlightMax) {
      const isFull = this.#queued >= QUEUED_MAX || this.#queuedBytes + turn.bytes > QUEUED_BYTES_MAX
      if (isFull) {
        const limits = `${QUEUED_MAX} requests or ${QUEUED_BYTES_MAX} bytes`
        const message = `at most ${limits} wait on one connection`
        return this.#fail(new OperatingError('websocket_queue_full', message), name, null)
      }
    }
    lane.turns.push(turn)
    this.#queued++
    this.#queuedBytes += turn.bytes
    if (isFree) this.#waiting.push(lane)
    this.#pump()
  }

  /** Starts what may start, in the order in which it came. */
  #pump(): void {
    // A turn may be over before its start returns; the loop below goes on, not a deeper call.
    if (this.#isPumping) return
    this.#isPumping = true
    while (this.#waiting.length > 0 && this.#inFlight < this.#options.inFlightMax) {
      const lane = this.#waiting.shift()
      const turn = lane?.turns.shift()
      if (lane === undefined || turn === undefined) continue
      this.#queued--
      this.#queuedBytes -= turn.bytes
      lane.isRunning = true
      this.#inFlight++
      lane.run(turn)
    }
    this.#isPumping = false
  }

  #laneOf(name: string | null): Lane | null {
    const form = this.facts.isMsgpack ? FRAME_MSGPACK : FRAME_TEXT
    if (name === null) {
      this.#default ??= new Lane(frameShape(null, form), this)
      return this.#default
    }
    this.#named ??= new Map()
    const known = this.#named.get(name)
    if (known !== undefined || this.#named.size >= LANES_MAX) return known ?? null
    const lane = new Lane(frameShape(name, form), this)
    this.#named.set(name, lane)
    return lane
  }

  #lanes(): Lane[] {
    const named = this.#named === null ? [] : [...this.#named.values()]
    return this.#default === null ? named : [this.#default, ...named]
  }

  /** Says an error at once; `turn` is what waited and now does not. */
  #fail(error: OperatingError, name: string | null, turn: Turn | null): void {
    if (turn !== null) {
      this.#queued--
      this.#queuedBytes -= turn.bytes
    }
    this.#options.erred(error.code)
    const form = this.facts.isMsgpack ? FRAME_MSGPACK : FRAME_TEXT
    this.say(ownMessage(frameShape(name, form), errorFrame(error, name)))
  }

  #closeIfDone(): void {
    if (this.#retirement === null || this.#inFlight > 0) return
    this.end(this.#retirement.close, this.#retirement.error.message)
  }
}

const NOT_TEXT: ClientFrame = {
  kind: 'noise',
  error: new OperatingError(
    'invalid_request',
    'send text frames; binary ones need the subprotocol warmpath.msgpack',
  ),
}
