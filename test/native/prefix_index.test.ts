/** Directed tests, named by the rows of the list of routing failures of other gateways. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { SLOTS_MAX } from '../../src/native/limits.ts'
import { IndexBatch, PrefixIndex } from '../../src/native/prefix_index.ts'
import { depths, IndexNode, letters, stats } from './index_node.ts'

let index: PrefixIndex

beforeEach(() => {
  index = PrefixIndex.create({ blockSize: 1, bytesMax: 1 << 26 })
})

afterEach(() => {
  index.verify()
  index.close()
})

describe('lookups are exact', () => {
  test('IX-02: a middle block is evicted, restored, and the chain extended', () => {
    const node = new IndexNode(index, 1)
    node.store('abcdef')
    node.remove('abc')
    expect(depths(index, 'abcdef')).toEqual({ 1: 2 })
    node.remove('a')
    expect(depths(index, 'abcdef')).toEqual({})
    node.store('a')
    node.store('c', 'ab')
    expect(depths(index, 'abcdef')).toEqual({ 1: 6 })
    node.store('gh', 'abcdef')
    expect(depths(index, 'abcdefgh')).toEqual({ 1: 8 })
  })

  test('IX-03: a node with a b c scores 1 for a x c', () => {
    new IndexNode(index, 1).store('abc')
    expect(depths(index, 'axc')).toEqual({ 1: 1 })
  })

  test('IX-04: a prefix held by 200 nodes lists all 200', () => {
    const wanted: Record<number, number> = {}
    for (let slot = 0; slot < 200; slot++) {
      const node = new IndexNode(index, slot)
      node.store('system prompt')
      if (slot % 3 === 0) node.store(String.fromCodePoint(1000 + slot), 'system prompt')
      wanted[slot] = 'system prompt'.length
    }
    expect(depths(index, 'system prompt and more')).toEqual(wanted)
    expect(depths(index, `system prompt${String.fromCodePoint(1003)}`)[3]).toBe(14)
  })

  test('IX-05: a node with a slightly shorter match is named beside the deepest', () => {
    const text = 'x'.repeat(40)
    new IndexNode(index, 1).store(text)
    new IndexNode(index, 2).store(text.slice(0, 39))
    expect(depths(index, text)).toEqual({ 1: 40, 2: 39 })
  })

  test('IX-20: a parent evicted everywhere while its child stays leaves one place per key', () => {
    const one = new IndexNode(index, 1)
    const two = new IndexNode(index, 2)
    one.store('abcd')
    two.store('abxy')
    one.evict('abcd')
    two.remove('ab', 'a')
    expect(depths(index, 'abxy')).toEqual({})
    two.store('ab')
    expect(depths(index, 'abxy')).toEqual({ 2: 4 })
    two.store('z', 'abxy')
    one.store('abxyz')
    expect(depths(index, 'abxyz')).toEqual({ 1: 5, 2: 5 })
  })
})

describe('nodes come and go', () => {
  test('IX-16: clearing one of many slots costs its own blocks and leaves no trace', () => {
    for (let slot = 0; slot < SLOTS_MAX; slot++) {
      new IndexNode(index, slot).store(`common${String.fromCodePoint(2000 + slot)}tail`)
    }
    const before = stats(index)
    expect(before).toMatchObject({ heldBlocks: SLOTS_MAX * 11, runs: SLOTS_MAX })
    index.removeSlot(77)
    const after = stats(index)
    expect(after).toMatchObject({ heldBlocks: SLOTS_MAX * 11 - 11, runs: SLOTS_MAX - 1 })
    expect(index.heldBlocks(77)).toBe(0)
    expect(depths(index, 'common')[77]).toBeUndefined()
    expect(Object.keys(depths(index, 'common'))).toHaveLength(SLOTS_MAX - 1)
    for (let slot = 0; slot < SLOTS_MAX; slot++) index.removeSlot(slot)
    expect(stats(index)).toMatchObject({ heldBlocks: 0, distinctBlocks: 0, runs: 0 })
  })

  test('EV-17: AllBlocksCleared empties that slot and no other', () => {
    const one = new IndexNode(index, 1)
    const two = new IndexNode(index, 2)
    one.store('abc')
    two.store('abc')
    one.cleared()
    expect(depths(index, 'abc')).toEqual({ 2: 3 })
  })

  test('a hidden slot stays hidden, whatever is stored, until the writer clears it', () => {
    const node = new IndexNode(index, 1)
    node.store('abc')
    index.hideSlot(1)
    expect(depths(index, 'abc')).toEqual({})
    node.store('d', 'abc')
    expect(depths(index, 'abcd')).toEqual({})
    index.clearSlot(1)
    node.store('ab')
    expect(depths(index, 'abcd')).toEqual({ 1: 2 })
  })

  test('a slot that comes with another group loses what it held', () => {
    new IndexNode(index, 1, 1).store('abc')
    new IndexNode(index, 1, 2).store('x')
    expect(depths(index, 'abc')).toEqual({})
    expect(index.heldBlocks(1)).toBe(1)
  })
})

describe('hashes', () => {
  test('EV-15: a hash announced k times survives k - 1 removals', () => {
    const node = new IndexNode(index, 1)
    for (let i = 0; i < 3; i++) node.store('abc')
    node.remove('abc', 'abc')
    expect(depths(index, 'abc')).toEqual({ 1: 3 })
    node.remove('abc')
    expect(depths(index, 'abc')).toEqual({ 1: 2 })
    expect(stats(index).extraCopies).toBe(2)
  })

  test('EV-19: children of an unknown parent wait for it, and a removed one does not come', () => {
    const node = new IndexNode(index, 1)
    node.store('ef', 'abcd')
    node.store('cd', 'ab')
    node.store('g', 'abcdef')
    node.remove('abcdefg')
    expect(stats(index)).toMatchObject({ orphanStores: 2, heldBlocks: 0 })
    node.store('ab')
    expect(depths(index, 'abcdefg')).toEqual({ 1: 6 })
    expect(stats(index)).toMatchObject({ orphanStores: 0, unknownRemovals: 0 })
  })

  test('EV-19: what waits is bounded in number, bytes and age', () => {
    const small = PrefixIndex.create({
      blockSize: 1,
      bytesMax: 1 << 24,
      orphanStoresMax: 3,
      orphanBytesMax: 2000,
      orphanAgeOpsMax: 10,
    })
    const node = new IndexNode(small, 1)
    for (const parent of ['aa', 'bb', 'cc', 'dd']) node.store('x', parent)
    expect(stats(small)).toMatchObject({ orphanStores: 3, droppedOrphans: 1 })
    node.store('y'.repeat(200), 'ee')
    expect(stats(small)).toMatchObject({ orphanStores: 0, droppedOrphans: 5 })
    node.store('x', 'ff')
    for (let i = 0; i < 11; i++) node.store('z')
    expect(stats(small)).toMatchObject({ orphanStores: 0, droppedOrphans: 6 })
    small.close()
  })

  test('EV-26: a removal from parked stores looks into one of them, however many wait', () => {
    const node = new IndexNode(index, 1)
    const [stores, blocks] = [4096, 64]
    const names = Array.from({ length: stores }, (_, n) => String.fromCodePoint(0x4e00 + n))
    const chain = 'a'.repeat(blocks)
    for (const name of names) node.store(chain, name)
    expect(stats(index)).toMatchObject({ orphanStores: stores, orphanBlocks: stores * blocks })
    const removal = (name: string): number => {
      const start = performance.now()
      node.remove(`${name}a`)
      return performance.now() - start
    }
    const some = 201
    // The newest are found soon by any search; the oldest lie behind all the others.
    const newest = names
      .slice(-some)
      .map(removal)
      .sort((x, y) => x - y)
    const oldest = names
      .slice(0, some)
      .map(removal)
      .sort((x, y) => x - y)
    const left = stores * blocks - 2 * some
    expect(stats(index)).toMatchObject({ orphanBlocks: left, unknownRemovals: 0 })
    expect(oldest[100]).toBeLessThan(10 * (newest[100] ?? 0))
  })

  test('a block parked twice is removed twice, the newest copy first', () => {
    const node = new IndexNode(index, 1)
    node.store('bcd', 'a')
    node.store('bx', 'a')
    node.remove('ab', 'ab')
    expect(stats(index)).toMatchObject({ orphanBlocks: 3, unknownRemovals: 0 })
    node.remove('ab')
    expect(stats(index)).toMatchObject({ orphanBlocks: 3, unknownRemovals: 1 })
    node.store('a')
    expect(depths(index, 'abcd')).toEqual({ 1: 1 })
    node.store('b', 'a')
    expect(depths(index, 'abcd')).toEqual({ 1: 4 })
    expect(depths(index, 'abx')).toEqual({ 1: 3 })
  })

  test('an orphan finds its parent at another node of its group, not of another', () => {
    const one = new IndexNode(index, 1, 1)
    const two = new IndexNode(index, 2, 1)
    const other = new IndexNode(index, 3, 2)
    one.store('abc')
    two.store('d', 'abc')
    other.store('d', 'abc')
    expect(stats(index)).toMatchObject({ orphanStores: 1, heldBlocks: 4 })
    two.store('abc')
    expect(depths(index, 'abcd')).toEqual({ 1: 3, 2: 4 })
  })

  test('EV-23: nodes that hash differently still match the same prompt', () => {
    const nodes = [0, 1, 2, 3].map(slot => new IndexNode(index, slot, slot, 1000 + slot))
    for (const node of nodes) node.store('abcd')
    expect(depths(index, 'abcd')).toEqual({ 0: 4, 1: 4, 2: 4, 3: 4 })
    expect(stats(index)).toMatchObject({ distinctBlocks: 4, aliases: 12 })
    nodes[0]?.evict('abcd')
    nodes[2]?.remove('abcd')
    expect(depths(index, 'abcd')).toEqual({ 1: 4, 2: 3, 3: 4 })
    nodes[1]?.cleared()
    nodes[3]?.evict('abcd')
    nodes[2]?.evict('abc')
    expect(stats(index)).toMatchObject({ heldBlocks: 0, aliases: 0, runs: 0, unknownRemovals: 0 })
  })

  test('an unknown removal is counted and changes nothing', () => {
    const node = new IndexNode(index, 1)
    node.store('abc')
    node.remove('abx')
    new IndexNode(index, 2).remove('abc')
    expect(stats(index).unknownRemovals).toBe(2)
    expect(depths(index, 'abc')).toEqual({ 1: 3 })
  })

  test('EV-13: a store that does not fit its tokens, or is its own parent, is skipped', () => {
    const batch = new IndexBatch()
    const root = new BigUint64Array(1)
    batch.store({ root, parent: null, hashes: [1n, 2n], tokens: [1], extras: null })
    batch.store({ root, parent: 5n, hashes: [5n], tokens: [1], extras: null })
    batch.store({ root, parent: null, hashes: [6n, 6n], tokens: [1, 2], extras: null })
    batch.store({ root, parent: null, hashes: [7n], tokens: letters('q'), extras: null })
    index.apply(1, 0, batch)
    expect(stats(index)).toMatchObject({ misfitStores: 3, heldBlocks: 1, orphanStores: 0 })
  })

  test('extras tell blocks of equal tokens apart', () => {
    const batch = new IndexBatch()
    const root = BigUint64Array.of(99n)
    batch.store({ root, parent: null, hashes: [1n], tokens: [1], extras: [7n] })
    batch.store({ root, parent: null, hashes: [2n], tokens: [1], extras: [8n] })
    batch.store({ root, parent: null, hashes: [3n], tokens: [1], extras: [0n] })
    batch.store({ root, parent: null, hashes: [4n], tokens: [1], extras: null })
    index.apply(1, 0, batch)
    expect(stats(index)).toMatchObject({ heldBlocks: 3, aliases: 1 })
  })
})
