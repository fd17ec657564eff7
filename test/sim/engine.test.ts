import { describe, expect, it } from 'vitest'
import { noneHash } from '../../src/sim/block_hash.ts'
import { Engine, type EngineClock, type EngineSequence } from '../../src/sim/engine.ts'
import { KvCache, type KvEvent } from '../../src/sim/kv_cache.ts'

/** Time that passes when told to. */
class FakeClock implements EngineClock {
  private time = 0
  private readonly timers: { at: number; run: () => void }[] = []

  now(): number {
    return this.time
  }

  after(ms: number, run: () => void): () => void {
    const timer = { at: this.time + ms, run }
    this.timers.push(timer)
    return () => {
      const at = this.timers.indexOf(timer)
      if (at >= 0) this.timers.splice(at, 1)
    }
  }

  get isIdle(): boolean {
    return this.timers.length === 0
  }

  /** Runs timers in order until none is left, or the time is reached. */
  run(until = Number.POSITIVE_INFINITY): void {
    for (;;) {
      this.timers.sort((one, other) => one.at - other.at)
      const [next] = this.timers
      if (next === undefined || next.at > until) break
      this.timers.shift()
      this.time = next.at
      next.run()
    }
    if (until !== Number.POSITIVE_INFINITY) this.time = until
  }
}

interface Rig {
  readonly engine: Engine
  readonly clock: FakeClock
  readonly batches: KvEvent[][]
  /** Time of every token of a sequence. */
  readonly times: Map<EngineSequence, number[]>
  readonly preemptions: number[]
  readonly add: (prompt: number, output: number, first?: number) => EngineSequence
}

function makeRig(blocks = 1024, sequencesMax = 256): Rig {
  const clock = new FakeClock()
  const batches: KvEvent[][] = []
  const preemptions: number[] = []
  const times = new Map<EngineSequence, number[]>()
  const cache = new KvCache({
    blocks,
    blockSize: 16,
    noneHash: noneHash('0'),
    areExtraKeysTagged: true,
    lookahead: 0,
    hasEvents: true,
  })
  const engine = new Engine({
    cache,
    sequencesMax,
    timeFactor: 1,
    tokensPerStepMax: 2048,
    clock,
    observer: {
      onScheduled: () => undefined,
      onFinished: () => undefined,
      onPreempted: () => preemptions.push(clock.now()),
      onStep: () => undefined,
      onTokens: () => undefined,
    },
    publish: events => batches.push(events),
  })
  const owner = {
    onToken(sequence: EngineSequence): void {
      const seen = times.get(sequence) ?? []
      times.set(sequence, [...seen, clock.now()])
    },
  }
  const add = (prompt: number, output: number, first = 0): EngineSequence =>
    engine.add({
      prompt: Uint32Array.from({ length: prompt }, (_, at) => first + at),
      scope: { adapter: null, adapterId: null, salt: null, sessionId: null },
      tokensMax: output,
      lastReason: 'length',
      tokenAt: n => 1_000_000 + first + n,
      skipsCacheRead: false,
      owner,
    })
  return { engine, clock, batches, times, preemptions, add }
}

describe('the scheduler', () => {
  it('computes a prompt at 8000 tokens/s and then a token a step', () => {
    const { clock, times, add } = makeRig()
    const sequence = add(1600, 3)
    clock.run()
    const [first = 0, second = 0, third = 0] = times.get(sequence) ?? []
    expect(first).toBeCloseTo(200)
    expect(second - first).toBeCloseTo(6.35)
    expect(third - second).toBeCloseTo(6.35)
    expect(clock.isIdle).toBe(true)
  })

  it('cuts a long prompt into chunks, each with a batch of its own', () => {
    const { clock, batches, times, add } = makeRig()
    const sequence = add(5000, 1)
    clock.run()
    expect(times.get(sequence)?.[0]).toBeCloseTo(625)
    expect(batches.map(([event]) => (event?.kind === 'stored' ? event.hashes.length : 0))).toEqual([
      128, 128, 56,
    ])
  })

  it('has cached tokens free', () => {
    const { clock, times, add } = makeRig()
    add(1600, 1)
    clock.run()
    const before = clock.now()
    const again = add(1600, 1)
    clock.run()
    expect(again.cachedTokens).toBe(1584)
    expect((times.get(again)?.[0] ?? 0) - before).toBeCloseTo(2)
  })

  it('decodes slower with more sequences', () => {
    const { clock, times, add } = makeRig()
    const sequences = Array.from({ length: 40 }, (_, n) => add(16, 3, n * 100))
    clock.run()
    for (const sequence of sequences) {
      const [, second = 0, third = 0] = times.get(sequence) ?? []
      expect(third - second).toBeCloseTo(6 + 40 * 0.35)
    }
  })

  it('runs no more sequences than it may, in the order of arrival', () => {
    const { engine, clock, times, add } = makeRig(1024, 2)
    const sequences = Array.from({ length: 4 }, (_, n) => add(16, 5, n * 100))
    clock.run(1)
    expect([engine.runningCount, engine.waitingCount]).toEqual([2, 2])
    clock.run()
    const starts = sequences.map(sequence => times.get(sequence)?.[0] ?? 0)
    expect(starts).toEqual(starts.toSorted((one, other) => one - other))
    expect(starts[2]).toBeGreaterThan(times.get(sequences[0] ?? expect.fail())?.[4] ?? 0)
  })

  it('preempts the youngest when the cache is full, and both come to their end', () => {
    const { engine, clock, times, preemptions, add } = makeRig(9)
    const one = add(32, 60)
    const other = add(32, 60, 500)
    clock.run()
    expect(preemptions.length).toBeGreaterThan(0)
    expect(times.get(one)).toHaveLength(60)
    expect(times.get(other)).toHaveLength(60)
    expect(times.get(one)?.at(-1)).toBeLessThan(times.get(other)?.at(-1) ?? 0)
    expect(engine.cache.usedCount).toBe(0)
  })

  it('frees an aborted sequence at once, waiting, in prefill or in decode', () => {
    const { engine, clock, add } = makeRig(1024, 2)
    const decoding = add(16, 100)
    clock.run(20)
    const prefilling = add(5000, 1, 7000)
    const waiting = add(16, 1, 500)
    clock.run(30)
    expect([decoding.generated > 0, prefilling.generated, waiting.state]).toEqual([
      true,
      0,
      'waiting',
    ])
    for (const sequence of [waiting, prefilling, decoding]) {
      expect(engine.abort(sequence)).toBe(true)
      expect(engine.abort(sequence)).toBe(false)
    }
    expect(engine.cache.usedCount).toBe(0)
    clock.run()
    expect(clock.isIdle).toBe(true)
  })

  it('does nothing while it is held and goes on afterwards', () => {
    const { engine, clock, times, add } = makeRig()
    const sequence = add(160, 2)
    clock.run(5)
    engine.hold()
    expect(clock.isIdle).toBe(true)
    clock.run(1000)
    expect(times.get(sequence)).toBeUndefined()
    engine.resume()
    clock.run()
    expect(times.get(sequence)).toHaveLength(2)
  })
})
