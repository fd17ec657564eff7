/**
 * A lane of a WebSocket: the reader of one response at a time, one after the other.
 *
 *     turn ──► exchange ──► log ──onBytes──► pieces of whole events ──sendOne──► socket
 *                                               │ too many: "no more", the log keeps the rest
 *                                               └── all sent: log.ready(lane)
 *
 * A piece is a stretch of whole events, exactly as the node sent it: where it is not sent at once,
 * a copy of the chunk, which is only lent. Messages are made when the socket takes them
 * (frame_sender.ts), so a lane that waits for its turn costs no work.
 *
 * A turn is over when its log has ended and its last message has gone to the socket; only then
 * does the lane's next one start. What it does badly: an event is held until it is whole, so one
 * of 16 MiB takes 16 MiB.
 */
import { errorFrame, refusalFrame } from '../api/ws_errors.ts'
import type { ErrorCode } from '../errors.ts'
import { OperatingError } from '../errors.ts'
import type { Asker } from '../exchange/asker.ts'
import type { Exchange } from '../exchange/exchange.ts'
import type { Follow } from '../responses/log_owner.ts'
import { isEventStream, type LogEnd, type LogHead } from '../responses/log_reader.ts'
import type { RefusedReader } from '../responses/remote_reader.ts'
import type { ResponseLog } from '../responses/response_log.ts'
import type { FrameShape, Progress, Sent } from './frame_sender.ts'
import { ownMessage, sendQuantum } from './frame_sender.ts'

/** Bytes of events that wait in a lane for the socket; beyond it the log keeps the rest. */
export const LANE_BYTES_MAX = 262_144

/** Bytes of one event, or of a reply that is no stream: held until they are whole. */
export const EVENT_BYTES_MAX = 16 * 2 ** 20

/** A piece of a token or two (bytes): longer ones fill the cork of uWebSockets.js. */
const SHORT_BYTES_MAX = 1024

const EMPTY = new Uint8Array(0)

/** What a lane runs: a response to be asked or read, or the error that stands in its place. */
export type Turn =
  | {
      readonly kind: 'run'
      readonly bytes: number
      /** It is the stream of a chat, which ends with `[DONE]` whatever socket it is read on. */
      readonly tellsDone: boolean
      start(lane: Lane): OperatingError | null
      /** All of it has gone to the socket; `isFailed`: an error stood in its place. */
      over?(isFailed: boolean): void
    }
  | { readonly kind: 'fault'; readonly bytes: number; readonly error: OperatingError }

export function faultTurn(error: OperatingError): Turn {
  return { kind: 'fault', bytes: 0, error }
}

/** Where a lane's response comes from. */
interface Source {
  leave(): void
  ready(): void
}

/** The connection as its lanes see it. */
export interface LaneHost {
  /** The lane has something to send. */
  mark(lane: Lane): void
  /** As `mark`, but sends it at once where it is the only lane at work. */
  sendNow(lane: Lane): void
  /** Sends a message of the gateway's own. */
  say(message: string | Uint8Array): void
  /** Counts an error of the gateway's own. */
  erred(code: ErrorCode): void
  /** The turn is over: the next one may start. */
  turnOver(lane: Lane): void
}

type Socket = Parameters<typeof sendQuantum>[0]

export class Lane implements Asker {
  readonly shape: FrameShape
  /** Creates that wait, oldest first. */
  readonly turns: Turn[] = []
  isRunning = false
  /** In the connection's ring of lanes that have something to send. */
  isMarked = false
  readonly #host: LaneHost
  #source: Source | null = null
  #log: ResponseLog | null = null
  /** Status of a reply that is no stream; 0 for a stream. */
  #status = 0
  /** The piece that is sent, and those behind it: nearly always there is one. */
  #piece: Uint8Array | null = null
  readonly #morePieces: Uint8Array[] = []
  #pendingBytes = 0
  readonly #progress: Progress = { at: 0, number: 0, tellsDone: false }
  /** Pieces of an event, or of a reply that is no stream, whose end has not come. */
  #held: Uint8Array[] = []
  #heldBytes = 0
  #isLagging = false
  #isEnded = false
  #over: ((isFailed: boolean) => void) | null = null
  /** Sent behind the last event. */
  #lastWords: string | null = null

  constructor(shape: FrameShape, host: LaneHost) {
    this.shape = shape
    this.#host = host
  }

  get isLagging(): boolean {
    return this.#isLagging
  }

  /** Starts a turn; it may be over before this returns. */
  run(turn: Turn): void {
    this.#isEnded = false
    this.#status = 0
    this.#progress.at = 0
    this.#progress.number = 0
    this.#progress.tellsDone = turn.kind === 'run' && turn.tellsDone
    this.#held = []
    this.#heldBytes = 0
    this.#over = turn.kind === 'run' ? (isFailed: boolean) => turn.over?.(isFailed) : null
    const error = turn.kind === 'fault' ? turn.error : turn.start(this)
    if (error === null) return
    this.#host.erred(error.code)
    this.refuse(error)
  }

  /** Reads what an exchange of this thread gets; part of the start of a turn. */
  ask(exchange: Exchange): void {
    this.#source = {
      leave: () => exchange.leave(),
      ready: () => this.#log?.ready(this),
    }
    exchange.start()
  }

  /** Reads a log of any thread, whose next event has a number; part of the start of a turn. */
  join(follow: Follow, number: number): RefusedReader | null {
    this.#progress.number = number
    const got = follow(this)
    if (typeof got === 'string') return got
    this.#source = { leave: () => got.detach(), ready: () => got.ready() }
    return null
  }

  /** Says something of the gateway's own in this lane, at once. */
  say(words: string): void {
    this.#host.say(ownMessage(this.shape, words))
  }

  /** The socket has gone: what runs is cancelled. */
  leave(): void {
    this.#piece = null
    this.#morePieces.length = 0
    this.#held = []
    this.#source?.leave()
    this.#over?.(true)
  }

  /** Part of Asker: nothing was sent and nothing will come. */
  refuse(error: OperatingError): void {
    this.#finish(errorFrame(error, this.shape.name))
  }

  /** Part of Asker. */
  follow(log: ResponseLog): void {
    this.#log = log
    log.attach(this)
  }

  onHead(head: LogHead): void {
    this.#status = isEventStream(head) ? 0 : head.status
  }

  onBytes(chunk: Uint8Array, wholeEnd: number, _classes: number): boolean {
    if (this.#isEnded) return false
    if (this.#status > 0) return this.#hold(Buffer.from(chunk))
    if (wholeEnd > 0) this.#lend(wholeEnd === chunk.length ? chunk : chunk.subarray(0, wholeEnd))
    if (wholeEnd < chunk.length && !this.#hold(Buffer.from(chunk.subarray(wholeEnd)))) return false
    this.#isLagging = this.#pendingBytes >= LANE_BYTES_MAX
    return !this.#isLagging
  }

  onEnd(end: LogEnd): void {
    if (this.#isEnded) return
    this.#finish(this.#endWords(end))
  }

  get hasPieces(): boolean {
    return this.#piece !== null
  }

  /** What waits is most likely one event. */
  get isShort(): boolean {
    const { length } = this.#piece ?? EMPTY
    const isOnly = length > 0 && this.#morePieces.length === 0 && !this.#isEnded
    return isOnly && length <= SHORT_BYTES_MAX
  }

  /** Sends a quantum of what waits; called by the connection in turn with its other lanes. */
  sendOne(ws: Socket, isCorked: boolean): Sent {
    const piece = this.#piece
    let sent: Sent = 'sent'
    if (piece !== null) {
      sent = sendQuantum(ws, this.shape, piece, this.#progress, isCorked)
      if (sent === 'dropped') return sent
      if (this.#progress.at >= piece.length) {
        this.#piece = this.#morePieces.length === 0 ? null : (this.#morePieces.shift() ?? null)
        this.#pendingBytes -= piece.length
        this.#progress.at = 0
      }
    }
    if (this.#piece === null) this.#drained()
    return sent
  }

  /** Sends what is valid during this call only, or a copy of it later. */
  #lend(bytes: Uint8Array): void {
    if (this.#heldBytes > 0) {
      const piece = Buffer.concat([...this.#held, bytes])
      this.#held = []
      this.#heldBytes = 0
      return this.#take(piece)
    }
    if (this.isMarked || this.#piece !== null) return this.#take(Buffer.from(bytes))
    this.#piece = bytes
    this.#pendingBytes += bytes.length
    this.#host.sendNow(this)
    if (this.#piece !== null) this.#piece = Buffer.from(bytes)
  }

  #take(piece: Uint8Array): void {
    if (this.#piece === null) this.#piece = piece
    else this.#morePieces.push(piece)
    this.#pendingBytes += piece.length
    if (!this.isMarked) this.#host.mark(this)
  }

  /** Keeps the beginning of what is not whole yet. */
  #hold(bytes: Uint8Array): boolean {
    this.#held.push(bytes)
    this.#heldBytes += bytes.length
    if (this.#heldBytes <= EVENT_BYTES_MAX) return true
    const message = `the node sent an event of more than ${EVENT_BYTES_MAX} bytes`
    this.#held = []
    this.#heldBytes = 0
    this.#finish(errorFrame(new OperatingError('upstream_error', message), this.shape.name))
    this.#source?.leave()
    return false
  }

  /** What is said at the end of a log, if anything, behind the events. */
  #endWords(end: LogEnd): string | null {
    const { name } = this.shape
    if (end.kind === 'failed') {
      // `response.failed` has said it, and is the last message.
      if (end.isTold === true) return null
      return errorFrame(new OperatingError('upstream_error', end.reason), name)
    }
    if (end.kind === 'cut') {
      const message = 'this lane was too far behind its response'
      return errorFrame(new OperatingError('slow_down', message), name)
    }
    if (end.kind === 'cancelled') {
      return errorFrame(new OperatingError('cancelled', 'the request was cancelled'), name)
    }
    const body = Buffer.concat(this.#held)
    this.#held = []
    this.#heldBytes = 0
    if (this.#status >= 400) return refusalFrame(this.#status, body, name)
    // A reply that is no stream is one event; a stream's last event may lack its empty line.
    if (this.#status > 0) this.#take(asEvent(body))
    else if (body.length > 0) this.#take(body)
    return null
  }

  #finish(words: string | null): void {
    this.#isEnded = true
    this.#lastWords = words
    if (!this.isMarked) this.#host.mark(this)
  }

  /** Everything has gone to the socket: asks the log for more, or ends the turn. */
  #drained(): void {
    if (this.#isEnded) {
      const words = this.#lastWords
      this.#lastWords = null
      this.#source = null
      this.#log = null
      this.#isLagging = false
      if (words !== null) this.say(words)
      const over = this.#over
      this.#over = null
      over?.(words !== null)
      this.#host.turnOver(this)
      return
    }
    if (!this.#isLagging) return
    this.#isLagging = false
    this.#source?.ready()
  }
}

/** A JSON body as one event; line ends in JSON are white space between its tokens. */
function asEvent(body: Buffer): Buffer {
  const text = body.toString('utf8').replaceAll(/[\r\n]/g, ' ')
  return Buffer.from(`data: ${text}\n\n`)
}
