/**
 * One slot of an index as a test speaks of it: chains are texts, a letter is a block, and the
 * engine hash of a block follows from the text up to it (and from the node's seed).
 */
import { chainKeys, chainRoot } from '../../src/native/chain_hash.ts'
import { SLOTS_MAX } from '../../src/native/limits.ts'
import { INDEX_STATS, IndexBatch, type PrefixIndex } from '../../src/native/prefix_index.ts'

const root = new BigUint64Array(1)
chainRoot(root, 'test', 1, '', '')
const outSlots = new Uint32Array(SLOTS_MAX)
const outDepths = new Uint32Array(SLOTS_MAX)
const outStats = new Float64Array(INDEX_STATS.length)

export function letters(text: string): Uint32Array {
  return Uint32Array.from(text, letter => letter.charCodeAt(0))
}

/** Depth of each slot that holds a prefix of the text. */
export function depths(index: PrefixIndex, text: string): Record<number, number> {
  const keys = new BigUint64Array(text.length)
  chainKeys(root, letters(text), text.length, 1, keys)
  const found = index.match(keys, keys.length, outSlots, outDepths)
  return Object.fromEntries(
    Array.from({ length: found }, (_, i) => [outSlots[i] ?? 0, outDepths[i] ?? 0]),
  )
}

export function stats(index: PrefixIndex): Record<string, number> {
  index.statsInto(outStats)
  return Object.fromEntries(INDEX_STATS.map((name, i) => [name, outStats[i] ?? 0]))
}

export class IndexNode {
  readonly index: PrefixIndex
  readonly slot: number
  readonly group: number
  readonly seed: number
  readonly #batch = new IndexBatch()

  constructor(index: PrefixIndex, slot: number, group = 1, seed = 0) {
    this.index = index
    this.slot = slot
    this.group = group
    this.seed = seed
  }

  /** Engine hashes of the blocks of `text`, each of all letters up to it. */
  hashes(text: string): bigint[] {
    let high = this.seed + 17
    let low = 1
    return Array.from(text, letter => {
      high = Math.imul(high ^ letter.charCodeAt(0), 0x01000193) >>> 0
      low = Math.imul(low + letter.charCodeAt(0) + high, 0x85ebca6b) >>> 0
      return (BigInt(high) << 32n) | BigInt(low)
    })
  }

  /** Stores the blocks of `text` behind those of `before`. */
  store(text: string, before = ''): void {
    const all = this.hashes(before + text)
    this.#batch.reset()
    this.#batch.store({
      root,
      parent: all[before.length - 1] ?? null,
      hashes: all.slice(before.length),
      tokens: letters(text),
      extras: null,
    })
    this.index.apply(this.slot, this.group, this.#batch)
  }

  /** Removes the last block of each text. */
  remove(...texts: string[]): void {
    this.#batch.reset()
    for (const text of texts) this.#batch.remove(this.hashes(text).at(-1) ?? 0n)
    this.index.apply(this.slot, this.group, this.#batch)
  }

  /** Removes the blocks of `text` behind those of `before`, the deepest first. */
  evict(text: string, before = ''): void {
    this.#batch.reset()
    const all = this.hashes(before + text).slice(before.length)
    for (const hash of all.toReversed()) this.#batch.remove(hash)
    this.index.apply(this.slot, this.group, this.#batch)
  }

  /** AllBlocksCleared. */
  cleared(): void {
    this.#batch.reset()
    this.#batch.clear()
    this.index.apply(this.slot, this.group, this.#batch)
  }
}
