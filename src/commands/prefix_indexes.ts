/**
 * The prefix indexes of the process: one for each base model and block size, made when the first
 * node that serves it has told both. They live in native memory; threads open them by id.
 */
import { PrefixIndex } from '../native/prefix_index.ts'

/** Bytes that one index may hold: some 7 million held blocks at 36 B each. */
const INDEX_BYTES_MAX = 256 * 2 ** 20
/** Indexes; none is ever taken down, so that a node of ever new names would fill the process. */
const INDEXES_MAX = 1024

export interface NamedIndex {
  readonly model: string
  readonly blockSize: number
  readonly index: PrefixIndex
}

export class PrefixIndexes {
  readonly #byName = new Map<string, NamedIndex>()
  readonly #indexesMax: number

  constructor(indexesMax: number = INDEXES_MAX) {
    this.#indexesMax = indexesMax
  }

  /** Id of the index, which is made at the first call; 0 when there are too many. */
  idFor(model: string, blockSize: number): number {
    const name = JSON.stringify([model, blockSize])
    const known = this.#byName.get(name)
    if (known !== undefined) return known.index.id
    if (this.#byName.size >= this.#indexesMax) return 0
    const index = PrefixIndex.create({ blockSize, bytesMax: INDEX_BYTES_MAX })
    this.#byName.set(name, { model, blockSize, index })
    return index.id
  }

  all(): readonly NamedIndex[] {
    return [...this.#byName.values()]
  }

  /** Makes a slot's blocks invisible everywhere, at once. */
  hide(slot: number): void {
    for (const { index } of this.#byName.values()) index.hideSlot(slot)
  }
}
