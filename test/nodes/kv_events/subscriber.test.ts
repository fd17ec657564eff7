/** Rows EV-01 to EV-08 and EV-15 of the failure list, on the state machine alone. */
import { describe, expect, test } from 'vitest'
import { BUFFER_FRAMES_MAX } from '../../../src/nodes/kv_events/subscriber.ts'
import { Engine, Gateway, listOf } from './scripted_engine.ts'

function expectExact(gateway: Gateway, engine: Engine): void {
  expect(listOf(gateway.believed)).toEqual(listOf(engine.held))
}

describe('in step', () => {
  test('joins an engine that just started, and follows it', () => {
    const engine = new Engine()
    const gateway = Gateway.joined(engine)
    gateway.live(engine.publish(['add', 1]), engine.publish(['add', 2]))
    expect(gateway.applied).toEqual([0, 1])
    expect(gateway.subscriber).toMatchObject({ phase: 'live', isDegraded: false, last: 1 })
  })

  test('a batch that comes twice is applied once', () => {
    const engine = new Engine()
    const gateway = Gateway.joined(engine)
    const frame = engine.publish(['add', 1])
    gateway.live(frame, frame)
    expect(gateway.applied).toEqual([0])
    expect(gateway.subscriber.counts).toMatchObject({ duplicates: 1, restarts: 0 })
  })

  test('EV-15: a block announced twice survives one removal', () => {
    const engine = new Engine()
    const gateway = Gateway.joined(engine)
    gateway.live(engine.publish(['add', 1], ['add', 1]), engine.publish(['remove', 1]))
    expect(gateway.believed.get(1)).toBe(1)
  })
})

describe('joining', () => {
  test('EV-07: an old engine’s ring brings what it held before', () => {
    const engine = new Engine()
    for (let i = 0; i < 50; i++) engine.publish(['add', i])
    const gateway = Gateway.joined(engine)
    expect(gateway.believed.size).toBe(50)
    gateway.live(engine.publish(['add', 99]))
    expect(gateway.subscriber).toMatchObject({ isDegraded: false, isJoined: true })
    expectExact(gateway, engine)
  })

  test('EV-06: a ring that starts later is applied, degraded, and live batches flow on', () => {
    const engine = new Engine(10)
    for (let i = 0; i < 1_000; i++) engine.publish(['add', i])
    const gateway = Gateway.joined(engine)
    expect(gateway.applied[0]).toBe(990)
    expect(gateway.subscriber.isDegraded).toBe(true)
    gateway.live(engine.publish(['add', 5_000]))
    expect(gateway.believed.has(5_000)).toBe(true)
  })

  test('a clear ends the degraded state: what was lost does not matter any more', () => {
    const engine = new Engine(10)
    for (let i = 0; i < 100; i++) engine.publish(['add', i])
    const gateway = Gateway.joined(engine)
    gateway.live(engine.publish(['clear'], ['add', 7]))
    expect(gateway.subscriber.isDegraded).toBe(false)
    expectExact(gateway, engine)
  })

  test('a publisher that counts from 1 without a replay is not degraded for ever', () => {
    const engine = new Engine()
    engine.seq = 1
    const gateway = Gateway.joined(engine, false)
    gateway.live(engine.publish(['add', 1]))
    expect(gateway.subscriber).toMatchObject({ isDegraded: false, last: 1 })
  })

  test('without a replay a later join is degraded, and usable', () => {
    const engine = new Engine()
    for (let i = 0; i < 5; i++) engine.publish(['add', i])
    const gateway = Gateway.joined(engine, false)
    gateway.live(engine.publish(['add', 5]))
    expect(gateway.believed.has(5)).toBe(true)
    expect(gateway.subscriber.isDegraded).toBe(true)
  })
})

describe('gaps', () => {
  test('EV-03: a removed block is never resurrected: live batches wait for the replay', () => {
    const engine = new Engine()
    const gateway = Gateway.joined(engine)
    gateway.live(engine.publish(['add', 1]))
    engine.publish(['add', 2])
    engine.publish(['add', 3])
    engine.publish(['remove', 2])
    gateway.live(engine.publish(['add', 4]))
    expect(gateway.applied).toEqual([0])
    expect(gateway.asked).toBe(0)
    gateway.answer(engine)
    expect(gateway.applied).toEqual([0, 1, 2, 3, 4])
    expect(gateway.drops).toBe(0)
    expectExact(gateway, engine)
  })

  test('EV-05: a replay cut without its marker is asked again from where it stopped', () => {
    const engine = new Engine()
    for (let i = 0; i < 25; i++) engine.publish(['add', i])
    const gateway = new Gateway()
    gateway.subscriber.connected()
    gateway.answer(engine, 10)
    expect(gateway.asks).toBe(3)
    expect(gateway.subscriber).toMatchObject({ phase: 'live', isDegraded: false, last: 24 })
    expectExact(gateway, engine)
  })

  test('a hole inside a replay is a cut too', () => {
    const engine = new Engine()
    for (let i = 0; i < 10; i++) engine.publish(['add', i])
    const gateway = new Gateway()
    gateway.subscriber.connected()
    for (const frame of engine.ring.filter(({ seq }) => seq !== 4)) {
      if (gateway.asked === 0) gateway.subscriber.replayed(frame)
    }
    expect(gateway.asked).toBe(3)
    gateway.answer(engine)
    expectExact(gateway, engine)
  })

  test('EV-08: a gap clears nothing, and an endpoint that answers short makes no loop', () => {
    const engine = new Engine()
    const gateway = Gateway.joined(engine)
    gateway.live(engine.publish(['add', 1]))
    engine.ring = []
    for (let gap = 0; gap < 5; gap++) {
      engine.publish(['add', 10 + gap])
      engine.ring = []
      const frame = engine.publish(['add', 20 + gap])
      engine.ring = []
      gateway.live(frame)
      gateway.answer(engine)
      expect(gateway.asked).toBeNull()
      expect(gateway.believed.has(20 + gap)).toBe(true)
    }
    expect(gateway.drops).toBe(0)
    expect(gateway.believed.has(1)).toBe(true)
    expect(gateway.subscriber.isDegraded).toBe(true)
    expect(gateway.asks).toBeLessThanOrEqual(1 + 5)
  })

  test('EV-08: a replay that is silent is given up after its second try', () => {
    const engine = new Engine()
    const gateway = Gateway.joined(engine)
    gateway.live(engine.publish(['add', 1]))
    engine.publish(['add', 2])
    gateway.live(engine.publish(['add', 3]))
    gateway.subscriber.replaySilent()
    expect(gateway.applied).toEqual([0])
    gateway.subscriber.replaySilent()
    expect(gateway.applied).toEqual([0, 2])
    expect(gateway.subscriber).toMatchObject({ phase: 'live', isDegraded: true })
  })

  test('live batches wait for a replay only as long as the buffer has room', () => {
    const engine = new Engine()
    engine.publish(['add', 0])
    const gateway = new Gateway()
    gateway.subscriber.connected()
    for (let i = 0; i <= BUFFER_FRAMES_MAX; i++) gateway.live(engine.publish(['add', 1]))
    expect(gateway.subscriber).toMatchObject({ phase: 'live', isDegraded: true, buffered: 0 })
    expect(gateway.asked).toBeNull()
    expect(gateway.applied.length).toBe(BUFFER_FRAMES_MAX + 1)
  })

  test('every second batch lost is every second batch replayed', () => {
    const engine = new Engine()
    const gateway = Gateway.joined(engine)
    for (let i = 0; i < 40; i++) {
      const frame = engine.publish(['add', i])
      if (i % 2 === 0) continue
      gateway.live(frame)
      gateway.answer(engine)
    }
    expect(gateway.subscriber.isDegraded).toBe(false)
    expectExact(gateway, engine)
  })
})

describe('restarts', () => {
  test('EV-01: a sequence that falls back drops all blocks before anything else', () => {
    const engine = new Engine()
    const gateway = Gateway.joined(engine)
    for (let i = 0; i < 5; i++) gateway.live(engine.publish(['add', i]))
    const next = new Engine()
    gateway.live(next.publish(['add', 7]))
    expect(gateway.drops).toBe(1)
    expect(gateway.believed.size).toBe(0)
    gateway.answer(next)
    expectExact(gateway, next)
    expect(gateway.subscriber.isDegraded).toBe(false)
  })

  test('EV-02: an engine that repeats our last number with another stamp is new', () => {
    const engine = new Engine()
    const gateway = Gateway.joined(engine)
    gateway.live(engine.publish(['add', 1]))
    const next = new Engine()
    gateway.live(next.publish(['add', 2]))
    gateway.answer(next)
    expect(gateway.drops).toBe(1)
    expectExact(gateway, next)
  })

  test.each([0, 1, 4])('EV-01: a clock that stands still hides no restart (back to %i)', seq => {
    const engine = new Engine(10_000, 7)
    const gateway = Gateway.joined(engine)
    for (let i = 0; i < 5; i++) gateway.live(engine.publish(['add', i]))
    const next = new Engine(10_000, 7)
    for (let i = 0; i < seq; i++) next.publish(['add', 50 + i])
    gateway.live(next.publish(['add', 60]))
    gateway.answer(next)
    expect(gateway.drops).toBe(1)
    expectExact(gateway, next)
  })

  test('a late duplicate is none, whatever the clock says', () => {
    const engine = new Engine(10_000, 7)
    const gateway = Gateway.joined(engine)
    const first = engine.publish(['add', 1])
    gateway.live(first, engine.publish(['add', 2]), first)
    expect(gateway.drops).toBe(0)
    expectExact(gateway, engine)
  })

  test('EV-02: an engine that has overtaken us is noticed in the replay of the gap', () => {
    const engine = new Engine()
    const gateway = Gateway.joined(engine)
    for (let i = 0; i < 3; i++) gateway.live(engine.publish(['add', i]))
    const next = new Engine()
    for (let i = 0; i < 9; i++) next.publish(['add', 50 + i])
    gateway.live(next.publish(['add', 60]))
    gateway.answer(next)
    expect(gateway.drops).toBe(1)
    expectExact(gateway, next)
  })

  test('EV-02: after a reconnect even a gapless continuation is verified', () => {
    const engine = new Engine()
    const gateway = Gateway.joined(engine)
    for (let i = 0; i < 3; i++) gateway.live(engine.publish(['add', i]))
    gateway.subscriber.disconnected()
    const next = new Engine()
    for (let i = 0; i < 3; i++) next.publish(['add', 50 + i])
    gateway.subscriber.connected()
    gateway.live(next.publish(['add', 60]))
    gateway.answer(next)
    expect(gateway.drops).toBe(1)
    expectExact(gateway, next)
  })

  test('after a reconnect an engine that has published nothing yet is a new one', () => {
    const engine = new Engine()
    const gateway = Gateway.joined(engine)
    gateway.live(engine.publish(['add', 1]))
    gateway.subscriber.disconnected()
    gateway.subscriber.connected()
    gateway.answer(new Engine())
    expect(gateway.drops).toBe(1)
    expect(gateway.believed.size).toBe(0)
  })

  test('a reconnect to the same engine keeps everything', () => {
    const engine = new Engine()
    const gateway = Gateway.joined(engine)
    gateway.live(engine.publish(['add', 1]))
    gateway.subscriber.disconnected()
    engine.publish(['add', 2])
    gateway.subscriber.connected()
    gateway.answer(engine)
    expect(gateway.drops).toBe(0)
    expectExact(gateway, engine)
    expect(gateway.subscriber.isDegraded).toBe(false)
  })

  test('without a replay, a new connection that does not follow on is a new engine', () => {
    const engine = new Engine()
    const gateway = Gateway.joined(engine, false)
    gateway.live(engine.publish(['add', 1]))
    gateway.subscriber.disconnected()
    gateway.subscriber.connected()
    const next = new Engine()
    for (let i = 0; i < 5; i++) next.publish(['add', 50 + i])
    gateway.live(next.publish(['add', 60]))
    expect(gateway.drops).toBe(1)
    expect([...gateway.believed.keys()]).toEqual([60])
  })
})
