/**
 * An engine and a gateway around the pure state machine: `Engine` holds what is really cached and
 * its replay ring, `Gateway` what a subscriber made of the frames it got.
 */
import type { Frame } from '../../../src/nodes/kv_events/known_batches.ts'
import { Subscriber } from '../../../src/nodes/kv_events/subscriber.ts'

type Change = readonly ['add' | 'remove', number] | readonly ['clear']

/** The time all engines share: a later batch has a later stamp, also across a restart. */
let now = 1_700_000_000

/** What the engine holds (block -> copies), and its replay ring. */
export class Engine {
  readonly held = new Map<number, number>()
  ring: Frame[] = []
  seq = 0
  readonly #ringMax: number
  readonly #stamp: number | null

  /** `stamp`: that of every batch, of an engine whose clock stands still. */
  constructor(ringMax = 10_000, stamp: number | null = null) {
    this.#ringMax = ringMax
    this.#stamp = stamp
  }

  publish(...changes: readonly Change[]): Frame {
    applyTo(this.held, changes)
    const payload = Buffer.from(JSON.stringify(changes))
    const frame = { seq: this.seq++, ts: this.#stamp ?? (now += 0.25), payload }
    this.ring.push(frame)
    if (this.ring.length > this.#ringMax) this.ring.shift()
    return frame
  }

  /** A batch of a few random changes that this engine could really make. */
  publishRandom(random: () => number): Frame {
    const changes: Change[] = []
    const copies = new Map(this.held)
    if (random() < 0.02) {
      changes.push(['clear'])
      copies.clear()
    }
    for (let i = 0; i < 3; i++) {
      const block = Math.floor(random() * 20)
      const isHeld = (copies.get(block) ?? 0) > 0
      const change: Change = [isHeld && random() < 0.6 ? 'remove' : 'add', block]
      applyTo(copies, [change])
      changes.push(change)
    }
    return this.publish(...changes)
  }
}

function applyTo(held: Map<number, number>, changes: readonly Change[]): void {
  for (const [kind, block] of changes) {
    if (kind === 'clear' || block === undefined) {
      held.clear()
      continue
    }
    const copies = (held.get(block) ?? 0) + (kind === 'add' ? 1 : -1)
    if (copies > 0) held.set(block, copies)
    else held.delete(block)
  }
}

/** A subscriber, what it believes, and the replay it asked for. */
export class Gateway {
  readonly believed = new Map<number, number>()
  readonly applied: number[] = []
  asked: number | null = null
  asks = 0
  drops = 0
  readonly subscriber: Subscriber

  constructor(hasReplay = true) {
    this.subscriber = new Subscriber(
      {
        apply: frame => {
          const changes: Change[] = JSON.parse(Buffer.from(frame.payload).toString())
          applyTo(this.believed, changes)
          this.applied.push(frame.seq)
          return changes.some(([kind]) => kind === 'clear') ? 'cleared' : 'applied'
        },
        dropBlocks: () => {
          this.believed.clear()
          this.applied.length = 0
          this.drops++
        },
        startReplay: seq => {
          this.asked = seq
          this.asks++
        },
        stopReplay: () => (this.asked = null),
      },
      hasReplay,
    )
  }

  live(...frames: readonly Frame[]): void {
    for (const frame of frames) this.subscriber.live(frame)
  }

  /** Answers the replay that is asked for, and those that follow from it. */
  answer(engine: Engine, cutAfter = Infinity): void {
    for (let turn = 0; turn < 10 && this.asked !== null; turn++) {
      const from = this.asked
      this.asked = null
      const frames = engine.ring.filter(frame => frame.seq >= from)
      for (const frame of frames.slice(0, cutAfter)) {
        if (this.asked === null) this.subscriber.replayed(frame)
      }
      if (this.asked !== null) continue
      if (frames.length > cutAfter) this.subscriber.replaySilent()
      else this.subscriber.replayEnded()
    }
  }

  /** Joined and in step. */
  static joined(engine: Engine, hasReplay = true): Gateway {
    const gateway = new Gateway(hasReplay)
    gateway.subscriber.connected()
    gateway.answer(engine)
    return gateway
  }
}

/** Blocks with their copies, in order: two of them are equal when their lists are. */
export function listOf(held: ReadonlyMap<number, number>): (readonly [number, number])[] {
  return [...held].sort(([a], [b]) => a - b)
}
