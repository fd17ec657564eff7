/**
 * How long a model takes to come: from its first file that is begun to its last that is here.
 */
import type { Wishes } from './wishes.ts'

interface ModelLoadsHooks {
  onModelReady(model: string, milliseconds: number): void
}

export class ModelLoads {
  readonly #wishes: Wishes
  readonly #now: () => number
  readonly #hooks: ModelLoadsHooks
  readonly #startedMs = new Map<string, number>()

  constructor(wishes: Wishes, now: () => number, hooks: ModelLoadsHooks) {
    this.#wishes = wishes
    this.#now = now
    this.#hooks = hooks
  }

  /** One of its files is begun. */
  begins(model: string): void {
    if (!this.#startedMs.has(model)) this.#startedMs.set(model, this.#now())
  }

  /** One of its files is done; the model is when no other is wished for. */
  ends(model: string): void {
    const startedMs = this.#startedMs.get(model)
    if (startedMs === undefined || this.#wishes.countOf(model) > 0) return
    this.#startedMs.delete(model)
    this.#hooks.onModelReady(model, this.#now() - startedMs)
  }
}
