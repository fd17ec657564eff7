import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { leastLoad } from '../../src/routing/least_load.ts'
import type { Candidate } from '../../src/routing/policy.ts'
import { prefix } from '../../src/routing/prefix.ts'
import { createRoundRobin } from '../../src/routing/round_robin.ts'
import { fakeNode, seededRandom } from './fake_fleet.ts'

function candidate(changes: Partial<Candidate>): Candidate {
  return {
    node: fakeNode(0),
    rank: 0,
    slot: 0,
    uncachedTokens: 1000,
    matchedTokens: 0,
    indexTokens: 0,
    queuedPrefillTokens: 0,
    sharedPrefillTokens: 0,
    running: 0,
    blockSize: 16,
    ...changes,
  }
}

function product(c: Candidate): number {
  return (c.uncachedTokens + c.queuedPrefillTokens + c.blockSize) * (c.running + 1)
}

const never = (): number => {
  throw new Error('no tie, no draw')
}

describe('prefix', () => {
  const holder = { uncachedTokens: 40, matchedTokens: 960 }

  test('an idle holder wins, a busy one keeps its visitors, a loaded one spills', () => {
    const other = candidate({})
    expect(prefix.choose([other, candidate(holder)], 2, never)).toBe(1)
    expect(prefix.choose([other, candidate({ ...holder, running: 10 })], 2, never)).toBe(1)
    expect(prefix.choose([other, candidate({ ...holder, running: 20 })], 2, never)).toBe(0)
  })

  test('a slightly shorter match without a queue beats the deepest holder (IX-05)', () => {
    const deepest = candidate({ uncachedTokens: 8, matchedTokens: 640, running: 2 })
    const shorter = candidate({ uncachedTokens: 24, matchedTokens: 624 })
    expect(prefix.choose([deepest, shorter], 2, never)).toBe(1)
  })

  test('BA-11: a miss goes to low load, not to the emptiest cache', () => {
    const busy = candidate({ running: 3, queuedPrefillTokens: 4000 })
    const idle = candidate({ running: 1 })
    expect(prefix.choose([busy, idle], 2, never)).toBe(1)
  })

  test('a queue that computes this very prompt is no extra work', () => {
    const sibling = { uncachedTokens: 100, matchedTokens: 900, running: 1 }
    const shared = candidate({
      ...sibling,
      queuedPrefillTokens: 1000,
      sharedPrefillTokens: 900,
    })
    expect(prefix.choose([candidate({}), shared], 2, never)).toBe(1)
    const foreign = candidate({ ...sibling, queuedPrefillTokens: 1000 })
    expect(prefix.choose([candidate({}), foreign], 2, never)).toBe(0)
  })

  test('BA-08: equal scores break by load, then uniformly at random', () => {
    // (84 + 16) x 1 = (34 + 16) x 2: equal scores, unequal load.
    const lighter = candidate({ uncachedTokens: 84 })
    const heavier = candidate({ uncachedTokens: 34, running: 1 })
    expect(prefix.choose([heavier, lighter], 2, never)).toBe(1)
    const random = seededRandom(7)
    const equals = Array.from({ length: 5 }, () => candidate({}))
    const hits = [0, 0, 0, 0, 0]
    for (let i = 0; i < 10_000; i++) {
      const index = prefix.choose(equals, 5, random)
      hits[index] = (hits[index] ?? 0) + 1
    }
    for (const count of hits) expect(Math.abs(count - 2000)).toBeLessThan(200)
  })

  test('the choice has the least score of all, whatever the candidates', () => {
    const tokens = fc.nat({ max: 100_000 })
    const shape = fc.record({
      uncachedTokens: tokens,
      queuedPrefillTokens: tokens,
      running: fc.nat({ max: 300 }),
    })
    fc.assert(
      fc.property(fc.array(shape, { minLength: 1, maxLength: 40 }), fc.nat(), (shapes, seed) => {
        const all = shapes.map(candidate)
        const chosen = all[prefix.choose(all, all.length, seededRandom(seed))]
        expect(chosen && product(chosen)).toBe(Math.min(...all.map(product)))
      }),
    )
  })
})

describe('least-load', () => {
  test('long prompts weigh by their tokens, and cached blocks give no credit (LA-04)', () => {
    const long = candidate({ queuedPrefillTokens: 32_000, running: 1 })
    const short = candidate({ queuedPrefillTokens: 300, running: 3 })
    expect(leastLoad.choose([long, short], 2, never)).toBe(1)
    const holder = candidate({ uncachedTokens: 40, matchedTokens: 960, running: 1 })
    expect(leastLoad.choose([holder, candidate({})], 2, never)).toBe(1)
  })
})

describe('round-robin', () => {
  test('takes each candidate in turn from a drawn start', () => {
    const policy = createRoundRobin()
    const all = [candidate({}), candidate({}), candidate({})]
    const turns = Array.from({ length: 6 }, () => policy.choose(all, 3, () => 0.4))
    expect(turns).toEqual([1, 2, 0, 1, 2, 0])
  })
})
