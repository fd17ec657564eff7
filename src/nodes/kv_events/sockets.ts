/**
 * The ZeroMQ sockets of one (node, rank): SUB for the live stream, a DEALER for each replay.
 *
 *     SUB     [topic][seq: 8 bytes, big-endian][payload]
 *     DEALER  ["", start seq]  ──►
 *             ◄── ["", seq, payload] up to 0.25, ["", topic, seq, payload] from 0.26
 *             ◄── end marker: the seq is ff x 8, the payload empty
 *
 * SUB drops silently at its high-water mark, so that is far away and the read loop does nothing but
 * hand frames on. Replies are read without pause and without a mark: the engine's ROUTER drops what
 * a slow reader leaves, its end marker included. Silence is taken for a cut, by the idle time.
 * A fresh DEALER per replay means that late replies of an earlier one meet nobody.
 *
 * zeromq is an optional dependency and loaded on the first use. Every socket is closed and its loop
 * awaited before the thread may end (zeromq.js #411: the process crashes otherwise).
 */
import type * as Zmq from 'zeromq'
import { peekTs } from './decode.ts'
import type { Frame } from './known_batches.ts'

export type ZmqModule = typeof Zmq

/** Live messages that ZeroMQ may queue for us: some seconds of a busy engine, 1.5 kB each. */
export const LIVE_MESSAGES_MAX = 200_000
/** Milliseconds of silence after which a replay is taken to be cut (its publisher polls at 100). */
export const REPLAY_IDLE_MS = 2_000
/** Bytes of one message; a batch of a full prefill is some 100 kB. */
export const MESSAGE_BYTES_MAX = 64 * 2 ** 20
/** Milliseconds between attempts to connect, at first and at most: a restart is met quickly. */
const RECONNECT_MS = 100
const RECONNECT_MS_MAX = 1_000
/** Milliseconds between heartbeats, and of silence after which a half-open connection is closed. */
const HEARTBEAT_MS = 5_000
const HEARTBEAT_TIMEOUT_MS = 15_000

const SEQ_BYTES = 8
const END_MARKER = Buffer.alloc(SEQ_BYTES, 0xff)
const EMPTY = Buffer.alloc(0)

export interface LiveHandlers {
  frame(frame: Frame): void
  malformed(): void
  connected(): void
  disconnected(): void
}

export interface ReplayHandlers {
  frame(frame: Frame): void
  ended(): void
  /** Cut, or not answered at all. */
  silent(): void
  malformed(): void
}

/** Loads zeromq, or says in words what is missing. */
export async function loadZmq(): Promise<ZmqModule | string> {
  try {
    return await import('zeromq')
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    return `KV events need the optional package "zeromq" (npm install zeromq): ${reason}`
  }
}

/** The sequence of 8 bytes; -1 when they are none that an engine reaches. */
function seqOf(bytes: Uint8Array): number {
  if (bytes.length !== SEQ_BYTES) return -1
  const view = new DataView(bytes.buffer, bytes.byteOffset, SEQ_BYTES)
  const seq = view.getUint32(0) * 2 ** 32 + view.getUint32(4)
  return Number.isSafeInteger(seq) ? seq : -1
}

function frameOf(seqBytes: Uint8Array, payload: Uint8Array): Frame | null {
  const seq = seqOf(seqBytes)
  return seq < 0 ? null : { seq, ts: peekTs(payload), payload }
}

/** One reply of a replay, of either era: a frame, the end, or nothing that we know. */
export function parseReply(frames: readonly Uint8Array[]): Frame | 'end' | 'malformed' {
  const parts = frames[0]?.length === 0 ? frames.slice(1) : frames
  const [seqBytes, payload] = parts.length === 3 ? parts.slice(1) : parts
  if (parts.length < 2 || parts.length > 3) return 'malformed'
  if (seqBytes === undefined || payload === undefined) return 'malformed'
  if (payload.length === 0 && END_MARKER.equals(seqBytes)) return 'end'
  return frameOf(seqBytes, payload) ?? 'malformed'
}

/**
 * null when the socket is closed, or its receive timeout has passed. A read that zeromq has put off
 * (it does so every 512 messages) ends with ENOTSOCK when the socket is closed meanwhile, and must
 * have ended before the thread may: `for await` would throw here.
 */
async function receive(socket: Zmq.Subscriber | Zmq.Dealer): Promise<Buffer[] | null> {
  try {
    return await socket.receive()
  } catch (error) {
    const isTimeout = error instanceof Error && 'code' in error && error.code === 'EAGAIN'
    if (socket.closed || isTimeout) return null
    throw error
  }
}

export class LiveSocket {
  readonly #socket: Zmq.Subscriber
  readonly #loops: readonly Promise<void>[]

  /** `binds`: engines connect to us. Throws when the endpoint is none, or is taken. */
  static async open(
    zmq: ZmqModule,
    endpoint: string,
    binds: boolean,
    handlers: LiveHandlers,
  ): Promise<LiveSocket> {
    const socket = new zmq.Subscriber({
      receiveHighWaterMark: LIVE_MESSAGES_MAX,
      maxMessageSize: MESSAGE_BYTES_MAX,
      linger: 0,
      reconnectInterval: RECONNECT_MS,
      reconnectMaxInterval: RECONNECT_MS_MAX,
      heartbeatInterval: HEARTBEAT_MS,
      heartbeatTimeout: HEARTBEAT_TIMEOUT_MS,
    })
    const own = new LiveSocket(socket, handlers)
    try {
      // The topic is free text; a node is known by its connection.
      socket.subscribe('')
      if (binds) await socket.bind(endpoint)
      else socket.connect(endpoint)
    } catch (error) {
      await own.close()
      throw error
    }
    return own
  }

  private constructor(socket: Zmq.Subscriber, handlers: LiveHandlers) {
    this.#socket = socket
    this.#loops = [this.#read(handlers), this.#watch(handlers)]
  }

  async close(): Promise<void> {
    if (!this.#socket.closed) this.#socket.close()
    await Promise.all(this.#loops)
  }

  /**
   * Read by hand, not as an emitter: that one leaves its last read unhandled when it closes, and
   * a monitor that is still read when its thread ends takes the process with it. It must not be
   * closed before its socket either, which then waits for a reader. It ends by its own last event.
   */
  async #watch(handlers: LiveHandlers): Promise<void> {
    const monitor = this.#socket.events
    for (;;) {
      const { type } = await monitor.receive()
      if (type === 'end') return
      // A handshake, not a mere connection: only then is there a ZeroMQ peer at the other end.
      if (type === 'handshake') handlers.connected()
      if (type === 'disconnect') handlers.disconnected()
    }
  }

  async #read(handlers: LiveHandlers): Promise<void> {
    for (;;) {
      const frames = await receive(this.#socket)
      if (this.#socket.closed) return
      if (frames === null) continue
      const [, seqBytes, payload] = frames
      const frame =
        frames.length === 3 && seqBytes !== undefined && payload !== undefined
          ? frameOf(seqBytes, payload)
          : null
      if (frame === null) handlers.malformed()
      else handlers.frame(frame)
    }
  }
}

/** One replay: asks once, reads to the end marker, to silence, or until closed. */
export class ReplaySocket {
  readonly #socket: Zmq.Dealer
  readonly #loop: Promise<void>
  #isClosed: boolean

  constructor(zmq: ZmqModule, endpoint: string, from: number, handlers: ReplayHandlers) {
    this.#isClosed = false
    this.#socket = new zmq.Dealer({
      receiveHighWaterMark: 0,
      maxMessageSize: MESSAGE_BYTES_MAX,
      linger: 0,
      receiveTimeout: REPLAY_IDLE_MS,
      sendTimeout: REPLAY_IDLE_MS,
      reconnectInterval: RECONNECT_MS,
    })
    this.#loop = this.#run(endpoint, from, handlers)
  }

  async close(): Promise<void> {
    this.#isClosed = true
    if (!this.#socket.closed) this.#socket.close()
    await this.#loop
  }

  async #run(endpoint: string, from: number, handlers: ReplayHandlers): Promise<void> {
    const isWhole = (await this.#ask(endpoint, from)) && (await this.#read(handlers))
    if (!this.#socket.closed) this.#socket.close()
    if (this.#isClosed) return
    if (isWhole) handlers.ended()
    else handlers.silent()
  }

  async #ask(endpoint: string, from: number): Promise<boolean> {
    try {
      this.#socket.connect(endpoint)
      const start = Buffer.alloc(SEQ_BYTES)
      start.writeBigUInt64BE(BigInt(from))
      await this.#socket.send([EMPTY, start])
      return true
    } catch {
      // A bad endpoint, or closed from outside: no answer will come.
      return false
    }
  }

  /** True at the end marker, false when nothing more came or a reply makes no sense. */
  async #read(handlers: ReplayHandlers): Promise<boolean> {
    while (!this.#isClosed) {
      const frames = await receive(this.#socket)
      // A frame may end this replay (a restart was seen): nothing more of it is handed on.
      if (frames === null || this.#isClosed) return false
      const reply = parseReply(frames)
      if (reply === 'end') return true
      if (reply === 'malformed') {
        handlers.malformed()
        return false
      }
      handlers.frame(reply)
    }
    return false
  }
}
