/**
 * The paged KV cache of one rank: a pool of blocks with reference counts, found by block hash.
 *
 *   free list (least recently used first)         held by sequences
 *   ┌───┬───┬───┬───┐                             block ──► refs ≥ 1, hash or none yet
 *   │ 7 │ 3 │ 9 │ 4 │ ◄─ freed blocks with a hash join here, the chain's tail first;
 *   └─▲─┴───┴───┴───┘    blocks without a hash join at the front
 *     └─ the next allocation takes this one and, if it has a hash, announces its removal
 *
 * Example, block size 16, a prompt of 40 tokens: two full blocks and one of 8 tokens. The two are
 * announced in one store when the prefill is scheduled, the third when generated tokens fill it.
 * When the request ends, block 3 (no hash) goes to the front, then block 2, then block 1 to the
 * back, so that the chain is shortened from its end. A second equal prompt finds blocks 1 and 2:
 * of at most 39 tokens, since the last token must be computed anew to have an answer at all.
 *
 * Equal blocks are not merged: two requests that compute the same block at once, or the last block
 * of a prompt of exactly n blocks, give one hash two blocks, two stores and later two removals.
 *
 * Block 0 is never handed out (vLLM's null block); here it is the anchor of the free list.
 * Invariants: refs > 0 ⇔ not in the free list; a hash maps to every block that carries it.
 */
import assert from 'node:assert/strict'
import { blockHash, digestInteger, type ExtraKeys } from './block_hash.ts'

/** Blocks of one rank at most: keeps the typed arrays of a node below 64 MiB. */
export const BLOCKS_MAX = 1 << 20

export interface StoredEvent {
  readonly kind: 'stored'
  readonly hashes: readonly Buffer[]
  readonly parent: Buffer | null
  readonly tokens: Uint32Array
  readonly blockSize: number
  readonly adapter: string | null
  readonly adapterId: number | null
  /** Bare values a block, null where a block has none. */
  readonly extraKeys: readonly (readonly string[] | null)[]
  readonly sessionId: string | null
  /** Tokens after each block that its hash covers as well; null without a draft model. */
  readonly lookahead: readonly Uint32Array[] | null
}

export type KvEvent =
  | StoredEvent
  | { readonly kind: 'removed'; readonly hash: Buffer }
  | { readonly kind: 'cleared' }

/** What of a request decides whether its blocks equal another's. */
export interface CacheScope {
  readonly adapter: string | null
  readonly adapterId: number | null
  readonly salt: string | null
  readonly sessionId: string | null
}

/** The blocks of one sequence, and the tokens they are made of. */
export class KvSequence {
  readonly scope: CacheScope
  readonly promptTokens: number
  tokens: Uint32Array
  tokenCount: number
  /** Digest of each full block whose tokens are known. */
  readonly hashes: Buffer[]
  /** Block numbers, held with one reference each. */
  readonly blocks: number[]
  /** Full blocks that carry their hash already (found, or announced). */
  registered: number

  constructor(prompt: Uint32Array, scope: CacheScope) {
    this.scope = scope
    this.promptTokens = prompt.length
    this.tokens = prompt
    this.tokenCount = prompt.length
    this.hashes = []
    this.blocks = []
    this.registered = 0
  }

  append(token: number): void {
    if (this.tokenCount === this.tokens.length) {
      const grown = new Uint32Array(this.tokenCount + Math.max(64, this.tokenCount >> 2))
      grown.set(this.tokens)
      this.tokens = grown
    }
    this.tokens[this.tokenCount++] = token
  }
}

export interface KvCacheOptions {
  readonly blocks: number
  readonly blockSize: number
  readonly noneHash: Buffer
  readonly areExtraKeysTagged: boolean
  /** Tokens after a block that its hash covers as well (a draft model's), 0 for none. */
  readonly lookahead: number
  /** Whether anybody takes the events; without, none are kept. */
  readonly hasEvents: boolean
}

export class KvCache {
  readonly blockSize: number
  readonly blockCount: number
  private readonly options: KvCacheOptions
  private readonly refs: Int32Array
  private readonly next: Int32Array
  private readonly previous: Int32Array
  private readonly digests: (Buffer | null)[]
  private readonly byHash: Map<bigint, number[]>
  private freeBlocks: number
  private events: KvEvent[]

  constructor(options: KvCacheOptions) {
    const { blocks } = options
    assert(blocks >= 2 && blocks <= BLOCKS_MAX, `blocks must be 2 … ${BLOCKS_MAX}`)
    this.options = options
    this.blockSize = options.blockSize
    this.blockCount = blocks
    this.refs = new Int32Array(blocks)
    this.next = Int32Array.from({ length: blocks }, (_, block) => (block + 1) % blocks)
    this.previous = Int32Array.from({ length: blocks }, (_, block) => (block + blocks - 1) % blocks)
    this.digests = Array.from({ length: blocks }, () => null)
    this.byHash = new Map()
    this.freeBlocks = blocks - 1
    this.events = []
  }

  get freeCount(): number {
    return this.freeBlocks
  }

  /** Blocks held by sequences. */
  get usedCount(): number {
    return this.blockCount - 1 - this.freeBlocks
  }

  get usage(): number {
    return this.usedCount / (this.blockCount - 1)
  }

  /** Hashes the full blocks of a sequence whose tokens are all known by now. */
  private extendHashes(sequence: KvSequence): void {
    const { blockSize, options } = this
    const { lookahead } = options
    const known = Math.floor(Math.max(0, sequence.tokenCount - lookahead) / blockSize)
    for (let at = sequence.hashes.length; at < known; at++) {
      const parent = at === 0 ? options.noneHash : sequence.hashes[at - 1]
      assert(parent !== undefined)
      const end = (at + 1) * blockSize
      const extra: ExtraKeys = {
        adapter: sequence.scope.adapter,
        salt: at === 0 ? sequence.scope.salt : null,
      }
      const tokens = sequence.tokens.subarray(at * blockSize, end)
      const ahead = lookahead === 0 ? null : sequence.tokens.subarray(end, end + lookahead)
      sequence.hashes.push(blockHash(parent, tokens, extra, options.areExtraKeysTagged, ahead))
    }
  }

  /** Blocks of the cache that begin this sequence, at most all but its last token. */
  match(sequence: KvSequence): number[] {
    this.extendHashes(sequence)
    const found: number[] = []
    const most = Math.floor((sequence.tokenCount - 1) / this.blockSize)
    for (const digest of sequence.hashes) {
      const block = this.byHash.get(digestInteger(digest))?.[0]
      if (block === undefined || found.length === most) break
      found.push(block)
    }
    return found
  }

  /**
   * Gives a sequence the blocks for its first `tokens` tokens, of which `found` (of `match`) are
   * reused, and announces the blocks that these tokens fill. False when the pool is too small.
   */
  allocate(sequence: KvSequence, tokens: number, found: readonly number[] = []): boolean {
    const wanted = Math.ceil(tokens / this.blockSize)
    const missing = wanted - sequence.blocks.length - found.length
    let idleFound = 0
    for (const block of found) if (this.refs[block] === 0) idleFound++
    if (missing + idleFound > this.freeBlocks) return false
    for (const block of found) {
      if (this.refs[block] === 0) this.unlink(block)
      this.refs[block] = (this.refs[block] ?? 0) + 1
      sequence.blocks.push(block)
    }
    if (found.length > 0) sequence.registered = found.length
    for (let n = 0; n < missing; n++) sequence.blocks.push(this.takeFree())
    this.register(sequence, tokens)
    return true
  }

  /** Gives hashes to the blocks that the first `tokens` tokens fill, and announces them. */
  private register(sequence: KvSequence, tokens: number): void {
    this.extendHashes(sequence)
    const first = sequence.registered
    const full = Math.min(Math.floor(tokens / this.blockSize), sequence.hashes.length)
    if (full <= first) return
    for (let at = first; at < full; at++) {
      const block = sequence.blocks[at]
      const digest = sequence.hashes[at]
      assert(block !== undefined && digest !== undefined)
      this.digests[block] = digest
      const key = digestInteger(digest)
      const holders = this.byHash.get(key)
      if (holders === undefined) this.byHash.set(key, [block])
      else holders.push(block)
    }
    sequence.registered = full
    if (this.options.hasEvents) this.events.push(this.storedEvent(sequence, first, full))
  }

  private storedEvent(sequence: KvSequence, first: number, full: number): StoredEvent {
    const { blockSize } = this
    const { adapter, adapterId, salt, sessionId } = sequence.scope
    const extraKeys: (readonly string[] | null)[] = []
    for (let at = first; at < full; at++) {
      const keys = adapter === null ? [] : [adapter]
      if (at === 0 && salt !== null) keys.push(salt)
      extraKeys.push(keys.length === 0 ? null : keys)
    }
    const { lookahead: width } = this.options
    const lookahead = Array.from({ length: full - first }, (_, at) => {
      const end = (first + at + 1) * blockSize
      return sequence.tokens.slice(end, end + width)
    })
    return {
      kind: 'stored',
      hashes: sequence.hashes.slice(first, full),
      parent: first === 0 ? null : (sequence.hashes[first - 1] ?? null),
      tokens: sequence.tokens.slice(first * blockSize, full * blockSize),
      blockSize,
      adapter,
      adapterId,
      extraKeys,
      sessionId,
      lookahead: width === 0 ? null : lookahead,
    }
  }

  /** Takes the blocks of a sequence back: it may be matched and started again afterwards. */
  release(sequence: KvSequence): void {
    const { blocks } = sequence
    for (let at = blocks.length - 1; at >= 0; at--) {
      const block = blocks[at]
      assert(block !== undefined && (this.refs[block] ?? 0) > 0)
      this.refs[block] = (this.refs[block] ?? 0) - 1
      if (this.refs[block] === 0) this.link(block, this.digests[block] === null)
    }
    blocks.length = 0
    sequence.registered = 0
  }

  /** Forgets every hash; refused while a sequence holds blocks, as the engine does. */
  clear(): boolean {
    if (this.usedCount > 0) return false
    this.byHash.clear()
    this.digests.fill(null)
    if (this.options.hasEvents) this.events.push({ kind: 'cleared' })
    return true
  }

  /** Events since the last call, in the order in which they happened. */
  takeEvents(): KvEvent[] {
    const { events } = this
    if (events.length > 0) this.events = []
    return events
  }

  /** Digests of all blocks that could be found now, for tests. */
  cachedHashes(): bigint[] {
    return [...this.byHash.keys()]
  }

  private takeFree(): number {
    const block = this.next[0] ?? 0
    assert(block !== 0, 'the caller has counted the free blocks')
    this.unlink(block)
    this.refs[block] = 1
    const digest = this.digests[block] ?? null
    if (digest !== null) this.evict(block, digest)
    return block
  }

  private evict(block: number, digest: Buffer): void {
    const key = digestInteger(digest)
    const holders = this.byHash.get(key)
    assert(holders !== undefined && holders.includes(block), 'a hash finds its blocks')
    if (holders.length === 1) this.byHash.delete(key)
    else holders.splice(holders.indexOf(block), 1)
    this.digests[block] = null
    if (this.options.hasEvents) this.events.push({ kind: 'removed', hash: digest })
  }

  private unlink(block: number): void {
    const before = this.previous[block] ?? 0
    const after = this.next[block] ?? 0
    this.next[before] = after
    this.previous[after] = before
    this.freeBlocks--
  }

  private link(block: number, isFirst: boolean): void {
    const before = isFirst ? 0 : (this.previous[0] ?? 0)
    const after = this.next[before] ?? 0
    this.next[before] = block
    this.previous[block] = before
    this.next[block] = after
    this.previous[after] = block
    this.freeBlocks++
  }
}
