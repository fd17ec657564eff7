import { describe, expect, test } from 'vitest'
import { OperatingError } from '../../src/errors.ts'
import type { NodeView } from '../../src/nodes/fleet_view.ts'
import type { Waiter } from '../../src/routing/admission.ts'
import type { RouteRequest } from '../../src/routing/candidates.ts'
import { RETURN_MS_MAX } from '../../src/routing/outage.ts'
import { type Placement, PREDICTION_MS, type Router } from '../../src/routing/router.ts'
import { type FakeFleet, fakeFleet, fakeNode, fakeNodes, fakeView, promptOf } from './fake_fleet.ts'

const NOBODY = { placed: () => expect.unreachable(), refused: () => expect.unreachable() }
const THOUSAND = promptOf([['a', 1000]])

function placed(router: Router, request: RouteRequest, tried: string[] = []): Placement {
  const result = router.place(request, tried, NOBODY)
  if (result.kind !== 'placed') throw new Error(`not placed: ${result.kind}`)
  return result.placement
}

function keysOf(request: RouteRequest): BigUint64Array {
  return request.prompt?.keys ?? new BigUint64Array(0)
}

describe('placement', () => {
  test('the holder wins, and says what it is expected to have cached', () => {
    const { router, knowledge } = fakeFleet(fakeNodes(4))
    knowledge.store(2, keysOf(THOUSAND))
    const placement = placed(router, THOUSAND)
    expect(placement).toMatchObject({ slot: 2, reason: 'prefix', rank: 0 })
    expect(placement.predictedTokens).toBe(992)
    expect(placement.indexTokens).toBe(992)
    expect(placement.lease.prefillTokens).toBe(8)
  })

  test('IX-13: a prompt of whole blocks predicts one block less', () => {
    const exact = promptOf([['a', 960]])
    const { router, knowledge } = fakeFleet(fakeNodes(1))
    knowledge.store(0, keysOf(exact))
    expect(placed(router, exact).predictedTokens).toBe(944)
  })

  test('a request that skips the cache predicts nothing', () => {
    const { router, knowledge } = fakeFleet(fakeNodes(1))
    knowledge.store(0, keysOf(THOUSAND))
    const placement = placed(router, { ...THOUSAND, skipsCache: true })
    expect(placement).toMatchObject({ predictedTokens: 0, reason: 'unkeyed' })
    expect(placement.lease.prefillTokens).toBe(1000)
  })

  test('reasons tell a spill, a cold index and an unkeyed prompt apart', () => {
    const { router, knowledge, table } = fakeFleet(fakeNodes(2))
    expect(placed(router, promptOf([['z', 100]])).reason).toBe('cold')
    const unkeyed = { model: 'm', prompt: null, promptTokens: 0, skipsCache: false }
    expect(placed(router, unkeyed).reason).toBe('unkeyed')
    knowledge.store(1, keysOf(THOUSAND))
    for (let i = 0; i < 200; i++) table.acquire(1, 0, 0, 256)
    expect(placed(router, THOUSAND)).toMatchObject({ slot: 0, reason: 'spill' })
  })

  test('each rank is a place of its own (EV-22)', () => {
    const ranks = [0, 1, 2, 3].map(rank => ({ rank, slot: rank + 10 }))
    const { router, knowledge } = fakeFleet([fakeNode(0, { ranks })])
    knowledge.store(13, keysOf(THOUSAND))
    expect(placed(router, THOUSAND)).toMatchObject({ slot: 13, rank: 3 })
  })

  test('only nodes that serve the model are candidates, adapters included', () => {
    const models = [
      { id: 'm', parent: null, body: {} },
      { id: 'adapter', parent: 'm', body: {} },
    ]
    const { router } = fakeFleet([fakeNode(0), fakeNode(1, { models })])
    for (let i = 0; i < 20; i++) {
      expect(placed(router, { ...THOUSAND, model: 'adapter' }).slot).toBe(1)
    }
  })

  test('an unknown model is 404, a known one without a healthy node 503', () => {
    const { router } = fakeFleet([fakeNode(0), fakeNode(1, { state: 'unhealthy' })])
    const unknown = router.place({ ...THOUSAND, model: 'nope' }, [], NOBODY)
    expect(unknown).toMatchObject({ kind: 'refused', error: { code: 'model_not_found' } })
    const long = router.place({ ...THOUSAND, model: 'x'.repeat(1_000_000) }, [], NOBODY)
    expect(long.kind === 'refused' && long.error.message).toHaveLength(200 + 29)
    router.useView(fakeView([fakeNode(1, { state: 'unhealthy' })]))
    const down = router.place(THOUSAND, [], NOBODY)
    expect(down).toMatchObject({ kind: 'refused', error: { code: 'no_healthy_node' } })
  })

  test('a model is not called unknown while a node has not told its models', () => {
    const { router } = fakeFleet([fakeNode(0), fakeNode(1, { state: 'starting', models: [] })])
    const result = router.place({ ...THOUSAND, model: 'late' }, [], NOBODY)
    expect(result).toMatchObject({ kind: 'refused', error: { code: 'no_healthy_node' } })
  })

  test('a node tried before is not chosen again, however much it holds', () => {
    const { router, knowledge } = fakeFleet(fakeNodes(3))
    knowledge.store(0, keysOf(THOUSAND))
    expect(placed(router, THOUSAND, ['10.0.0.0:8000']).slot).not.toBe(0)
    const all = fakeNodes(3).map(node => node.id)
    expect(router.route(THOUSAND, all)).toBeInstanceOf(OperatingError)
  })

  test('BA-04: draining, sleeping, starting and unhealthy nodes get nothing', () => {
    const states: NodeView['state'][] = ['unhealthy', 'draining', 'sleeping', 'starting']
    const nodes = [fakeNode(0), ...states.map((state, i) => fakeNode(i + 1, { state }))]
    const { router, knowledge } = fakeFleet(nodes)
    for (let slot = 1; slot < 5; slot++) knowledge.store(slot, keysOf(THOUSAND))
    for (let i = 0; i < 50; i++) {
      expect(placed(router, THOUSAND)).toMatchObject({ slot: 0 })
    }
  })

  test('BA-05: with all holders down, traffic spreads by load and is counted and predicted', () => {
    const nodes = [fakeNode(0, { state: 'unhealthy' }), ...fakeNodes(5).slice(1)]
    const { router, knowledge, table } = fakeFleet(nodes)
    knowledge.store(0, keysOf(THOUSAND))
    const first = placed(router, THOUSAND)
    expect(first).toMatchObject({ reason: 'cold', predictedTokens: 0 })
    expect(table.inFlight(first.slot)).toBe(1)
    const others = Array.from({ length: 4 }, (_, i) => placed(router, promptOf([[`q${i}`, 1000]])))
    expect(new Set(others.map(p => p.slot)).size).toBeGreaterThanOrEqual(3)
    expect(placed(router, THOUSAND)).toMatchObject({ slot: first.slot, predictedTokens: 992 })
  })

  test('BA-08: a conversation stays where it is while the fleet is idle', () => {
    const { router, knowledge } = fakeFleet(fakeNodes(8))
    let slot = -1
    for (let turn = 1; turn <= 10; turn++) {
      const request = promptOf(Array.from({ length: turn }, (_, i) => [`t${i}`, 200] as const))
      const placement = placed(router, request)
      if (turn > 1) expect(placement.slot).toBe(slot)
      slot = placement.slot
      placement.lease.firstToken()
      knowledge.store(slot, keysOf(request))
      placement.lease.release()
    }
  })
})

describe('predict-on-route', () => {
  test('BA-06: a burst of 32 siblings of a new prefix prefills it on few nodes', () => {
    const { router } = fakeFleet(fakeNodes(32))
    const slots = new Set<number>()
    for (let i = 0; i < 32; i++) {
      const sibling = promptOf([
        ['system', 4000],
        [`user ${i}`, 100],
      ])
      slots.add(placed(router, sibling).slot)
    }
    expect(slots.size).toBeLessThanOrEqual(7)
  })

  test('a prediction outlives a long wait for the first token, and not much more', () => {
    const { router, clock } = fakeFleet(fakeNodes(4))
    const first = placed(router, THOUSAND)
    clock.advance(60_000)
    const second = placed(router, THOUSAND)
    expect(second).toMatchObject({ slot: first.slot, reason: 'prefix', indexTokens: 0 })
    for (const { lease } of [first, second]) {
      lease.firstToken()
      lease.release()
    }
    clock.advance(PREDICTION_MS - 1)
    expect(placed(router, THOUSAND).reason).toBe('prefix')
    const { router: other, clock: time } = fakeFleet(fakeNodes(4))
    const only = placed(other, THOUSAND)
    only.lease.firstToken()
    time.advance(PREDICTION_MS)
    expect(placed(other, THOUSAND).reason).toBe('cold')
    only.lease.release()
  })

  test('without events a prediction is all there is, and lives three minutes', () => {
    const { router, clock } = fakeFleet(fakeNodes(4, { kvEvents: 'none', indexId: 0 }))
    const first = placed(router, THOUSAND)
    first.lease.firstToken()
    first.lease.release()
    clock.advance(179_000)
    expect(placed(router, THOUSAND)).toMatchObject({ slot: first.slot, predictedTokens: 992 })
  })

  test('no timer runs when nothing waits for a first token', () => {
    const { router, clock } = fakeFleet(fakeNodes(1))
    const { lease } = placed(router, THOUSAND)
    expect(clock.pending).toBe(1)
    lease.release()
    clock.advance(2_000)
    expect(clock.pending).toBe(0)
    expect(router.held).toBe(0)
  })
})

describe('a request that lost its node while no other is well', () => {
  const OTHER = fakeNode(0)
  const BACK = fakeNode(1)
  const OUT = fakeNode(1, { state: 'unhealthy' })

  /** Waits at once; `said` fills with what the request hears. */
  function outage(): FakeFleet & { said: unknown[]; waiter: Waiter } {
    const fleet = fakeFleet([OTHER, OUT])
    const said: unknown[] = []
    const waiting = {
      placed: ({ node, lease }: Placement) => {
        said.push(node.id)
        lease.release()
      },
      refused: ({ code }: OperatingError) => void said.push(code),
    }
    const waiter = fleet.router.awaitReturn(THOUSAND, [OTHER.id], waiting)
    return { ...fleet, said, waiter }
  }

  test('is placed at the one that comes back, and newcomers do not wait behind it', () => {
    const { router, clock, said } = outage()
    expect(placed(router, THOUSAND).node.id).toBe(OTHER.id)
    router.useView(fakeView([OTHER, OUT]))
    clock.advance(1)
    expect(said).toEqual([])
    router.useView(fakeView([OTHER, BACK]))
    clock.advance(RETURN_MS_MAX)
    expect(said).toEqual([BACK.id])
  })

  test('is told that no node is well when none came back', () => {
    const { clock, said } = outage()
    clock.advance(RETURN_MS_MAX - 1)
    expect(said).toEqual([])
    clock.advance(1)
    expect(said).toEqual(['no_healthy_node'])
    expect(clock.pending).toBe(0)
  })

  test('hears nothing more once its client has left', () => {
    const { router, clock, said, waiter } = outage()
    waiter.cancel()
    router.useView(fakeView([OTHER, BACK]))
    clock.advance(RETURN_MS_MAX)
    expect(said).toEqual([])
  })

  test.each(['goes on', 'leaves'])('queues where the one that is back is full, and %s', then => {
    const { router, clock, said, table, waiter } = outage()
    table.acquire(1, 0, 0, 1)
    router.useView(fakeView([OTHER, { ...BACK, inFlightMax: 1 }]))
    clock.advance(1)
    expect(router.admission.waiting).toBe(1)
    if (then === 'leaves') waiter.cancel()
    table.release(1, 0, 0)
    clock.advance(RETURN_MS_MAX)
    expect(said).toEqual(then === 'leaves' ? [] : [BACK.id])
    expect(router.admission.waiting).toBe(0)
  })
})
