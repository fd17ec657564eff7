/**
 * The two ZeroMQ sockets of one rank: PUB for live batches, ROUTER for replay.
 *
 *   batch ──► ring (buffer_steps) ──► PUB  [topic][seq: 8 bytes, big-endian][payload]
 *               ▲
 *   DEALER ["", start seq] ──► ROUTER ──► every kept batch with seq ≥ start, then the end marker
 *
 *   replay frames up to 0.25   ["", seq, payload] …        ["", ff × 8, ""]
 *                 from 0.26    ["", topic, seq, payload] … ["", "", ff × 8, ""]
 *
 * A start older than the ring silently begins at the oldest kept batch, a start in the future gives
 * the end marker alone, and a request without its empty delimiter is not answered: as vLLM does.
 *
 * Faults sit here, in the order in which a batch passes: dropped, delayed or doubled on the live
 * socket (the ring always has it), and a replay that ends without its marker.
 *
 * There is no timer; both sockets are idle until a batch or a request comes. Sends are chained,
 * because a ZeroMQ socket takes one at a time; PUB never waits for a slow subscriber.
 */
import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { Publisher, Router } from 'zeromq'
import type { EventEncoder, WireEvent } from './event_encoding.ts'
import type { KvEvent } from './kv_cache.ts'

const SEQ_BYTES = 8
const END_MARKER = Buffer.alloc(SEQ_BYTES, 0xff)
const EMPTY = Buffer.alloc(0)
/** Tries to find neighbouring free ports for the ranks of a node, or to get a fixed one back. */
const BIND_TRIES_MAX = 40
const BIND_RETRY_MS = 25

interface Batch {
  readonly seq: number
  readonly payload: Buffer
}

export interface PublisherOptions {
  readonly rank: number
  readonly encoder: EventEncoder
  readonly topic: string
  /** Batches kept for replay. */
  readonly ringBatchesMax: number
  /** Whether replay replies carry the topic (0.26 and later). */
  readonly hasTopicInReplay: boolean
}

/** What the live socket does to the next batches; counts fall to zero. */
export interface LiveFaults {
  drop: number
  duplicate: number
  /** Batches held back until `flushDelayed`, or until the count is used up. */
  delay: number
}

export class EventPublisher {
  readonly faults: LiveFaults
  /** Replays end after this many batches without the marker; -1 for never. */
  replayCutAfter: number
  private readonly options: PublisherOptions
  private readonly live: Publisher
  private readonly replay: Router
  private readonly topic: Buffer
  private ring: Batch[]
  private nextSeq: number
  private mutedBelow: number
  private delayed: Batch[]
  private outbox: Batch[]
  private isSending: boolean
  private isClosed: boolean

  constructor(options: PublisherOptions) {
    this.options = options
    this.faults = { drop: 0, duplicate: 0, delay: 0 }
    this.replayCutAfter = -1
    this.live = new Publisher({ linger: 0, sendHighWaterMark: 100_000 })
    this.replay = new Router({ linger: 0, sendHighWaterMark: 0 })
    this.topic = Buffer.from(options.topic, 'utf8')
    this.ring = []
    this.nextSeq = 0
    this.mutedBelow = 0
    this.delayed = []
    this.outbox = []
    this.isSending = false
    this.isClosed = false
  }

  /** Sequence number of the next batch. */
  get seq(): number {
    return this.nextSeq
  }

  async bind(live: string, replay: string): Promise<{ live: string; replay: string }> {
    await this.live.bind(live)
    await this.replay.bind(replay)
    void this.serveReplay()
    const endpoints = { live: this.live.lastEndpoint, replay: this.replay.lastEndpoint }
    assert(endpoints.live !== null && endpoints.replay !== null)
    return { live: endpoints.live, replay: endpoints.replay }
  }

  publish(events: readonly (KvEvent | WireEvent)[]): void {
    const { encoder, rank, ringBatchesMax } = this.options
    const payload = encoder.batch(Date.now() / 1000, events, rank)
    const batch = { seq: this.nextSeq++, payload }
    this.ring.push(batch)
    // Cut in halves, so that a full ring costs one move a batch on average.
    if (this.ring.length >= 2 * ringBatchesMax)
      this.ring.splice(0, this.ring.length - ringBatchesMax)
    if (batch.seq >= this.mutedBelow) this.sendLive(batch)
  }

  /** Batches below this number reach the ring only: nobody was connected when they were sent. */
  muteBelow(seq: number): void {
    this.mutedBelow = seq
  }

  /** Sends what was held back; oldest last when `isReversed`. */
  flushDelayed(isReversed = false): void {
    const held = this.delayed
    this.delayed = []
    this.faults.delay = 0
    this.send(isReversed ? held.toReversed() : held)
  }

  close(): void {
    if (this.isClosed) return
    this.isClosed = true
    this.live.close()
    this.replay.close()
  }

  private sendLive(batch: Batch): void {
    const { faults } = this
    if (faults.drop > 0) {
      faults.drop--
      return
    }
    if (faults.delay > 0) {
      this.delayed.push(batch)
      if (--faults.delay === 0) this.flushDelayed()
      return
    }
    if (faults.duplicate > 0) {
      faults.duplicate--
      this.send([batch, batch])
      return
    }
    this.send([batch])
  }

  private send(batches: readonly Batch[]): void {
    this.outbox.push(...batches)
    if (!this.isSending) void this.drainOutbox()
  }

  private async drainOutbox(): Promise<void> {
    this.isSending = true
    for (let batch = this.outbox.shift(); batch !== undefined; batch = this.outbox.shift()) {
      if (this.isClosed) break
      try {
        await this.live.send([this.topic, seqBytes(batch.seq), batch.payload])
      } catch {
        // The socket was closed under the send; the last batches of a dying node are lost.
        break
      }
    }
    this.isSending = false
  }

  private kept(): Batch[] {
    return this.ring.slice(-this.options.ringBatchesMax)
  }

  private async serveReplay(): Promise<void> {
    try {
      for await (const [identity, delimiter, start, ...rest] of this.replay) {
        if (identity === undefined || delimiter === undefined || start === undefined) continue
        if (delimiter.length > 0 || rest.length > 0 || start.length === 0) continue
        await this.answerReplay(identity, readSeq(start))
      }
    } catch (error) {
      if (!this.isClosed) throw error
    }
  }

  private async answerReplay(identity: Buffer, start: number): Promise<void> {
    const head = this.options.hasTopicInReplay ? [identity, EMPTY, this.topic] : [identity, EMPTY]
    let left = this.replayCutAfter
    for (const { seq, payload } of this.kept()) {
      if (seq < start) continue
      if (left-- === 0) return
      await this.replay.send([...head, seqBytes(seq), payload])
    }
    if (left === 0) return
    const end = this.options.hasTopicInReplay ? [identity, EMPTY, EMPTY] : [identity, EMPTY]
    await this.replay.send([...end, END_MARKER, EMPTY])
  }
}

function seqBytes(seq: number): Buffer {
  const bytes = Buffer.allocUnsafe(SEQ_BYTES)
  bytes.writeBigUInt64BE(BigInt(seq))
  return bytes
}

/** A start seq of any length is read, as the engine does. */
function readSeq(bytes: Buffer): number {
  let seq = 0
  for (const byte of bytes) seq = seq * 256 + byte
  return seq
}

/** The publishers of a node and the addresses they are bound to, by rank. */
export interface BoundRanks {
  readonly publishers: readonly EventPublisher[]
  readonly live: readonly string[]
  readonly replay: readonly string[]
}

/** Binds the publishers of a node's ranks; rank r listens at the port of rank 0 plus r. */
export async function bindRanks(
  make: (rank: number) => EventPublisher,
  ranks: number,
  host: string,
  ports: { readonly live: number; readonly replay: number },
): Promise<BoundRanks> {
  for (let tries = 1; ; tries++) {
    const publishers: EventPublisher[] = []
    const live: string[] = []
    const replay: string[] = []
    try {
      for (let rank = 0; rank < ranks; rank++) {
        const publisher = make(rank)
        publishers.push(publisher)
        const liveAt = address(host, ports.live, live[0], rank)
        const replayAt = address(host, ports.replay, replay[0], rank)
        const bound = await publisher.bind(liveAt, replayAt)
        live.push(bound.live)
        replay.push(bound.replay)
      }
      return { publishers, live, replay }
    } catch (error) {
      for (const publisher of publishers) publisher.close()
      if (tries === BIND_TRIES_MAX) throw error
      // A port chosen by the system gets another one; a fixed one may still be closing.
      await delay(BIND_RETRY_MS)
    }
  }
}

function address(host: string, port: number, first: string | undefined, rank: number): string {
  if (port !== 0) return `tcp://${host}:${port + rank}`
  if (first === undefined) return `tcp://${host}:*`
  return `tcp://${host}:${portOf(first) + rank}`
}

/** Port of a `tcp://host:port` address. */
export function portOf(endpoint: string): number {
  return Number(endpoint.slice(endpoint.lastIndexOf(':') + 1))
}
