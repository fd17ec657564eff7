/** The state machine on a wire that loses, doubles, delays, cuts and restarts, by seed. */
import { describe, expect, test } from 'vitest'
import type { Frame } from '../../../src/nodes/kv_events/known_batches.ts'
import { seededRandom } from '../../routing/fake_fleet.ts'
import { Engine, Gateway, listOf } from './scripted_engine.ts'

/** Frames on their way, lost, doubled and late; replays served in steps, some of them cut. */
class Wire {
  engine: Engine
  restarts = 0
  readonly gateway = new Gateway()
  readonly #random: () => number
  readonly #ringMax: number
  readonly #isOrdered: boolean
  #live: Frame[] = []
  #replay: { frames: Frame[]; isCut: boolean; ask: number } | null = null
  #isConnected = true

  constructor(random: () => number, ringMax: number, isOrdered = false) {
    this.#random = random
    this.#ringMax = ringMax
    this.#isOrdered = isOrdered
    this.engine = new Engine(ringMax)
    this.gateway.subscriber.connected()
  }

  step(): void {
    const dice = this.#random()
    if (dice < 0.35) this.#publish()
    else if (dice < 0.65) this.#deliver()
    else if (dice < 0.95) this.#serve()
    else if (dice < 0.96) this.#restart()
    else if (dice < 0.98) this.#reconnect()
  }

  /** Everything arrives, then a last batch shows what is still missing. */
  settle(): void {
    if (!this.#isConnected) this.#reconnect()
    for (let turn = 0; turn < 3; turn++) {
      while (this.#live.length > 0) this.#deliver()
      for (let i = 0; i < 20_000 && (this.#replay !== null || this.gateway.asked !== null); i++) {
        this.#serve(false)
      }
      this.gateway.live(this.engine.publishRandom(this.#random))
    }
    this.gateway.answer(this.engine)
  }

  #publish(): void {
    const frame = this.engine.publishRandom(this.#random)
    const dice = this.#random()
    if (!this.#isConnected || dice < 0.1) return
    this.#live.push(frame)
    if (dice < 0.2) this.#live.push(frame)
    const swapped = this.#live.at(-2)
    // Out of order: ZeroMQ never does it, a proxy might.
    if (dice > 0.97 && swapped !== undefined && !this.#isOrdered)
      this.#live.splice(-2, 2, frame, swapped)
  }

  #deliver(): void {
    const frame = this.#live.shift()
    if (frame !== undefined) this.gateway.live(frame)
  }

  #serve(mayCut = true): void {
    const { asked } = this.gateway
    if (this.#replay !== null && this.#replay.ask !== this.gateway.asks) this.#replay = null
    if (this.#replay === null) {
      if (asked === null) return
      const frames = this.engine.ring.filter(frame => frame.seq >= asked)
      // The first one is known; a cut that brings nothing new twice is rightly given up.
      const isCut = mayCut && frames.length > 2 && this.#random() < 0.2
      const count = 2 + Math.floor(this.#random() * (frames.length - 2))
      const kept = isCut ? frames.slice(0, count) : frames
      this.#replay = { frames: kept, isCut, ask: this.gateway.asks }
      return
    }
    const { frames, isCut } = this.#replay
    const frame = frames.shift()
    if (frame !== undefined) {
      this.gateway.subscriber.replayed(frame)
      return
    }
    this.#replay = null
    this.gateway.asked = null
    if (isCut) this.gateway.subscriber.replaySilent()
    else this.gateway.subscriber.replayEnded()
  }

  #restart(): void {
    this.engine = new Engine(this.#ringMax)
    this.restarts++
    this.#reconnect()
  }

  #reconnect(): void {
    if (this.#isConnected) {
      this.gateway.subscriber.disconnected()
      // What had arrived is still read; the rest is gone with the connection.
      this.#live = this.#live.slice(0, Math.floor(this.#random() * this.#live.length))
      this.#replay = null
    } else {
      this.gateway.subscriber.connected()
    }
    this.#isConnected = !this.#isConnected
  }
}

describe('whatever is lost, doubled, late, cut or restarted', () => {
  test('with a whole ring the gateway ends up with exactly what the engine holds', () => {
    for (let seed = 1; seed <= 300; seed++) {
      const wire = new Wire(seededRandom(seed), 100_000)
      for (let i = 0; i < 400; i++) wire.step()
      wire.settle()
      const { subscriber, believed } = wire.gateway
      const truth = { seed, last: wire.engine.seq - 1, held: listOf(wire.engine.held) }
      expect({ seed, last: subscriber.last, held: listOf(believed) }).toEqual(truth)
    }
  })

  test('no restart is seen but one that was, however late the last engine is heard', () => {
    for (let seed = 1; seed <= 300; seed++) {
      const wire = new Wire(seededRandom(seed), 100_000, true)
      for (let i = 0; i < 400; i++) wire.step()
      wire.settle()
      const { subscriber, believed } = wire.gateway
      expect([seed, listOf(believed)]).toEqual([seed, listOf(wire.engine.held)])
      const { restarts } = subscriber.counts
      expect({ seed, restarts }).toEqual({ seed, restarts: Math.min(restarts, wire.restarts) })
    }
  })

  test('with a short ring it is exact, or says that it is degraded', () => {
    let degraded = 0
    for (let seed = 1; seed <= 300; seed++) {
      const wire = new Wire(seededRandom(seed), 6)
      for (let i = 0; i < 400; i++) wire.step()
      wire.settle()
      const { subscriber, believed } = wire.gateway
      expect({ seed, last: subscriber.last }).toEqual({ seed, last: wire.engine.seq - 1 })
      if (subscriber.isDegraded) degraded++
      else expect([seed, listOf(believed)]).toEqual([seed, listOf(wire.engine.held)])
    }
    expect(degraded).toBeGreaterThan(50)
    expect(degraded).toBeLessThan(300)
  })
})
