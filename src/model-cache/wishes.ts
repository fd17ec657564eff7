/**
 * Which files are wanted, how urgently, and who is to be told when they are here.
 *
 *   add ──► waiting, in one row an urgency ──first, take──► being filled ──settle──► told
 *              └── hurry: to the end of a better row
 *
 * Every step costs the same however many files are wanted: a source of 10,000 small files is loaded
 * at start as 10,000 wishes. (One list that was sorted at every step took minutes for them.)
 */
import { deferred } from './deferred.ts'
import { rankOf, URGENCIES, type Urgency } from './hydration.ts'
import type { Slot } from './slot.ts'

export type Outcome =
  | { readonly kind: 'resident'; readonly slot: Slot }
  | { readonly kind: 'bypassed'; readonly slot: Slot }
  | { readonly kind: 'failed'; readonly message: string }
  | { readonly kind: 'changed' }

export interface Wish {
  readonly slot: Slot
  urgency: Urgency
  readonly result: Promise<Outcome>
  readonly resolve: (outcome: Outcome) => void
}

export class Wishes {
  readonly #wishes = new Map<Slot, Wish>()
  /** Those that nobody works on yet. */
  readonly #rows = URGENCIES.map(() => new Set<Wish>())
  readonly #counts = new Map<string, number>()

  #row(urgency: Urgency): Set<Wish> {
    return this.#rows[rankOf(urgency)]!
  }

  get(slot: Slot): Wish | undefined {
    return this.#wishes.get(slot)
  }

  add(slot: Slot, urgency: Urgency): Wish {
    const { promise, resolve } = deferred<Outcome>()
    const wish = { slot, urgency, result: promise, resolve }
    this.#wishes.set(slot, wish)
    this.#row(urgency).add(wish)
    this.#counts.set(slot.model, this.countOf(slot.model) + 1)
    return wish
  }

  /** Raises the urgency; never lowers it. */
  hurry(wish: Wish, urgency: Urgency): void {
    if (rankOf(urgency) >= rankOf(wish.urgency)) return
    const isWaiting = this.#row(wish.urgency).delete(wish)
    wish.urgency = urgency
    if (isWaiting) this.#row(urgency).add(wish)
  }

  /** The most urgent that waits, and of those the first. */
  first(): Wish | null {
    for (const row of this.#rows) {
      for (const wish of row) return wish
    }
    return null
  }

  /** Somebody works on it now. */
  take(wish: Wish): void {
    this.#row(wish.urgency).delete(wish)
  }

  settle(slot: Slot, outcome: Outcome): void {
    const wish = this.#wishes.get(slot)
    if (wish === undefined) return
    this.take(wish)
    this.#wishes.delete(slot)
    const left = this.countOf(slot.model) - 1
    if (left > 0) this.#counts.set(slot.model, left)
    else this.#counts.delete(slot.model)
    wish.resolve(outcome)
  }

  /** How many files of a model are still wanted. */
  countOf(model: string): number {
    return this.#counts.get(model) ?? 0
  }
}
