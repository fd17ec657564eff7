/**
 * Allocator of slots: the dense u32 that names one (node, rank) in every native table.
 *
 *      free ── allocate ──► held ── retire ──► resting ── collect ──► free (at the tail)
 *
 * A retired slot rests until no exchange holds a lease on it and until every gateway thread has
 * had time to see the view without it; only then are its tables cleared (`onFreed`, exactly once)
 * and may the number be given to another rank. The free list is first in, first out, so a number
 * is reused as late as possible.
 *
 * Example with three slots: a node with ranks 0, 1 holds slots 0 and 1; removed, both rest; a node
 * added at that moment gets slot 2; after the rest, `collect` frees 0 and 1 for the next one.
 */
import assert from 'node:assert'

/** Longer than the delivery of a view to a thread whose event loop stalls (ms). */
export const SLOT_REST_MS = 2000

interface Resting {
  readonly slot: number
  readonly untilMs: number
}

export class SlotAllocator {
  readonly #free: number[]
  readonly #held = new Set<number>()
  #resting: Resting[] = []

  constructor(slotsMax: number) {
    this.#free = Array.from({ length: slotsMax }, (_, slot) => slot)
  }

  get freeCount(): number {
    return this.#free.length
  }

  get restingCount(): number {
    return this.#resting.length
  }

  /** The next free slot, or null when all are held or resting. */
  allocate(): number | null {
    const slot = this.#free.shift()
    if (slot === undefined) return null
    this.#held.add(slot)
    return slot
  }

  /** Takes a slot out of use; `collect` frees it later. */
  retire(slot: number, nowMs: number): void {
    assert(this.#held.delete(slot), `slot ${slot} is not held`)
    this.#resting.push({ slot, untilMs: nowMs + SLOT_REST_MS })
  }

  /** Frees every rested slot that is idle, after `onFreed` cleared what the tables hold of it. */
  collect(nowMs: number, isIdle: (slot: number) => boolean, onFreed: (slot: number) => void): void {
    this.#resting = this.#resting.filter(({ slot, untilMs }) => {
      if (nowMs < untilMs || !isIdle(slot)) return true
      onFreed(slot)
      this.#free.push(slot)
      return false
    })
  }
}
