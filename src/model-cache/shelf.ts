/**
 * What this member offers to others: whole files and files in the making, by file id. The
 * JavaScript sender reads from it; the native sender is told the same things through `mirror`.
 *
 * A descriptor that is being read for a peer must not be closed under the reader's hands, since its
 * number may be another file's a moment later. So `drop` waits for the last reader.
 */
import type { ChunkMap } from './chunk_map.ts'
import type { Holding } from './peer.ts'

export interface Offer {
  readonly fileId: string
  readonly generation: string
  readonly fd: number
  readonly map: ChunkMap
  /** A peer waits for a chunk that is not here yet; false: it had better ask elsewhere. */
  readonly onWanted: (chunk: number) => boolean
}

/** The same events for another sender. */
export interface ShelfMirror {
  put(offer: Offer): void
  chunk(offer: Offer, chunk: number): void
  /** It has descriptors of its own: that of the offer may be closed at once. */
  drop(offer: Offer): void
}

interface Entry {
  readonly offer: Offer
  users: number
  isDropped: boolean
  readonly onIdle: (() => void)[]
  readonly waiters: Map<number, (() => void)[]>
}

export type Lookup = { readonly kind: 'entry'; readonly lease: OfferLease } | LookupFailure
type LookupFailure = { readonly kind: 'unknown' } | { readonly kind: 'generation' }

/** An offer in use; `release` exactly once. */
class OfferLease {
  readonly offer: Offer
  readonly #shelf: Shelf
  readonly #entry: Entry

  constructor(shelf: Shelf, entry: Entry) {
    this.#shelf = shelf
    this.#entry = entry
    this.offer = entry.offer
    entry.users += 1
  }

  get isDropped(): boolean {
    return this.#entry.isDropped
  }

  /** Resolves when the chunk is there, or the offer was dropped, or after the time. */
  whenHere(chunk: number, waitMs: number): Promise<void> {
    if (this.offer.map.has(chunk) || this.#entry.isDropped) return Promise.resolve()
    if (!this.offer.onWanted(chunk)) return Promise.resolve()
    return new Promise(resolve => {
      const timer = setTimeout(resolve, waitMs)
      const list = this.#entry.waiters.get(chunk) ?? []
      list.push(() => {
        clearTimeout(timer)
        resolve()
      })
      this.#entry.waiters.set(chunk, list)
    })
  }

  release(): void {
    this.#shelf.released(this.#entry)
  }
}

export class Shelf {
  readonly #entries = new Map<string, Entry>()
  readonly #mirror: ShelfMirror | null

  constructor(mirror: ShelfMirror | null) {
    this.#mirror = mirror
  }

  /**
   * Offers a file, or the same one from another descriptor. Resolves when nobody reads from the
   * former descriptor any more; peers notice nothing of the change.
   */
  put(offer: Offer): Promise<void> {
    const former = this.#entries.get(offer.fileId)
    this.#entries.set(offer.fileId, {
      offer,
      users: 0,
      isDropped: false,
      onIdle: [],
      waiters: new Map(),
    })
    this.#mirror?.put(offer)
    if (former === undefined) return Promise.resolve()
    return this.#retired(former)
  }

  /** Wakes whoever waits for a chunk of it; resolves when nobody reads from its descriptor. */
  #retired(entry: Entry): Promise<void> {
    entry.isDropped = true
    for (const chunk of entry.waiters.keys()) this.#wake(entry, chunk)
    if (entry.users === 0) return Promise.resolve()
    return new Promise<void>(resolve => entry.onIdle.push(resolve))
  }

  chunk(fileId: string, chunk: number): void {
    const entry = this.#entries.get(fileId)
    if (entry === undefined) return
    this.#wake(entry, chunk)
    this.#mirror?.chunk(entry.offer, chunk)
  }

  #wake(entry: Entry, chunk: number): void {
    const waiters = entry.waiters.get(chunk) ?? []
    entry.waiters.delete(chunk)
    for (const wake of waiters) wake()
  }

  /** Takes the file off; resolves when nobody reads from its descriptor any more. */
  async drop(fileId: string, generation: string): Promise<void> {
    const entry = this.#entries.get(fileId)
    if (entry === undefined || entry.offer.generation !== generation) return
    this.#entries.delete(fileId)
    this.#mirror?.drop(entry.offer)
    await this.#retired(entry)
  }

  released(entry: Entry): void {
    entry.users -= 1
    if (entry.users === 0) for (const wake of entry.onIdle.splice(0)) wake()
  }

  find(fileId: string, generation: string): Lookup {
    const entry = this.#entries.get(fileId)
    if (entry === undefined) return { kind: 'unknown' }
    if (entry.offer.generation !== generation) return { kind: 'generation' }
    return { kind: 'entry', lease: new OfferLease(this, entry) }
  }

  isInUse(fileId: string): boolean {
    return (this.#entries.get(fileId)?.users ?? 0) > 0
  }

  /** What a hello says about one file, or all. */
  holdings(): Map<string, Holding> {
    const holdings = new Map<string, Holding>()
    for (const [fileId, { offer }] of this.#entries) {
      const chunks = offer.map.isComplete ? null : offer.map.offered()
      holdings.set(fileId, { generation: offer.generation, chunks })
    }
    return holdings
  }

  digests(fileId: string, generation: string): Buffer | null {
    const entry = this.#entries.get(fileId)
    return entry?.offer.generation === generation ? entry.offer.map.digests : null
  }
}
