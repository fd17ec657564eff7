/**
 * Descriptors of versions that came a moment ago.
 *
 *   changed ──expect──► FRESH_MS, and for as long as it is loaded ──► forgotten
 *                          ├── looked up ──hold──► a descriptor of exactly this version
 *                          └── replaced meanwhile ──take──► who waits for it reads it there
 *
 * A look-up is followed by its open, and between the two the path may lead to the next version;
 * the descriptor still leads to the one that was promised. Files that change once an hour are not
 * expected to, so only those that have just changed cost an open here. At most FRESH_MAX are
 * remembered, for which DESCRIPTORS_MIN in descriptors.ts has room; the oldest goes first.
 */
import { isBelow } from './pinned.ts'
import type { Slot } from './slot.ts'
import { openVersion, type Source, SourceError, type SourceHandle } from './source.ts'

/** Milliseconds in which a file that has changed may well change again. */
const FRESH_MS = 2_000

/** Versions of one source that are remembered at once. */
const FRESH_MAX = 64

export class FreshHandles {
  readonly #source: Source
  readonly #handles = new Map<Slot, SourceHandle | null>()

  constructor(source: Source) {
    this.#source = source
  }

  /** A version has taken the place of another. */
  expect(slot: Slot): void {
    this.#handles.set(slot, null)
    this.#expireLater(slot)
    const oldest = this.#handles.keys().next().value
    if (this.#handles.size > FRESH_MAX && oldest !== undefined) this.#forget(oldest)
  }

  #isWanted(slot: Slot): boolean {
    return slot.state !== 'resident' && this.#handles.get(slot) === null
  }

  /**
   * Opens the versions that have just come at this path or below it; false: the path of one leads
   * elsewhere already.
   */
  async hold(path: string): Promise<boolean> {
    const wanted = [...this.#handles.keys()].filter(
      slot => isBelow(slot.file.path, path) && this.#isWanted(slot),
    )
    const held = await Promise.all(wanted.map(slot => this.#open(slot)))
    return !held.includes(false)
  }

  async #open(slot: Slot): Promise<boolean> {
    try {
      const handle = await openVersion(this.#source, slot.file)
      if (this.#isWanted(slot)) this.#handles.set(slot, handle)
      else await handle.close()
      return true
    } catch (error) {
      if (!(error instanceof SourceError)) throw error
      return false
    }
  }

  /** The descriptor, which belongs to the caller from now on. */
  take(slot: Slot): SourceHandle | null {
    const handle = this.#handles.get(slot) ?? null
    this.#handles.delete(slot)
    return handle
  }

  #forget(slot: Slot): void {
    void this.take(slot)?.close()
  }

  #expireLater(slot: Slot): void {
    const timer = setTimeout(() => {
      if (slot.state === 'hydrating' && this.#handles.has(slot)) this.#expireLater(slot)
      else this.#forget(slot)
    }, FRESH_MS)
    timer.unref()
  }
}
