/** Memory of the index: merging, giving back, the budget. */
import { describe, expect, test } from 'vitest'
import { PrefixIndex } from '../../src/native/prefix_index.ts'
import { depths, IndexNode, stats } from './index_node.ts'

/** Letters that no other chain of a test uses. */
function unique(from: number, count: number): string {
  return Array.from({ length: count }, (_, i) => String.fromCodePoint(0x4e00 + from + i)).join('')
}

describe('memory of the prefix index', () => {
  test('ME-02: fork-heavy traffic does not grow the index: runs merge again', () => {
    const index = PrefixIndex.create({ blockSize: 1, bytesMax: 1 << 26 })
    const nodes = [new IndexNode(index, 1), new IndexNode(index, 2)]
    let trunk = unique(0, 4)
    for (const node of nodes) node.store(trunk)
    for (let round = 0; round < 200; round++) {
      const next = unique(10 + round * 2, 2)
      for (const node of nodes) node.store(next, trunk)
      const forks = Array.from({ length: 4 }, (_, i) => unique(1000 + round * 20 + i * 5, 5))
      for (const fork of forks) nodes[0]?.store(fork, trunk)
      for (const fork of forks) nodes[0]?.evict(fork, trunk)
      trunk += next
    }
    expect(depths(index, trunk)).toEqual({ 1: trunk.length, 2: trunk.length })
    const { runs = 0, merges = 0, heldBlocks } = stats(index)
    expect(heldBlocks).toBe(2 * trunk.length)
    expect(runs).toBeLessThanOrEqual(2)
    expect(merges).toBeGreaterThan(100)
    index.verify()
    index.close()
  })

  test('ME-03, ME-04: removed blocks free their memory, over ten times the budget', () => {
    const index = PrefixIndex.create({ blockSize: 1, bytesMax: 1 << 20 })
    const node = new IndexNode(index, 1)
    const chain = unique(0, 2000)
    node.store(chain)
    node.evict(chain)
    const empty = stats(index)
    for (let round = 0; round < 350; round++) {
      const text = unique(round * 7, 2000)
      node.store(text)
      node.evict(text)
    }
    const after = stats(index)
    expect(after).toMatchObject({ heldBlocks: 0, runs: 0, droppedBlocks: 0 })
    // The slot's list of runs may have room for some entries more.
    expect((after.bytesReserved ?? 0) - (empty.bytesReserved ?? 0)).toBeLessThan(1024)
    expect((after.bytesLive ?? 0) - (empty.bytesLive ?? 0)).toBeLessThan(1024)
    index.close()
  })

  test('IX-18, ME-05: past the budget stores are dropped and counted, lookups go on', () => {
    const bytesMax = 1 << 20
    const index = PrefixIndex.create({ blockSize: 1, bytesMax })
    const nodes = Array.from({ length: 200 }, (_, slot) => new IndexNode(index, slot))
    nodes[0]?.store('first')
    for (const [i, node] of nodes.entries()) node.store(unique(i * 50, 500))
    const full = stats(index)
    expect(full.droppedBlocks).toBeGreaterThan(0)
    expect(full.bytesReserved).toBeLessThanOrEqual(bytesMax)
    expect(depths(index, 'first')).toEqual({ 0: 5 })
    for (const node of nodes) index.removeSlot(node.slot)
    nodes[1]?.store('again')
    expect(depths(index, 'again')).toEqual({ 1: 5 })
    index.verify()
    index.close()
  })

  test('wrong arguments are refused by name', () => {
    const bytesMax = 1 << 24
    expect(() => PrefixIndex.create({ blockSize: 0, bytesMax })).toThrow(/blockSize/)
    expect(() => PrefixIndex.create({ blockSize: 1, bytesMax: 1 })).toThrow(/bytesMax/)
    expect(() => PrefixIndex.open(4000)).toThrow(/no prefix index 4000/)
    const index = PrefixIndex.create({ blockSize: 16, bytesMax })
    expect(PrefixIndex.open(index.id).blockSize).toBe(16)
    const keys = new BigUint64Array(2)
    const short = new Uint32Array(8)
    expect(() => index.match(keys, 3, short, short)).toThrow(/count/)
    expect(() => index.match(keys, 2, short, short)).toThrow(/outSlots/)
    expect(() => index.clearSlot(-1)).toThrow(/slot/)
    index.close()
  })
})
