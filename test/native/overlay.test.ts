import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { chainKeys, chainRoot, setChainSeed } from '../../src/native/chain_hash.ts'
import { SLOTS_MAX } from '../../src/native/limits.ts'
import { matchPrefix, overlay } from '../../src/native/overlay.ts'
import { IndexBatch, PrefixIndex } from '../../src/native/prefix_index.ts'

const slots = new Uint32Array(SLOTS_MAX)
const depths = new Uint32Array(SLOTS_MAX)
const indexDepths = new Uint32Array(SLOTS_MAX)
let chains = 0

/** A chain of keys that no other test uses: the overlay is one for the process. */
function freshKeys(count: number): BigUint64Array {
  const root = new BigUint64Array(1)
  chainRoot(root, `chain ${chains++}`, 1, '', '')
  const keys = new BigUint64Array(count)
  chainKeys(root, new Uint32Array(count), count, 1, keys)
  return keys
}

function depthsAt(keys: BigUint64Array, nowMs: number): Map<number, number> {
  const found = overlay.match(keys, keys.length, nowMs, slots, depths)
  return new Map(Array.from({ length: found }, (_, i) => [slots[i] ?? 0, depths[i] ?? 0]))
}

// Where keys meet in the table follows from the seed; a lossy table may lose some of them.
beforeAll(() => setChainSeed(1n))

afterEach(() => {
  for (let slot = 0; slot < SLOTS_MAX; slot++) {
    overlay.forget(slot)
    overlay.setCapacity(slot, 0)
  }
})

describe('overlay', () => {
  test('a prediction is seen to its exact depth, for its life and no longer', () => {
    const keys = freshKeys(100)
    overlay.predict(3, keys, 60, 1_000, 2_000)
    expect(depthsAt(keys, 1_000)).toEqual(new Map([[3, 60]]))
    expect(depthsAt(keys, 2_999)).toEqual(new Map([[3, 60]]))
    expect(depthsAt(keys, 3_000)).toEqual(new Map())
    expect(depthsAt(freshKeys(4), 1_000)).toEqual(new Map())
  })

  test('each slot has the depth of its own longest prediction', () => {
    const keys = freshKeys(500)
    for (let slot = 0; slot < 40; slot++) overlay.predict(slot, keys, 1 + slot * 7, 0, 1_000)
    overlay.predict(5, keys, 3, 0, 1_000)
    const wanted = new Map(Array.from({ length: 40 }, (_, slot) => [slot, 1 + slot * 7]))
    expect(depthsAt(keys, 10)).toEqual(wanted)
  })

  test('a prefix predicted on all 1,024 slots names them all', () => {
    const keys = freshKeys(3)
    for (let slot = 0; slot < SLOTS_MAX; slot++) overlay.predict(slot, keys, 3, 0, 1_000)
    expect(depthsAt(keys, 1).size).toBe(SLOTS_MAX)
  })

  test('forget takes back one slot alone', () => {
    const keys = freshKeys(8)
    overlay.predict(1, keys, 8, 0, 1_000)
    overlay.predict(2, keys, 8, 0, 1_000)
    overlay.forget(1)
    expect(depthsAt(keys, 1)).toEqual(new Map([[2, 8]]))
  })

  test('what a full slot had before is gone, the deep blocks first', () => {
    overlay.setCapacity(7, 10)
    const old = freshKeys(6)
    overlay.predict(7, old, 6, 0, 1_000)
    overlay.predict(7, freshKeys(7), 7, 0, 1_000)
    expect(depthsAt(old, 1)).toEqual(new Map([[7, 3]]))
    overlay.predict(7, freshKeys(10), 10, 0, 1_000)
    expect(depthsAt(old, 1)).toEqual(new Map())
  })

  test('index and predictions are joined, the deeper counts, the index is told apart', () => {
    const root = new BigUint64Array(1)
    chainRoot(root, 'join', 1, '', '')
    const index = PrefixIndex.create({ blockSize: 1, bytesMax: 1 << 24 })
    const batch = new IndexBatch()
    batch.store({ root, parent: null, hashes: [11n, 12n], tokens: [1, 2], extras: null })
    index.apply(1, 0, batch)
    index.apply(2, 0, batch)
    const keys = new BigUint64Array(4)
    chainKeys(root, Uint32Array.of(1, 2, 3, 4), 4, 1, keys)
    overlay.predict(2, keys, 4, 0, 1_000)
    overlay.predict(3, keys, 1, 0, 1_000)
    const found = matchPrefix(index.id, keys, 4, 1, slots, depths, indexDepths)
    const rows = Array.from({ length: found }, (_, i) => [slots[i], depths[i], indexDepths[i]])
    expect(new Set(rows)).toEqual(
      new Set([
        [1, 2, 2],
        [2, 4, 2],
        [3, 1, 0],
      ]),
    )
    expect(matchPrefix(0, keys, 4, 1, slots, depths, indexDepths)).toBe(2)
    index.close()
  })

  test('wrong arguments are refused by name', () => {
    const keys = freshKeys(2)
    expect(() => overlay.predict(SLOTS_MAX, keys, 1, 0, 1)).toThrow(/slot/)
    expect(() => overlay.predict(0, keys, 3, 0, 1)).toThrow(/count/)
    expect(() => overlay.predict(0, keys, 1, -1, 1)).toThrow(/nowMs/)
    expect(() => overlay.predict(0, keys, 1, 0, Number.NaN)).toThrow(/ttlMs/)
    expect(() => overlay.match(keys, 2, 0, new Uint32Array(4), depths)).toThrow(/outSlots/)
  })
})
