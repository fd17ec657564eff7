/**
 * The router against a seeded fleet that prefills and decodes: what spreads, what spills, and
 * what it costs in time to first token. Time is simulated; a run is a function of its seed.
 */
import { describe, expect, test } from 'vitest'
import type { RouteRequest } from '../../src/routing/candidates.ts'
import type { PolicyName } from '../../src/routing/policy.ts'
import { type FakeFleet, fakeFleet, fakeNodes, promptOf, seededRandom } from './fake_fleet.ts'

interface Node {
  readonly cache: Set<bigint>
  readonly tokensPerMs: number
  /** When the prefill that is last in the queue ends. */
  freeMs: number
  served: number
}

interface Run {
  readonly fleet: FakeFleet
  readonly nodes: Node[]
  readonly ttftMs: number[]
  readonly promptTokens: number
  readonly cachedTokens: number
  /** What one infinite cache for the whole fleet would have reused. */
  readonly oracleTokens: number
}

interface Workload {
  readonly nodeCount: number
  readonly requests: number
  /** Mean milliseconds between arrivals (exponential). */
  readonly everyMs: number
  readonly prompt: (index: number, random: () => number) => RouteRequest
  readonly policy?: PolicyName
  readonly slowNode?: number
  readonly seed?: number
}

const TOKENS_PER_MS = 10
const DECODE_MS = 400

/** Tokens that a cache saves this request; the cache holds the request afterwards. */
function reuse(cache: Set<bigint>, request: RouteRequest): number {
  const keys = request.prompt?.keys ?? new BigUint64Array(0)
  let held = 0
  while (held < keys.length && cache.has(keys[held] ?? 0n)) held++
  for (const key of keys) cache.add(key)
  return Math.min(held, Math.floor((request.promptTokens - 1) / 16)) * 16
}

/** A prompt that shares `shared` tokens with all others and has `own` of its own. */
function sharing(shared: number, own: number): (index: number) => RouteRequest {
  return index =>
    promptOf([
      ['shared', shared],
      [`own ${index}`, own],
    ])
}

/** Conversations that share a system prompt and grow by 120 tokens a turn. */
function conversations(policy: PolicyName): Run {
  const random = seededRandom(5)
  const turns = new Map<number, number>()
  const prompt = (): RouteRequest => {
    const chat = Math.floor(random() * 60)
    const turn = (turns.get(chat) ?? 0) + 1
    turns.set(chat, turn)
    return promptOf([
      ['system', 800],
      ...Array.from({ length: turn }, (_, i) => [`chat ${chat} turn ${i}`, 120] as const),
    ])
  }
  return simulate({ nodeCount: 3, requests: 600, everyMs: 60, prompt, policy })
}

function share(run: Run): number {
  return run.cachedTokens / run.oracleTokens
}

function simulate(work: Workload): Run {
  const seed = work.seed ?? 1
  const random = seededRandom(seed)
  const policy = work.policy ?? 'prefix'
  const fleet = fakeFleet(fakeNodes(work.nodeCount), { policy, seed })
  const nodes = Array.from({ length: work.nodeCount }, (_, index): Node => {
    const tokensPerMs = index === work.slowNode ? TOKENS_PER_MS / 10 : TOKENS_PER_MS
    return { cache: new Set(), tokensPerMs, freeMs: 0, served: 0 }
  })
  const { clock, router, knowledge } = fleet
  const ttftMs: number[] = []
  let promptTokens = 0
  let cachedTokens = 0
  let oracleTokens = 0
  const everything = new Set<bigint>()
  const arrive = (request: RouteRequest): void => {
    const arrivedMs = clock.nowMs()
    const result = router.place(request, [], { placed: () => {}, refused: () => {} })
    if (result.kind !== 'placed') throw new Error(`seed ${seed}: ${result.kind}`)
    const { slot, lease } = result.placement
    const node = nodes[slot]
    if (node === undefined) throw new Error(`seed ${seed}: slot ${slot}`)
    const keys = request.prompt?.keys ?? new BigUint64Array(0)
    node.served++
    // One prefill at a time: what an earlier one leaves behind, a later one finds.
    const cached = reuse(node.cache, request)
    oracleTokens += reuse(everything, request)
    promptTokens += request.promptTokens
    cachedTokens += cached
    const prefillMs = (request.promptTokens - cached) / node.tokensPerMs
    node.freeMs = Math.max(node.freeMs, arrivedMs) + prefillMs
    clock.after(node.freeMs - arrivedMs, () => {
      ttftMs.push(clock.nowMs() - arrivedMs)
      lease.firstToken()
      knowledge.store(slot, keys)
      clock.after(DECODE_MS, () => lease.release())
    })
  }
  let at = 0
  for (let index = 0; index < work.requests; index++) {
    at += -Math.log(1 - random()) * work.everyMs
    const request = work.prompt(index, random)
    clock.after(at, () => arrive(request))
  }
  clock.advance(at + 10_000_000)
  return { fleet, nodes, ttftMs, promptTokens, cachedTokens, oracleTokens }
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}

function expectIdle(run: Run, requests: number): void {
  expect(run.ttftMs.length).toBe(requests)
  expect(run.fleet.table.isZero).toBe(true)
  expect(run.fleet.router.held).toBe(0)
}

describe('simulated fleet', () => {
  test('BA-01: one shared system prompt spreads over the nodes once queues build', () => {
    const prompt = sharing(2000, 300)
    // 300 tokens each 5 ms: six nodes' worth of prefill with the prefix cached.
    const run = simulate({ nodeCount: 8, requests: 2000, everyMs: 5, prompt })
    const served = run.nodes.map(node => node.served)
    expect(Math.min(...served)).toBeGreaterThan(0)
    expect((Math.max(...served) * 8) / 2000).toBeLessThan(2)
    expect(run.cachedTokens / run.promptTokens).toBeGreaterThan(0.8)
    expectIdle(run, 2000)
  })

  test('a light load of one prefix stays on few nodes', () => {
    const prompt = sharing(2000, 100)
    const run = simulate({ nodeCount: 8, requests: 500, everyMs: 500, prompt })
    expect(run.nodes.filter(node => node.served > 0).length).toBeLessThanOrEqual(2)
  })

  test('BA-02: at 26 % sharing the first token is not 5 % later than with round robin', () => {
    const ratios: number[] = []
    for (let seed = 1; seed <= 10; seed++) {
      const prompt = sharing(260, 740)
      const work = { nodeCount: 2, requests: 400, everyMs: 55, prompt, seed }
      const own = simulate(work)
      const turns = simulate({ ...work, policy: 'round-robin' })
      ratios.push(mean(own.ttftMs) / mean(turns.ttftMs))
    }
    expect(Math.max(...ratios)).toBeLessThan(1.05)
  })

  test('BA-03: one slow node does not switch affinity off for the fleet', () => {
    const random = seededRandom(3)
    const turns = new Map<number, number>()
    const prompt = (): RouteRequest => {
      const chat = Math.floor(random() * 40)
      const turn = (turns.get(chat) ?? 0) + 1
      turns.set(chat, turn)
      return promptOf(Array.from({ length: turn }, (_, i) => [`chat ${chat} turn ${i}`, 100]))
    }
    const run = simulate({ nodeCount: 4, requests: 800, everyMs: 25, prompt, slowNode: 0 })
    const others = run.nodes.slice(1).map(node => node.served)
    expect(run.nodes[0]?.served ?? 0).toBeLessThan(Math.min(...others))
    expect(run.cachedTokens / run.promptTokens).toBeGreaterThan(0.8)
    expectIdle(run, 800)
  })

  test('BA-11: a slow node with an empty cache does not attract the misses', () => {
    const prompt = sharing(0, 1000)
    const run = simulate({ nodeCount: 4, requests: 400, everyMs: 40, prompt, slowNode: 2 })
    const served = run.nodes.map(node => node.served)
    expect(served[2]).toBeLessThan(400 / 8)
    expect(run.cachedTokens).toBe(0)
  })

  test('the default policy reuses 95 % of what an infinite cache would, others do not', () => {
    const own = conversations('prefix')
    expectIdle(own, 600)
    expect(share(own)).toBeGreaterThan(0.95)
    expect(share(conversations('least-load'))).toBeLessThan(0.95)
    expect(share(conversations('round-robin'))).toBeLessThan(0.95)
  })
})
