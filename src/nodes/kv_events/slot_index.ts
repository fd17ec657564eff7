/**
 * The prefix index as one (node, rank) writes it: one batch of operations per KV batch, handed
 * over in one native call. `SharedIndex` is what the slots of one index have in common: the roots
 * of their chains.
 */
import { chainRoot } from '../../native/chain_hash.ts'
import { overlay } from '../../native/overlay.ts'
import { IndexBatch, PrefixIndex } from '../../native/prefix_index.ts'
import type { BlockWriter } from './interpreter.ts'

export interface SlotIndex extends BlockWriter {
  /** Root of the chains of an adapter ("" = base model) under a cache salt ("" = none). */
  rootOf(adapter: string, salt: string): BigUint64Array
  /** Hands what was written since the last flush to the index, in one call. */
  flush(): void
  /** Blocks that the slot holds, of what was flushed. */
  heldBlocks(): number
  /** Drops all blocks of the slot; a hidden slot is shown again. */
  dropBlocks(): void
  /** Another process has the slot: as `dropBlocks`, and its predictions go too. */
  restart(): void
  /** As `restart`, and the slot may be given to another node. */
  remove(): void
}

/** Roots kept of one index, one for each adapter and salt in use; past it all are made anew. */
export const ROOTS_MAX = 4096
/** Characters of adapter and salt together that are remembered: clients may send any salt. */
export const ROOT_NAME_MAX = 1024

export class SharedIndex {
  readonly index: PrefixIndex
  readonly #model: string
  readonly #roots: Map<string, BigUint64Array>

  constructor(indexId: number, model: string) {
    this.index = PrefixIndex.open(indexId)
    this.#model = model
    this.#roots = new Map()
  }

  rootOf(adapter: string, salt: string): BigUint64Array {
    // The length keeps ("a", "bc") and ("ab", "c") apart.
    const name = `${adapter.length}:${adapter}${salt}`
    const known = this.#roots.get(name)
    if (known !== undefined) return known
    const root = new BigUint64Array(1)
    chainRoot(root, this.#model, this.index.blockSize, adapter, salt)
    if (name.length > ROOT_NAME_MAX) return root
    if (this.#roots.size >= ROOTS_MAX) this.#roots.clear()
    this.#roots.set(name, root)
    return root
  }
}

export class NativeSlotIndex implements SlotIndex {
  readonly #shared: SharedIndex
  readonly #slot: number
  /** The nodes whose engine hashes agree with this one's. */
  readonly #hashGroup: number
  readonly #batch: IndexBatch

  constructor(shared: SharedIndex, slot: number, hashGroup: number) {
    this.#shared = shared
    this.#slot = slot
    this.#hashGroup = hashGroup
    this.#batch = new IndexBatch()
  }

  rootOf(adapter: string, salt: string): BigUint64Array {
    return this.#shared.rootOf(adapter, salt)
  }

  store(
    root: BigUint64Array,
    parent: bigint | null,
    hashes: BigUint64Array,
    tokens: Uint32Array,
    extras: BigUint64Array | null,
  ): void {
    const event = { root, parent, hashes, tokens, extras }
    this.#put(() => this.#batch.store(event))
  }

  removeBlocks(hashes: BigUint64Array): void {
    this.#put(() => this.#batch.removeAll(hashes))
  }

  clear(): void {
    this.#put(() => this.#batch.clear())
  }

  flush(): void {
    if (this.#batch.opWords === 0) return
    this.#shared.index.apply(this.#slot, this.#hashGroup, this.#batch)
    this.#batch.reset()
  }

  heldBlocks(): number {
    return this.#shared.index.heldBlocks(this.#slot)
  }

  dropBlocks(): void {
    this.#batch.reset()
    this.#shared.index.clearSlot(this.#slot)
  }

  restart(): void {
    this.dropBlocks()
    overlay.forget(this.#slot)
  }

  remove(): void {
    this.#batch.reset()
    this.#shared.index.removeSlot(this.#slot)
    overlay.forget(this.#slot)
  }

  #put(write: () => boolean): void {
    if (write()) return
    this.flush()
    // Messages are bounded in bytes, so one event always fits an empty batch.
    if (!write()) throw new Error('one event does not fit an empty batch')
  }
}
