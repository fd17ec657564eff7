import { describe, expect, test } from 'vitest'
import { Pair } from './index_pair.ts'

/** Walks of the default suite; WARMPATH_INDEX_WALKS makes a longer run. */
const WALKS = Number(process.env.WARMPATH_INDEX_WALKS ?? 100)
const STEPS = 300

/** A small generator with a seed of its own, so that a failure names its walk. */
function seeded(seed: number): (n: number) => number {
  let state = seed
  return n => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    return (state >>> 8) % n
  }
}

describe('the prefix index', () => {
  test('IX-01: equals its model after every operation of random walks', () => {
    for (let walk = 0; walk < WALKS; walk++) {
      const pair = new Pair(seeded(walk))
      for (let i = 0; i < STEPS; i++) pair.step()
      pair.close()
    }
    expect(WALKS).toBeGreaterThan(0)
  })
})
