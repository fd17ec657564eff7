import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { digestInteger, noneHash } from '../../src/sim/block_hash.ts'
import { type CacheScope, KvCache, KvSequence } from '../../src/sim/kv_cache.ts'

const SCOPE: CacheScope = { adapter: null, adapterId: null, salt: null, sessionId: null }
const BLOCK_SIZE = 2

function makeCache(blocks: number): KvCache {
  return new KvCache({
    blocks,
    blockSize: BLOCK_SIZE,
    noneHash: noneHash('0'),
    areExtraKeysTagged: true,
    lookahead: 0,
    hasEvents: true,
  })
}

/** What a plain reader of the events believes is cached: copies by hash. */
class Believer {
  readonly copies = new Map<bigint, number>()

  read(cache: KvCache): void {
    for (const event of cache.takeEvents()) {
      if (event.kind === 'cleared') this.copies.clear()
      else if (event.kind === 'removed') this.count(digestInteger(event.hash), -1)
      else for (const hash of event.hashes) this.count(digestInteger(hash), 1)
    }
  }

  private count(hash: bigint, by: number): void {
    const now = (this.copies.get(hash) ?? 0) + by
    expect(now).toBeGreaterThanOrEqual(0)
    if (now === 0) this.copies.delete(hash)
    else this.copies.set(hash, now)
  }
}

/** A free list as a plain array, and blocks by the text of their chain: obviously right. */
class PlainCache {
  private readonly free: number[]
  private readonly chains = new Map<number, string>()
  private readonly refs = new Map<number, number>()

  constructor(blocks: number) {
    this.free = Array.from({ length: blocks - 1 }, (_, at) => at + 1)
  }

  private chain(tokens: readonly number[], block: number): string {
    return tokens.slice(0, (block + 1) * BLOCK_SIZE).join()
  }

  /** Blocks given to a prompt, and how many of them were found; null when there is no room. */
  start(tokens: readonly number[]): { blocks: number[]; found: number } | null {
    const blocks: number[] = []
    for (let at = 0; (at + 1) * BLOCK_SIZE < tokens.length; at++) {
      const chain = this.chain(tokens, at)
      // Of equal blocks the first that was announced is found.
      const held = [...this.chains].find(([, other]) => other === chain)?.[0]
      if (held === undefined) break
      blocks.push(held)
    }
    const found = blocks.length
    const wanted = Math.ceil(tokens.length / BLOCK_SIZE)
    const idle = blocks.filter(block => !this.refs.get(block)).length
    if (wanted - found + idle > this.free.length) return null
    for (const block of blocks) if (this.free.includes(block)) this.take(block)
    while (blocks.length < wanted) blocks.push(this.take(this.free[0] ?? 0, true))
    for (const block of blocks) this.refs.set(block, (this.refs.get(block) ?? 0) + 1)
    for (let at = found; (at + 1) * BLOCK_SIZE <= tokens.length; at++) {
      const block = blocks[at] ?? 0
      this.chains.delete(block)
      this.chains.set(block, this.chain(tokens, at))
    }
    return { blocks, found }
  }

  private take(block: number, forgets = false): number {
    this.free.splice(this.free.indexOf(block), 1)
    if (forgets) this.chains.delete(block)
    return block
  }

  end(blocks: readonly number[]): void {
    for (const block of blocks.toReversed()) {
      this.refs.set(block, (this.refs.get(block) ?? 0) - 1)
      if (this.refs.get(block) !== 0) continue
      if (this.chains.has(block)) this.free.push(block)
      else this.free.unshift(block)
    }
  }

  get distinct(): number {
    return new Set(this.chains.values()).size
  }

  get freeCount(): number {
    return this.free.length
  }
}

type Command = { start: readonly number[] } | { end: number }

// Few tokens and long shared beginnings, so that chains meet, fork and are evicted all the time.
const prompt = fc.array(fc.integer({ min: 1, max: 2 }), { minLength: 1, maxLength: 14 })
const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ start: prompt }) },
  { weight: 2, arbitrary: fc.record({ end: fc.nat({ max: 6 }) }) },
)

/** Drives the cache and the model together and compares them after every step. */
function run(blocks: number, commands: readonly Command[]): void {
  const cache = makeCache(blocks)
  const model = new PlainCache(blocks)
  const believer = new Believer()
  const running: { sequence: KvSequence; blocks: number[] }[] = []
  for (const step of commands) {
    if ('start' in step) {
      const sequence = new KvSequence(Uint32Array.from(step.start), SCOPE)
      const found = cache.match(sequence)
      const isStarted = cache.allocate(sequence, step.start.length, found)
      const expected = model.start(step.start)
      expect(isStarted).toBe(expected !== null)
      if (expected === null) continue
      expect(found.length).toBe(expected.found)
      expect(sequence.blocks).toEqual(expected.blocks)
      running.push({ sequence, blocks: expected.blocks })
    } else {
      const [ended] = running.splice(step.end % Math.max(1, running.length), 1)
      if (ended === undefined) continue
      cache.release(ended.sequence)
      model.end(ended.blocks)
    }
    believer.read(cache)
    expect(cache.freeCount).toBe(model.freeCount)
    expect(cache.cachedHashes().length).toBe(model.distinct)
    expect(new Set(believer.copies.keys())).toEqual(new Set(cache.cachedHashes()))
  }
}

describe('the paged cache', () => {
  it('finds, hands out and evicts as a plain model does, and its events say what it holds', () => {
    fc.assert(
      fc.property(fc.integer({ min: 8, max: 24 }), fc.array(command, { maxLength: 60 }), run),
      { numRuns: 500 },
    )
  })

  it('refuses to be cleared while blocks are held', () => {
    const cache = makeCache(8)
    const sequence = new KvSequence(Uint32Array.of(1, 2, 3), SCOPE)
    cache.allocate(sequence, 3)
    expect(cache.clear()).toBe(false)
    cache.release(sequence)
    expect(cache.clear()).toBe(true)
    expect(cache.cachedHashes()).toEqual([])
  })
})
