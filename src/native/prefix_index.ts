/**
 * The prefix index: which slots hold which leading blocks of a prompt, exactly as the nodes'
 * events said. One index per (model, block size), in native memory, named by an id that any
 * thread can open. See native/prefix_index/prefix_index.h for what it means and how it works.
 *
 * `apply`, `clearSlot` and `removeSlot` belong to one writer thread; all else is for any thread.
 */
import { addon } from './addon.ts'
import type { IndexBatch } from './index_batch.ts'
import { BLOCK_TOKENS_MAX, SLOTS_MAX } from './limits.ts'

export { IndexBatch } from './index_batch.ts'

/** Names of the numbers of `statsInto`, in their order. */
export const INDEX_STATS = [
  'heldBlocks',
  'distinctBlocks',
  'runs',
  'orphanStores',
  'orphanBlocks',
  'extraCopies',
  'aliases',
  'bytesLive',
  'ops',
  'blocksStored',
  'blocksRemoved',
  'unknownRemovals',
  'misfitStores',
  'droppedBlocks',
  'droppedOrphans',
  'merges',
  'clears',
  'bytesReserved',
] as const

export type IndexStat = (typeof INDEX_STATS)[number]

/** Smallest budget: the empty tables and one growth step of the arena. */
export const INDEX_BYTES_MIN = 1 << 20

/** Largest budget: block numbers have 32 bits. */
const INDEX_BYTES_MAX = 2 ** 36

/** Groups are compared, never used as an index. */
const GROUP_MAX = 0xffffffff

export interface IndexOptions {
  /** Tokens of a block: the nodes' own. */
  readonly blockSize: number
  /** Budget of the index and all its side tables; past it new stores are dropped and counted. */
  readonly bytesMax: number
  /** Stores that may wait for their parent. */
  readonly orphanStoresMax?: number
  /** Bytes of stores that wait for their parent. */
  readonly orphanBytesMax?: number
  /** Operations after which a store that waits is dropped. */
  readonly orphanAgeOpsMax?: number
}

interface IndexAddon {
  indexSlotsMax: number
  indexStatsCount: number
  indexCreate(
    blockSize: number,
    bytesMax: number,
    orphanStoresMax: number,
    orphanBytesMax: number,
    orphanAgeOpsMax: number,
  ): number
  indexOpen(id: number): number
  indexClose(id: number): void
  indexApply(
    id: number,
    slot: number,
    group: number,
    ops: BigUint64Array,
    opWords: number,
    tokens: Uint32Array,
    tokenWords: number,
  ): void
  indexClearSlot(id: number, slot: number): void
  indexRemoveSlot(id: number, slot: number): void
  indexHideSlot(id: number, slot: number): void
  indexMatch(
    id: number,
    keys: BigUint64Array,
    count: number,
    outSlots: Uint32Array,
    outDepths: Uint32Array,
  ): number
  indexStats(id: number, out: Float64Array): void
  indexHeldBlocks(id: number, slot: number): number
  indexVerify(id: number): void
}

// Decode boundary: the addon's exports are declared here and in no other place.
// oxlint-disable-next-line typescript/no-unsafe-type-assertion
const native = addon as IndexAddon

if (native.indexSlotsMax !== SLOTS_MAX || native.indexStatsCount !== INDEX_STATS.length) {
  throw new Error('the native addon is of another version: run "npm run build:native"')
}

function checkInteger(name: string, value: number, min: number, max: number): void {
  if (!(Number.isInteger(value) && value >= min && value <= max)) {
    throw new TypeError(`${name} must be an integer from ${min} to ${max}, got ${value}`)
  }
}

function checkSlot(slot: number): void {
  checkInteger('slot', slot, 0, SLOTS_MAX - 1)
}

function checkOutput(name: string, out: Uint32Array): void {
  if (out.length < SLOTS_MAX) {
    throw new TypeError(`${name} must have ${SLOTS_MAX} words (one a slot), has ${out.length}`)
  }
}

export class PrefixIndex {
  readonly id: number
  readonly blockSize: number

  private constructor(id: number, blockSize: number) {
    this.id = id
    this.blockSize = blockSize
  }

  static create(options: IndexOptions): PrefixIndex {
    const { blockSize, bytesMax } = options
    const { orphanStoresMax = 4096, orphanBytesMax = 1 << 24, orphanAgeOpsMax = 1 << 22 } = options
    checkInteger('blockSize', blockSize, 1, BLOCK_TOKENS_MAX)
    checkInteger('bytesMax', bytesMax, INDEX_BYTES_MIN, INDEX_BYTES_MAX)
    checkInteger('orphanStoresMax', orphanStoresMax, 0, 1 << 24)
    checkInteger('orphanBytesMax', orphanBytesMax, 0, INDEX_BYTES_MAX)
    checkInteger('orphanAgeOpsMax', orphanAgeOpsMax, 0, Number.MAX_SAFE_INTEGER)
    const id = native.indexCreate(
      blockSize,
      bytesMax,
      orphanStoresMax,
      orphanBytesMax,
      orphanAgeOpsMax,
    )
    if (id === 0) throw new Error('too many prefix indices were made in this process')
    return new PrefixIndex(id, blockSize)
  }

  /** The index that another thread made. */
  static open(id: number): PrefixIndex {
    checkInteger('id', id, 1, 0xffffffff)
    const blockSize = native.indexOpen(id)
    if (blockSize === 0) throw new TypeError(`there is no prefix index ${id}`)
    return new PrefixIndex(id, blockSize)
  }

  /**
   * Applies a batch of one slot. `group` names the nodes whose engine hashes agree (same
   * algorithm, seed and block size); a slot that comes with another group than before loses what
   * it held. Writer thread only.
   */
  apply(slot: number, group: number, batch: IndexBatch): void {
    checkSlot(slot)
    checkInteger('group', group, 0, GROUP_MAX)
    const { ops, opWords, tokens, tokenWords } = batch
    native.indexApply(this.id, slot, group, ops, opWords, tokens, tokenWords)
  }

  /** Drops all blocks and parked stores of the slot and shows it again. Writer thread only. */
  clearSlot(slot: number): void {
    checkSlot(slot)
    native.indexClearSlot(this.id, slot)
  }

  /** As `clearSlot`, and the slot may be given to another node. Writer thread only. */
  removeSlot(slot: number): void {
    checkSlot(slot)
    native.indexRemoveSlot(this.id, slot)
  }

  /**
   * Hides the slot at once, from any thread; it stays hidden, whatever is stored meanwhile, until
   * the writer's next `clearSlot` or `removeSlot` that began after this call.
   */
  hideSlot(slot: number): void {
    checkSlot(slot)
    native.indexHideSlot(this.id, slot)
  }

  /**
   * Slots that hold a prefix of the keys, and how many blocks of it; returns how many slots.
   * Outputs have `SLOTS_MAX` words. Any thread, lock-free.
   */
  match(
    keys: BigUint64Array,
    count: number,
    outSlots: Uint32Array,
    outDepths: Uint32Array,
  ): number {
    checkInteger('count', count, 0, keys.length)
    checkOutput('outSlots', outSlots)
    checkOutput('outDepths', outDepths)
    return native.indexMatch(this.id, keys, count, outSlots, outDepths)
  }

  /** Blocks that the slot holds; more than its node has room for proves that removals were lost. */
  heldBlocks(slot: number): number {
    checkSlot(slot)
    return native.indexHeldBlocks(this.id, slot)
  }

  /** Fills the numbers named by `INDEX_STATS`, as of the last batch. */
  statsInto(out: Float64Array): void {
    if (out.length < INDEX_STATS.length) {
      throw new TypeError(`out must have ${INDEX_STATS.length} numbers, has ${out.length}`)
    }
    native.indexStats(this.id, out)
  }

  /** Empties the index and gives its memory back; its id stays valid and matches nothing. */
  close(): void {
    native.indexClose(this.id)
  }

  /** Checks every invariant and ends the process if one is broken: O(everything), for tests. */
  verify(): void {
    native.indexVerify(this.id)
  }
}
