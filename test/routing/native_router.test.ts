/** The router with the native index, overlay and load table in the places of the fakes. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { chainKeys, chainRoot } from '../../src/native/chain_hash.ts'
import { loadTable } from '../../src/native/load_table.ts'
import { matchPrefix, overlay } from '../../src/native/overlay.ts'
import { IndexBatch, PrefixIndex } from '../../src/native/prefix_index.ts'
import type { NodeView } from '../../src/nodes/fleet_view.ts'
import { soloBoard } from '../../src/routing/admission.ts'
import type { RouteRequest } from '../../src/routing/candidates.ts'
import { routingSchema } from '../../src/routing/config.ts'
import { type Placement, PREDICTION_MS, Router } from '../../src/routing/router.ts'
import { FakeClock, fakeNodes, fakeView, promptOf, seededRandom } from './fake_fleet.ts'

const NODES = 4
let index: PrefixIndex
let clock: FakeClock

beforeEach(() => {
  index = PrefixIndex.create({ blockSize: 16, bytesMax: 2 ** 24 })
  clock = new FakeClock()
  for (let slot = 0; slot < NODES; slot++) overlay.forget(slot)
})
afterEach(() => {
  const words = new Float64Array(NODES * 3)
  loadTable.read(words, NODES)
  expect([...words]).toEqual([...words].fill(0))
  index.close()
})

function newRouter(changes: Partial<NodeView> = {}): Router {
  const router = new Router({
    config: routingSchema.parse({}),
    clock,
    random: seededRandom(1),
    loadTable,
    overlay,
    match: matchPrefix,
    board: soloBoard(),
  })
  router.useView(fakeView(fakeNodes(NODES, { indexId: index.id, ...changes })))
  return router
}

const TOKENS = Uint32Array.from({ length: 1_000 }, (_, at) => at * 7)

function rootOf(): BigUint64Array {
  const root = new BigUint64Array(1)
  chainRoot(root, 'm', 16, '', '')
  return root
}

/** The prompt of TOKENS, keyed as the prompt room does it. */
function request(): RouteRequest {
  const keys = new BigUint64Array(62)
  const count = chainKeys(rootOf(), TOKENS, TOKENS.length, 16, keys)
  const base = promptOf([['x', TOKENS.length]])
  if (base.prompt === null) throw new Error('a prompt')
  return { ...base, prompt: { ...base.prompt, keys, count } }
}

/** The node announces the first blocks of TOKENS. */
function announce(slot: number, blocks: number): void {
  const batch = new IndexBatch()
  const hashes = Array.from({ length: blocks }, (_, at) => BigInt(at + 1))
  const tokens = TOKENS.subarray(0, blocks * 16)
  batch.store({ root: rootOf(), parent: null, hashes, tokens, extras: null })
  index.apply(slot, 1, batch)
}

function placed(router: Router): Placement {
  const result = router.place(request(), [], { placed: () => {}, refused: () => {} })
  if (result.kind !== 'placed') throw new Error(result.kind)
  return result.placement
}

describe('with the native tables', () => {
  test('the holder is found, its load counted, and everything given back', () => {
    const router = newRouter()
    announce(2, 60)
    const { lease, ...placement } = placed(router)
    expect(placement).toMatchObject({ slot: 2, reason: 'prefix' })
    expect(placement).toMatchObject({ predictedTokens: 960, indexTokens: 960 })
    const words = new Float64Array(NODES * 3)
    loadTable.read(words, NODES)
    expect([...words.subarray(6, 9)]).toEqual([1, 40, 63])
    lease.firstToken()
    lease.release()
    expect(() => lease.release()).toThrow(/twice/)
  })

  test('what the index holds already is not predicted', () => {
    const router = newRouter()
    announce(1, 62)
    placed(router).lease.release()
    index.hideSlot(1)
    const after = placed(router)
    expect(after.predictedTokens).toBe(0)
    after.lease.release()
  })

  test('a sibling follows the prediction, until it expires', () => {
    const router = newRouter()
    const first = placed(router)
    const second = placed(router)
    expect(second).toMatchObject({ slot: first.slot, predictedTokens: 992, indexTokens: 0 })
    for (const { lease } of [first, second]) lease.release()
    clock.advance(PREDICTION_MS + 1)
    const third = placed(router)
    expect(third.reason).toBe('cold')
    third.lease.release()
  })

  test('a node that restarts is hidden at once, its predictions with it', () => {
    const router = newRouter()
    announce(3, 62)
    placed(router).lease.release()
    index.hideSlot(3)
    overlay.forget(3)
    const after = placed(router)
    expect(after).toMatchObject({ reason: 'cold', predictedTokens: 0 })
    after.lease.release()
  })

  test('without events the overlay alone leads back, bounded by the node’s blocks', () => {
    const router = newRouter({ kvEvents: 'none', indexId: 0, blockCount: 100 })
    const first = placed(router)
    first.lease.firstToken()
    first.lease.release()
    clock.advance(120_000)
    const again = placed(router)
    expect(again).toMatchObject({ slot: first.slot, predictedTokens: 992 })
    again.lease.release()
  })
})
