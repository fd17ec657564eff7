/**
 * One (node, rank) on the KV-event thread: its sockets, its place in the stream, and what its
 * events mean, tied together.
 *
 *     LiveSocket ──frames──► Subscriber ──in order──► decode ► Interpreter ► SlotIndex (one native
 *     ReplaySocket ─frames─►     │                                            call a batch)
 *          ▲── startReplay ──────┘ ── restart ──────────────────────────────► drop all blocks
 *
 * Replays of all sources pass one gate, so that a start of many nodes does not ask all of them
 * at once. A replay that waits at the gate holds its live frames back, in the subscriber's bounds.
 */
import type { KvSubscription } from '../kv_feed.ts'
import { decodeBatch } from './decode.ts'
import { Interpreter } from './interpreter.ts'
import type { Frame } from './known_batches.ts'
import type { SourceReport } from './protocol.ts'
import type { SlotIndex } from './slot_index.ts'
import { LiveSocket, ReplaySocket, type ZmqModule } from './sockets.ts'
import { type Applied, Subscriber } from './subscriber.ts'

/** Replays that run at once on the thread: bounds the memory of their replies. */
export const REPLAYS_AT_ONCE_MAX = 8

/** Lets a bounded number of replays run; others wait their turn. */
export class ReplayGate {
  readonly #waiting = new Set<() => void>()
  #running = 0

  /** Runs `start` now or later; returns what gives the turn back, or takes the request back. */
  enter(start: () => void): () => void {
    let isInside = false
    const begin = (): void => {
      isInside = true
      this.#running++
      start()
    }
    if (this.#running < REPLAYS_AT_ONCE_MAX) begin()
    else this.#waiting.add(begin)
    return () => {
      this.#waiting.delete(begin)
      if (!isInside) return
      isInside = false
      this.#running--
      const [next] = this.#waiting
      if (next === undefined) return
      this.#waiting.delete(next)
      next()
    }
  }
}

export interface SourceOptions {
  readonly subscription: KvSubscription
  readonly zmq: ZmqModule
  readonly gate: ReplayGate
  readonly index: SlotIndex
  /** The report has changed in a way that the fleet must know. */
  readonly onChange: (report: SourceReport) => void
}

export class Source {
  readonly #options: SourceOptions
  readonly #subscriber: Subscriber
  readonly #interpreter: Interpreter
  /** Sockets that are closing, awaited before the source is gone. */
  readonly #closing: Set<Promise<void>>
  #live: LiveSocket | null
  #replay: ReplaySocket | null
  #leaveGate: () => void
  #isConnected: boolean
  #malformedMessages: number
  #restartsTold: number
  #overfull: number
  #stateTold: SourceReport['state'] | null

  constructor(options: SourceOptions) {
    this.#options = options
    const { subscription, index } = options
    this.#interpreter = new Interpreter(subscription.blockSize, (adapter, salt) =>
      index.rootOf(adapter, salt),
    )
    this.#subscriber = new Subscriber(
      {
        apply: frame => this.#apply(frame),
        dropBlocks: () => this.#dropBlocks(),
        startReplay: seq => this.#startReplay(seq),
        stopReplay: () => this.#stopReplay(),
      },
      subscription.replayEndpoint !== null,
    )
    this.#closing = new Set()
    this.#live = null
    this.#replay = null
    this.#leaveGate = () => {}
    this.#isConnected = false
    this.#malformedMessages = 0
    this.#restartsTold = 0
    this.#overfull = 0
    this.#stateTold = null
  }

  /** Throws when the endpoint is none, or is taken. */
  async open(): Promise<void> {
    const { zmq, subscription } = this.#options
    this.#live = await LiveSocket.open(zmq, subscription.endpoint, subscription.binds, {
      frame: frame => {
        this.#subscriber.live(frame)
        this.#tellIfChanged()
      },
      malformed: () => this.#malformedMessages++,
      connected: () => {
        this.#isConnected = true
        this.#subscriber.connected()
        this.#tellIfChanged()
      },
      disconnected: () => {
        this.#isConnected = false
        this.#subscriber.disconnected()
        this.#tellIfChanged()
      },
    })
  }

  /**
   * The node's blocks are known to be gone (reset, sleep): the engine says so only later. Who knew
   * it forgot the predictions at that moment; those made since are of requests that came after it.
   */
  clear(): void {
    this.#options.index.dropBlocks()
  }

  /** Closes and awaits every socket; the blocks are dropped with the slot. */
  async close(): Promise<void> {
    this.#stopReplay()
    await this.#live?.close()
    await Promise.all(this.#closing)
    this.#options.index.remove()
  }

  report(): SourceReport {
    const { counts } = this.#subscriber
    const { duplicates, gaps, replays, restarts } = counts
    const malformedMessages = this.#malformedMessages
    return {
      slot: this.#options.subscription.slot,
      state: this.#state(),
      isConnected: this.#isConnected,
      isJoined: this.#subscriber.isJoined,
      restarted: counts.restarts > this.#restartsTold,
      lastSeq: this.#subscriber.last,
      counters: {
        ...this.#interpreter.counts,
        skipped: { ...this.#interpreter.counts.skipped },
        malformedMessages,
        duplicates,
        gaps,
        replays,
        restarts,
        overfull: this.#overfull,
      },
    }
  }

  #state(): SourceReport['state'] {
    // A node that announces nothing is as good as one without events, whatever it promised.
    if (this.#interpreter.counts.storedBlocks === 0) return 'none'
    return this.#isConnected && !this.#subscriber.isDegraded ? 'live' : 'degraded'
  }

  #tellIfChanged(): void {
    const state = this.#state()
    const isRestarted = this.#subscriber.counts.restarts > this.#restartsTold
    if (state === this.#stateTold && !isRestarted) return
    const report = this.report()
    this.#stateTold = state
    this.#restartsTold = this.#subscriber.counts.restarts
    this.#options.onChange(report)
  }

  #apply(frame: Frame): Applied {
    const { index } = this.#options
    const applied = this.#interpreter.apply(decodeBatch(frame.payload), index)
    index.flush()
    return this.#isOverfull() ? 'lost' : applied
  }

  /**
   * More blocks than the rank has: removals were lost, and nobody knows which. All are dropped,
   * and what is stored from now on is true again. It is not replayed: were the engine's own count
   * wrong, that would go on for ever.
   */
  #isOverfull(): boolean {
    const { index, subscription } = this.#options
    if (subscription.blockCount === 0 || index.heldBlocks() <= subscription.blockCount) return false
    index.dropBlocks()
    this.#overfull++
    return true
  }

  #dropBlocks(): void {
    this.#interpreter.restart()
    this.#options.index.restart()
  }

  #startReplay(seq: number): void {
    this.#stopReplay()
    const { replayEndpoint } = this.#options.subscription
    if (replayEndpoint === null) return
    this.#leaveGate = this.#options.gate.enter(() => {
      const own = new ReplaySocket(this.#options.zmq, replayEndpoint, seq, {
        frame: frame => this.#subscriber.replayed(frame),
        ended: () => this.#replayOver(own, () => this.#subscriber.replayEnded()),
        silent: () => this.#replayOver(own, () => this.#subscriber.replaySilent()),
        malformed: () => this.#malformedMessages++,
      })
      this.#replay = own
    })
  }

  #replayOver(own: ReplaySocket, tell: () => void): void {
    if (this.#replay !== own) return
    this.#stopReplay()
    tell()
    this.#tellIfChanged()
  }

  #stopReplay(): void {
    this.#leaveGate()
    this.#leaveGate = () => {}
    const replay = this.#replay
    this.#replay = null
    if (replay === null) return
    const closing = replay.close().finally(() => this.#closing.delete(closing))
    this.#closing.add(closing)
  }
}
