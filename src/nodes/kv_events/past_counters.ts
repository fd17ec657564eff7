/**
 * What a slot's earlier subscriptions counted. A restart ends a subscription and begins another,
 * whose counters start at 0; what is shown of a rank never falls, so those of its past are added.
 * A slot that another node has begins anew.
 *
 *     begin(3, 'a')  … ended(3, {restarts: 1, …})  begin(3, 'a')  sum(3, {restarts: 0, …}) ─► 1
 *     begin(3, 'b')                                               sum(3, {restarts: 0, …}) ─► 0
 */
import type { FeedCounters } from './protocol.ts'

interface Past {
  readonly nodeId: string
  /** null: this is the first subscription. */
  readonly counters: FeedCounters | null
}

export class PastCounters {
  /** At most one entry for each slot of the process. */
  readonly #bySlot = new Map<number, Past>()

  begin(slot: number, nodeId: string): void {
    if (this.#bySlot.get(slot)?.nodeId === nodeId) return
    this.#bySlot.set(slot, { nodeId, counters: null })
  }

  ended(slot: number, counters: FeedCounters): void {
    const past = this.#bySlot.get(slot)
    if (past !== undefined) {
      this.#bySlot.set(slot, { nodeId: past.nodeId, counters: this.sum(slot, counters) })
    }
  }

  /** The counters of a slot's subscription with those of its past. */
  sum(slot: number, counters: FeedCounters): FeedCounters {
    const past = this.#bySlot.get(slot)?.counters ?? null
    if (past === null) return counters
    const { skipped: skippedBefore, ...before } = past
    const { skipped, ...now } = counters
    return { ...plus(before, now), skipped: plus(skippedBefore, skipped) }
  }
}

function plus<K extends string>(
  a: Readonly<Record<K, number>>,
  b: Readonly<Record<K, number>>,
): Record<K, number> {
  const sum: Record<K, number> = { ...a }
  for (const key in b) sum[key] += b[key]
  return sum
}
