/**
 * How many chunks are read from the source at once, when some of the reads may never come back.
 *
 *   read ──► holds a slot ──► back
 *                 └── HANGING_MS ──► hangs: its slot is another's, its thread is lost ──► back
 *
 * A read that hangs in a network file system cannot be called back. So no version of a file has
 * more reads on the way than there are slots, hanging ones included, also when its load is begun
 * anew; and while something hangs, a load that has had nothing from the source yet sends one read
 * ahead of the others. One file that hangs costs others HANGING_MS, and `streams` threads; each
 * further one costs a single thread. At HANGING_MAX nothing is begun until a read comes back.
 *
 * Worked example, four slots: `bad` takes all four and hangs, and `good` waits. A second later the
 * slots are free. `bad` gets none of them, since it has four reads on the way; `good` sends one
 * chunk, and when it is here the others, four at a time.
 */
import type { TreeFile } from './tree.ts'

/** Milliseconds after which a read no longer holds up others: 4 MiB take a slow disk a tenth. */
export const HANGING_MS = 1_000

/** Reads that may hang; with the slots as many as there are threads (CHUNK_THREADS_MAX). */
export const HANGING_MAX = 32

export class SourceLane {
  readonly #slots: number
  #busy = 0
  #hanging = 0
  /** Reads on the way of each version, hanging ones too. */
  readonly #reads = new Map<TreeFile, number>()

  constructor(slots: number) {
    this.#slots = slots
  }

  /** Whether a read of this file may begin; unproven: its load has had nothing from here yet. */
  hasRoom(file: TreeFile, isUnproven: boolean): boolean {
    if (this.#busy >= this.#slots || this.#hanging >= HANGING_MAX) return false
    const most = this.#hanging > 0 && isUnproven ? 1 : this.#slots
    return (this.#reads.get(file) ?? 0) < most
  }

  /** Runs a read in a slot. `onHanging`: it has given its slot away, and may yet come back. */
  async read<T>(file: TreeFile, onHanging: () => void, run: () => Promise<T>): Promise<T> {
    let isHanging = false
    this.#busy += 1
    this.#count(file, 1)
    const timer = setTimeout(() => {
      isHanging = true
      this.#busy -= 1
      this.#hanging += 1
      onHanging()
    }, HANGING_MS)
    timer.unref()
    try {
      return await run()
    } finally {
      clearTimeout(timer)
      if (isHanging) this.#hanging -= 1
      else this.#busy -= 1
      this.#count(file, -1)
    }
  }

  #count(file: TreeFile, by: number): void {
    const reads = (this.#reads.get(file) ?? 0) + by
    if (reads === 0) this.#reads.delete(file)
    else this.#reads.set(file, reads)
  }
}
