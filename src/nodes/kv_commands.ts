/**
 * Keeps the commands of each slot in order, and a hidden slot from staying hidden.
 *
 *     hide ─► unsubscribe ─► subscribe       one after the other for a slot, side by side for two
 *
 * The writer of the index takes commands from any number of slots and closes sockets between them,
 * so a subscription that overtook the end of the one before would lose its blocks to it. And a slot
 * that was hidden (at once, from the main thread) is seen again only when the writer clears it: a
 * slot hidden while it had no subscription is therefore cleared right behind its next one.
 */
import type { KvFeed, KvFeedResult, KvSubscription } from './kv_feed.ts'

export class KvCommands {
  readonly #feed: KvFeed
  readonly #onSlotRestarted: (slot: number) => void
  /** Commands under way, by slot; the promise resolves after the last of them. */
  readonly #pending = new Map<number, KvFeedResult>()
  readonly #subscribed = new Set<number>()
  /** Hidden since the writer cleared them last. */
  readonly #hidden = new Set<number>()

  constructor(feed: KvFeed, onSlotRestarted: (slot: number) => void) {
    this.#feed = feed
    this.#onSlotRestarted = onSlotRestarted
  }

  /** Commands of this slot are under way: it must not be given to another rank. */
  isBusy(slot: number): boolean {
    return this.#pending.has(slot)
  }

  /** Makes the slot's blocks invisible and forgets its predictions, at once. */
  hide(slot: number): void {
    this.#onSlotRestarted(slot)
    this.#hidden.add(slot)
  }

  subscribe(subscription: KvSubscription): KvFeedResult {
    const { slot } = subscription
    return this.#order(slot, async () => {
      const subscribing = this.#feed.subscribe(subscription)
      const isHidden = this.#hidden.delete(slot)
      // In the same turn, so that no event can come between the two.
      const clearing = isHidden ? this.#feed.clear(slot) : null
      const failure = await subscribing
      await clearing
      if (failure === null) this.#subscribed.add(slot)
      else if (isHidden) this.#hidden.add(slot)
      return failure
    })
  }

  clear(slot: number): KvFeedResult {
    return this.#order(slot, async () => {
      if (this.#subscribed.has(slot)) this.#hidden.delete(slot)
      return this.#feed.clear(slot)
    })
  }

  unsubscribe(slot: number): KvFeedResult {
    return this.#order(slot, async () => {
      if (this.#subscribed.delete(slot)) this.#hidden.delete(slot)
      return this.#feed.unsubscribe(slot)
    })
  }

  /** Starts at once when nothing of the slot is under way, else after it. */
  #order(slot: number, command: () => KvFeedResult): KvFeedResult {
    const before = this.#pending.get(slot)
    const done = before === undefined ? command() : before.then(command)
    const last = done.finally(() => {
      if (this.#pending.get(slot) === last) this.#pending.delete(slot)
    })
    this.#pending.set(slot, last)
    return last
  }
}
