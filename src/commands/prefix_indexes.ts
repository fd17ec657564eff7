/**
 * The prefix indexes of the process: one for each base model and block size, made when the first
 * node that serves it has told both. They live in native memory; threads open them by id.
 */
import { PrefixIndex } from '../native/prefix_index.ts'

/** Bytes that one index may hold: some 7 million held blocks at 36 B each. */
const INDEX_BYTES_MAX = 256 * 2 ** 20

export interface NamedIndex {
  readonly model: string
  readonly blockSize: number
  readonly index: PrefixIndex
}

export class PrefixIndexes {
  readonly #byName = new Map<string, NamedIndex>()

  /** Id of the index, which is made at the first call. */
  idFor(model: string, blockSize: number): number {
    const name = JSON.stringify([model, blockSize])
    const known = this.#byName.get(name)
    if (known !== undefined) return known.index.id
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
