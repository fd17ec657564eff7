/**
 * Who may be in memory: the capacity, and who goes when somebody else wants room.
 *
 * Least recently used goes first, where used means opened or loaded. Four corrections:
 *
 *   - Nothing that somebody reads or maps goes, nor anything pinned: `evict` asks (lease probe).
 *   - Scan protection. A model larger than the capacity gives no hits at all under plain LRU:
 *
 *       capacity 3, shards a b c d, read in order twice
 *       plain LRU    a b c [d evicts a] [a evicts b] [b evicts c] …      0 hits
 *       protected    a b c, d is read past the cache; a b c hit, d past   3 of 4 hits
 *
 *     So a file makes no room at the cost of its own model's files that were used within the last
 *     LOAD_MS: they belong to the same load.
 *   - What is only wished for in advance takes room that is free, and nobody's place: of two
 *     preloaded models that do not fit together, each look at the source would else bring one
 *     file in and another out, for ever and for nobody.
 *   - The capacity is hard: what does not fit is read past the cache, and bytes that only readers
 *     of a retired version still hold count (`drainingBytes`, asked of the file system).
 *
 * Costs: a scan over all residents for each eviction; some 10 µs for a thousand files. A refusal
 * costs the same and brings nothing, so it holds for REFUSED_MS for the same model's files that
 * are no smaller, or until somebody leaves: of a folder of 10,000 files whose last 3,500 do not
 * fit, each of these would else look at all the others at every open.
 */
import type { Slot } from './slot.ts'

/** Milliseconds for which files of one model count as parts of one load. */
export const LOAD_MS = 60_000

/** Milliseconds for which a file that did not fit stands for the others of its model. */
export const REFUSED_MS = 1_000

export const EVICTION_REASONS = ['room', 'changed', 'gone', 'dropped'] as const
export type EvictionReason = (typeof EVICTION_REASONS)[number]

export interface Resident {
  readonly slot: Slot
  /** Same source and folder: one model. */
  readonly model: string
  /** Gives the memory back, or says that somebody is using it. */
  readonly evict: () => 'evicted' | 'busy'
}

export interface ResidentsOptions {
  readonly capacityBytes: number
  readonly now: () => number
  readonly loadMs?: number
  /** Files that may be resident or on the way; no limit without. */
  readonly filesMax?: number
  /** Bytes of the store that no slot answers for any more. */
  readonly drainingBytes?: (accountedBytes: number) => number
  /** Brings the times of last use up to date. */
  readonly refresh?: () => void
}

export class Residents {
  readonly #options: ResidentsOptions
  readonly #loadMs: number
  readonly #residents = new Map<Slot, Resident>()
  /** Slots that are being filled: they have room, but cannot be evicted. */
  readonly #reserved = new Map<Slot, number>()
  /** The smallest file of each model that found no room, and when. */
  readonly #refused = new Map<string, { readonly cost: number; readonly atMs: number }>()
  #bytes = 0
  #capacityBytes: number

  constructor(options: ResidentsOptions) {
    this.#options = options
    this.#loadMs = options.loadMs ?? LOAD_MS
    this.#capacityBytes = options.capacityBytes
  }

  get capacityBytes(): number {
    return this.#capacityBytes
  }

  /** Bytes reserved or resident. */
  get accountedBytes(): number {
    return this.#bytes
  }

  get usedBytes(): number {
    return this.#bytes + (this.#options.drainingBytes?.(this.#bytes) ?? 0)
  }

  get count(): number {
    return this.#residents.size
  }

  /** Lowers or raises the capacity; what is over it goes as far as it may. */
  setCapacity(bytes: number): void {
    this.#capacityBytes = bytes
    this.#refused.clear()
    for (const victim of this.#victims(null)) {
      if (this.usedBytes <= bytes) return
      this.#evict(victim)
    }
  }

  /** Takes room for a file that will be filled; false: none is free, or none to be made. */
  reserve(slot: Slot, model: string, mayEvict = true): boolean {
    if (slot.cost > this.#capacityBytes) return false
    if (!this.fits(slot)) {
      if (!mayEvict) return false
      if (this.isRefused(slot, model)) return false
      this.#makeRoom(slot, model)
    }
    if (!this.fits(slot)) {
      this.#refused.set(model, { cost: slot.cost, atMs: this.#options.now() })
      return false
    }
    this.#reserved.set(slot, slot.cost)
    this.#bytes += slot.cost
    return true
  }

  /** Whether it would be refused for what was just found out. */
  isRefused(slot: Slot, model: string): boolean {
    const refused = this.#refused.get(model)
    if (refused === undefined || slot.cost < refused.cost) return false
    return this.#options.now() - refused.atMs < REFUSED_MS
  }

  /** Its bytes are in the store already, from before a restart; false: they are too many. */
  takeOver(slot: Slot): boolean {
    if (this.#bytes + slot.cost > this.#capacityBytes) return false
    this.#reserved.set(slot, slot.cost)
    this.#bytes += slot.cost
    return true
  }

  /** Whether there is room as it is. */
  fits(slot: Slot): boolean {
    const { filesMax = Number.POSITIVE_INFINITY } = this.#options
    const hasPlace = this.#residents.size + this.#reserved.size < filesMax
    return hasPlace && this.usedBytes + slot.cost <= this.#capacityBytes
  }

  #makeRoom(slot: Slot, model: string): void {
    const victims = this.#victims(model)
    const free = this.#capacityBytes - this.usedBytes
    const gain = victims.reduce((sum, victim) => sum + victim.slot.cost, 0)
    // Evicting some and then not fitting after all would cost hits and bring nothing.
    if (free + gain < slot.cost) return
    for (const victim of victims) {
      if (this.fits(slot)) return
      this.#evict(victim)
    }
  }

  /** Who may go for a file of that model, longest unused first. */
  #victims(model: string | null): Resident[] {
    this.#options.refresh?.()
    const now = this.#options.now()
    const isSameLoad = (resident: Resident): boolean =>
      resident.model === model && now - resident.slot.usedMs < this.#loadMs
    const victims = [...this.#residents.values()].filter(
      resident => !resident.slot.isPinned && !isSameLoad(resident),
    )
    return victims.sort((a, b) => a.slot.usedMs - b.slot.usedMs)
  }

  #evict(resident: Resident): boolean {
    if (resident.evict() === 'busy') return false
    this.release(resident.slot)
    return true
  }

  /** A reserved slot has all its bytes. */
  settle(resident: Resident): void {
    const { slot } = resident
    if (!this.#reserved.delete(slot)) this.#bytes += slot.cost
    this.#residents.set(slot, resident)
  }

  /** The slot's bytes are gone, or will be with their last reader. */
  release(slot: Slot): void {
    const wasCounted = this.#reserved.delete(slot) || this.#residents.has(slot)
    this.#residents.delete(slot)
    if (wasCounted) this.#bytes -= slot.cost
    this.#refused.clear()
  }
}
