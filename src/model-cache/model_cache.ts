/**
 * One source and what the cache has of it: turns wishes (an open, a preload, a peer's request) into
 * hydrations, and their ends into published files.
 *
 *   want(path) ──► check the tree ──► room? ──► hydrate ──► seal ──► front.publish
 *                                      └─ no ─► front.bypass
 *   tree changed ──► old slot retired (readers keep its bytes), new slot absent
 *
 * Invariants: a slot has one version for life; what is published was read whole, hashed, and the
 * source was still the same afterwards; capacity is reserved before the first byte moves.
 */
import { closeSync } from 'node:fs'
import type { Log } from '../observe/log.ts'
import type { ChunkMap } from './chunk_map.ts'
import { FreshHandles } from './fresh_handles.ts'
import type { Front } from './front.ts'
import { Hydration, type HydrationEnd, type Urgency } from './hydration.ts'
import type { Hydrator } from './hydrator.ts'
import { ModelLoads } from './model_loads.ts'
import { type HoldRules, isBelow, isHeldBack } from './pinned.ts'
import type { EvictionReason, Residents } from './residents.ts'
import type { Shelf } from './shelf.ts'
import { beginFile, forgetSidecar } from './sidecar.ts'
import { Slot, type StoreFile } from './slot.ts'
import { SmallPages } from './small_pages.ts'
import type { Source } from './source.ts'
import type { Store } from './store.ts'
import { Tree, type TreeChange } from './tree.ts'
import { type Outcome, type Wish, Wishes } from './wishes.ts'

/** Files that are filled at once besides those that somebody waits for. */
const FILLING_FILES_MAX = 8

/** Times that a file which keeps failing, or changing while it is read, is begun anew. */
const STARTS_MAX = 3

export interface ModelCacheHooks {
  onEvicted(reason: EvictionReason): void
  onGeneration(): void
  onResident(slot: Slot, milliseconds: number): void
  onModelReady(model: string, milliseconds: number): void
  onBypass(slot: Slot): void
  /** What a restart needs to go on with a file could not be written. */
  onNoteLost(slot: Slot): void
}

export interface ModelCacheOptions {
  readonly source: Source
  readonly sourceId: string
  readonly store: Store
  readonly residents: Residents
  readonly hydrator: Hydrator
  readonly shelf: Shelf
  readonly pins: readonly string[]
  readonly holds: HoldRules
  /** Tells the peers that a file is being loaded, and learns which of them load it too. */
  readonly announce: (slot: Slot, hydration: Hydration) => Promise<void>
  readonly now: () => number
  readonly log: Log
  readonly hooks: ModelCacheHooks
}

export class ModelCache {
  readonly tree: Tree
  readonly sourceId: string
  readonly #options: ModelCacheOptions
  readonly #slots = new Map<string, Slot>()
  readonly #wishes = new Wishes()
  readonly #fresh: FreshHandles
  readonly #filling = new Set<Slot>()
  readonly #loads: ModelLoads
  readonly #smallPages: SmallPages
  #front: Front

  constructor(options: ModelCacheOptions, front: Front) {
    this.#options = options
    this.sourceId = options.sourceId
    this.#front = front
    const { source, now, log, hooks } = options
    this.#fresh = new FreshHandles(source)
    this.#loads = new ModelLoads(this.#wishes, now, hooks)
    this.#smallPages = new SmallPages(log)
    this.tree = new Tree({
      source: options.source,
      sourceId: options.sourceId,
      now: options.now,
      onChange: changes => this.#changed(changes),
      isHeldBack: (path, isGone) =>
        isHeldBack(options.holds, path, isGone, this.#slots, this.#front),
    })
  }

  get front(): Front {
    return this.#front
  }

  get source(): Source {
    return this.#options.source
  }

  get store(): Store {
    return this.#options.store
  }

  slot(path: string): Slot | null {
    return this.#slots.get(path) ?? null
  }

  slots(): IterableIterator<Slot> {
    return this.#slots.values()
  }

  #changed(changes: readonly TreeChange[]): void {
    for (const { before, after } of changes) {
      if (before?.kind === 'file') {
        const isChange = after?.kind === 'file'
        if (isChange) this.#options.hooks.onGeneration()
        // Written in place, the bytes of before are nowhere any more.
        const isReplaced = !isChange || after.inode !== before.inode
        this.#retire(before.path, isChange ? 'changed' : 'gone', isReplaced)
      }
      if (after?.kind === 'file') {
        const slot = new Slot(after)
        slot.isPinned = this.#options.pins.some(pin => isBelow(after.path, pin))
        this.#slots.set(after.path, slot)
        if (before !== null) this.#fresh.expect(slot)
      }
    }
    this.#front.treeChanged(this.tree)
  }

  /**
   * Asks the source about a file or folder. Behind it the versions that have just come can be
   * opened, even when their paths are given to the next ones before.
   */
  async look(path: string): Promise<void> {
    for (let look = 0; look < STARTS_MAX; look += 1) {
      await this.tree.check(path, 0)
      if (await this.#fresh.hold(path)) return
    }
  }

  /** The slot's version is no longer the source's. Readers that have it open keep its bytes. */
  #retire(path: string, reason: EvictionReason, isReplaced: boolean): void {
    const slot = this.#slots.get(path)
    if (slot === undefined) return
    this.#slots.delete(path)
    const fresh = this.#fresh.take(slot)
    const wasResident = slot.state === 'resident'
    if (fresh !== null && isReplaced && !wasResident) this.#front.showLast(slot, fresh.fd)
    void fresh?.close()
    if (wasResident) this.#dispose(slot, true, reason)
    else this.#front.evict(slot, true)
    slot.hydration?.finish({ kind: 'changed', message: `the source file is ${reason}` })
    if (slot.half !== null) this.#discard(slot, slot.half.fd)
    slot.half = null
    slot.state = 'retired'
    this.#settle(slot, { kind: 'changed' })
  }

  /** Takes a resident file out of memory, if nobody uses it or if it must go. */
  #dispose(slot: Slot, isForced: boolean, reason: EvictionReason): 'evicted' | 'busy' {
    const { shelf, store, residents, hooks } = this.#options
    const { fileId, generation } = slot.file
    const isSending = shelf.isInUse(fileId)
    if (!isForced && isSending) return 'busy'
    if (isSending) {
      // Its descriptor must not be closed under the hands of the sender.
      void shelf.drop(fileId, generation).then(() => this.#dispose(slot, true, reason))
      return 'evicted'
    }
    if (this.#front.evict(slot, isForced) === 'busy') return 'busy'
    void shelf.drop(fileId, generation)
    slot.fd = null
    store.unlink(slot.storeName)
    forgetSidecar(store, slot.storeName)
    residents.release(slot)
    if (slot.state === 'resident') slot.state = 'absent'
    slot.map = null
    slot.tierBytes = null
    hooks.onEvicted(reason)
    return 'evicted'
  }

  /** `warmpath cache drop`: out of memory now, loaded again when it is next wanted. */
  drop(slot: Slot): 'evicted' | 'busy' | 'absent' {
    if (slot.state !== 'resident') return 'absent'
    return this.#dispose(slot, false, 'dropped')
  }

  /** Notes an open of a resident file: recency, and the rest of the model soon. */
  touch(slot: Slot): void {
    slot.usedMs = this.#options.now()
  }

  /** Brings the file into memory; settles when it is there, cannot be, or is another by now. */
  want(slot: Slot, urgency: Urgency): Promise<Outcome> {
    if (slot.state === 'resident') {
      this.touch(slot)
      return Promise.resolve({ kind: 'resident', slot })
    }
    if (slot.state === 'retired') return Promise.resolve({ kind: 'changed' })
    const known = this.#wishes.get(slot)
    const wish = known ?? this.#wishes.add(slot, urgency)
    if (urgency === 'open') void this.#fresh.hold(slot.file.path)
    if (known !== undefined) {
      this.#wishes.hurry(known, urgency)
      slot.hydration?.hurry(urgency)
    }
    this.#startWishes()
    return wish.result
  }

  #settle(slot: Slot, outcome: Outcome): void {
    this.#filling.delete(slot)
    this.#wishes.settle(slot, outcome)
  }

  #startWishes(): void {
    for (let wish = this.#wishes.first(); wish !== null; wish = this.#wishes.first()) {
      // Whoever is inside an open waits for nobody else's file.
      if (wish.urgency !== 'open' && this.#filling.size >= FILLING_FILES_MAX) return
      this.#wishes.take(wish)
      this.#filling.add(wish.slot)
      void this.#fill(wish)
    }
  }

  async #fill(wish: Wish): Promise<void> {
    const { slot } = wish
    const { now, hooks } = this.#options
    const startedMs = now()
    this.#loads.begins(slot.model)
    for (let start = 0; start < STARTS_MAX; start += 1) {
      const end = await this.#attempt(wish)
      if (slot.state === 'retired') break
      if (end.kind === 'complete') {
        hooks.onResident(slot, now() - startedMs)
        this.#settle(slot, { kind: 'resident', slot })
        break
      }
      if (end.kind === 'full') {
        await this.#full(wish)
        break
      }
      slot.error = end.kind === 'cancelled' ? 'cancelled' : end.message
      // A changed source is a new slot, unless the source only seemed to change: then once more.
      if (end.kind === 'changed') await this.look(slot.file.path)
      if (this.#slots.get(slot.file.path) !== slot) break
      if (end.kind !== 'changed' || start === STARTS_MAX - 1) {
        slot.isDenied = end.kind === 'denied'
        this.#failed(slot, slot.error)
        break
      }
    }
    this.#loads.ends(slot.model)
    this.#startWishes()
  }

  #failed(slot: Slot, message: string): void {
    this.#options.log.error({ path: slot.file.path, error: message }, 'file could not be loaded')
    this.#front.fail(slot, message)
    this.#settle(slot, { kind: 'failed', message })
  }

  /** There is no room. Whoever only wished for it in advance goes without. */
  async #full({ slot, urgency }: Wish): Promise<void> {
    const isAwaited = urgency === 'open' || this.#front.mode === 'tmpfs'
    if (!isAwaited) {
      this.#settle(slot, { kind: 'bypassed', slot })
      return
    }
    slot.state = 'bypassed'
    this.#options.hooks.onBypass(slot)
    await this.#front.bypass(slot)
    this.#settle(slot, { kind: 'bypassed', slot })
  }

  /** One try to fill the file. */
  async #attempt({ slot, urgency }: Wish): Promise<HydrationEnd> {
    const { hydrator, shelf, now, source, announce } = this.#options
    const file = slot.half ?? this.#begin(slot, urgency)
    slot.half = null
    if (file === null) return { kind: 'full' }
    const { fd, map } = file
    const hydration = new Hydration(slot.file, fd, urgency, now(), map)
    hydration.onLanded = () => this.#front.progress(slot)
    slot.state = 'hydrating'
    slot.hydration = hydration
    const onWanted = (chunk: number): boolean => {
      const isComing = hydration.want(chunk)
      hydrator.pump()
      return isComing
    }
    const { fileId, generation } = slot.file
    void shelf.put({ fileId, generation, fd, map, onWanted })
    await announce(slot, hydration)
    hydrator.add(hydration, source)
    const end = await hydration.done
    slot.hydration = null
    if (end.kind === 'complete' && slot.state === 'hydrating') {
      await this.#complete(slot, hydration)
      return end
    }
    await shelf.drop(fileId, generation)
    // What hangs in the source may write yet.
    this.#discard(slot, fd, hydration.back)
    return end
  }

  /** A new file of the store; null when there is no room for it. */
  #begin(slot: Slot, urgency: Urgency): StoreFile | null {
    const { residents, store, log, hooks } = this.#options
    const mayEvict = urgency !== 'preload'
    if (!residents.reserve(slot, this.modelNameOf(slot), mayEvict)) return null
    try {
      return beginFile(store, slot, () => hooks.onNoteLost(slot))
    } catch (error) {
      residents.release(slot)
      const message = error instanceof Error ? error.message : String(error)
      log.warn({ path: slot.file.path, error: message }, 'no room in the store')
      return null
    }
  }

  /** Forgets what was written of a file that did not become resident. */
  #discard(slot: Slot, fd: number, back: Promise<null> | null = null): void {
    const { store, residents } = this.#options
    if (back === null) closeSync(fd)
    else void back.then(() => closeSync(fd))
    store.unlink(slot.storeName)
    forgetSidecar(store, slot.storeName)
    residents.release(slot)
    if (slot.state === 'hydrating') slot.state = 'absent'
  }

  async #complete(slot: Slot, hydration: Hydration): Promise<void> {
    const { store, shelf, now } = this.#options
    const { fileId, generation } = slot.file
    const { map, storeFd } = hydration
    const fd = store.seal(slot.storeName)
    // Peers read from the writable descriptor until they are shown the other one.
    await shelf.put({ fileId, generation, fd, map, onWanted: () => true })
    closeSync(storeFd)
    if (slot.state !== 'hydrating') {
      await shelf.drop(fileId, generation)
      this.#discard(slot, fd)
      return
    }
    slot.fd = fd
    slot.map = map
    slot.tierBytes = hydration.tierBytes
    slot.isAdopted = false
    slot.error = null
    slot.isDenied = false
    slot.usedMs = now()
    this.#publish(slot)
  }

  /** Shows a slot whose bytes are all there: after a hydration, or taken over from before. */
  #publish(slot: Slot): void {
    const { residents, store } = this.#options
    slot.state = 'resident'
    slot.hugeBytes = slot.fd === null ? null : store.hugeBytes(slot.fd)
    this.#smallPages.look(slot)
    residents.settle({
      slot,
      model: this.modelNameOf(slot),
      evict: () => this.#dispose(slot, false, 'room'),
    })
    this.#front.publish(slot)
  }

  /** Takes over a file that was complete and was checked, from before a restart. */
  adopt(slot: Slot, fd: number, map: ChunkMap): void {
    slot.fd = fd
    slot.map = map
    slot.isAdopted = true
    slot.usedMs = this.#options.now()
    const { fileId, generation } = slot.file
    void this.#options.shelf.put({ fileId, generation, fd, map, onWanted: () => true })
    this.#publish(slot)
  }

  /** Takes over what an earlier daemon had loaded of a file; false when there is no room for it. */
  resume(slot: Slot, half: StoreFile): boolean {
    if (!this.#options.residents.takeOver(slot)) {
      this.#discard(slot, half.fd)
      return false
    }
    slot.half = half
    void this.want(slot, 'prefetch')
    return true
  }

  /** One name for the models of all sources. */
  modelNameOf({ model }: Slot): string {
    return `${this.sourceId}\0${model}`
  }
}
