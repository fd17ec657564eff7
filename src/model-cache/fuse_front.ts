/**
 * The FUSE front: the tree as native threads answer it, and what they ask of the cache.
 *
 *   open of an absent file ──► want(open) ──► publish | bypass | fail    the open is held meanwhile
 *   lookup of an old entry ──► tree.check ──► swap if it changed ──► confirm
 *
 * When the first file of a model is opened, the rest of it is fetched too, in the order of names
 * from there on, because loaders read shards one after the other.
 *
 * Opens of resident files never come here: the native side counts them, and every USE_MS, and
 * before anything is evicted, the counts are taken over for recency and the hit rate. Files that
 * were read past the cache for want of room are looked at again then.
 */
import { closeSync, openSync } from 'node:fs'
import path from 'node:path'
import { isStoreFileIdle } from '../native/model_chunks.ts'
import {
  type FileUse,
  type FrontMode,
  type HandedMount,
  ModelMount,
  type TreeEntry,
} from '../native/model_mount.ts'
import type { Log } from '../observe/log.ts'
import type { Front } from './front.ts'
import type { CacheMetrics } from './metrics.ts'
import type { ModelCache } from './model_cache.ts'
import { PIN_MS } from './pinned.ts'
import type { RequestLimit } from './request_limit.ts'
import type { Residents } from './residents.ts'
import { type Slot, versionKeyOf } from './slot.ts'
import { openVersion, type Source, SourceError } from './source.ts'
import type { TreeEntry as Entry, Tree } from './tree.ts'

/** Milliseconds between two looks at what was opened. */
export const USE_MS = 2_000

/**
 * Milliseconds in which the rest of a model is asked for once: a walk through a cold folder of
 * thousands of files would else ask for all of them at each.
 */
const PREFETCH_MS = 1_000

/**
 * Files read past the cache that keep a descriptor between two opens; DESCRIPTORS_MIN in
 * descriptors.ts has room for them. Past it those that nobody has open are closed.
 */
const BYPASSED_MAX = 256

/** Descriptors that are looked at for one more. */
const BYPASSED_LOOKS = 4

export interface FuseFrontOptions {
  readonly handed: HandedMount
  readonly mode: FrontMode
  readonly revalidateMs: number
  readonly limit: RequestLimit
  readonly pinsGeneration: boolean
  readonly source: Source
  readonly cache: () => ModelCache
  readonly log: Log
  readonly now: () => number
  readonly onEnded: (error: number) => void
}

/** What the front is given after it and its member were made. */
export interface FuseSurroundings {
  readonly residents: Residents
  readonly metrics: CacheMetrics
}

const NANOSECONDS = 1_000_000_000n

/** The folder of a path, as the tree names it. */
function folderOf(name: string): string {
  const folder = path.posix.dirname(name)
  return folder === '.' ? '' : folder
}

function nativeEntry(entry: Entry, parent: number): TreeEntry {
  const isFile = entry.kind === 'file'
  return {
    parent,
    name: entry.path === '' ? '' : path.posix.basename(entry.path),
    isDirectory: !isFile,
    mode: entry.mode,
    size: isFile ? entry.size : 0,
    mtimeSeconds: Number(entry.mtimeNs / NANOSECONDS),
    mtimeNanoseconds: Number(entry.mtimeNs % NANOSECONDS),
    generation: isFile ? versionKeyOf(entry) : '',
  }
}

export class FuseFront implements Front {
  readonly #options: FuseFrontOptions
  readonly #mount: ModelMount
  readonly #idOf = new Map<string, number>()
  readonly #pathOf = new Map<number, string>()
  /** Id of each version, also of those that have left the tree but not yet the memory. */
  readonly #idOfSlot = new WeakMap<Slot, number>()
  readonly #seen = new WeakMap<Slot, FileUse>()
  /** When the rest of a model was last asked for. */
  readonly #prefetchedMs = new Map<string, number>()
  /** Files that are read from the source while they are loaded. */
  readonly #past = new Set<Slot>()
  /** Files that are read past the cache, longest ago first. */
  readonly #bypassed = new Set<Slot>()
  #around: FuseSurroundings | null = null
  #timer: NodeJS.Timeout | null = null

  constructor(options: FuseFrontOptions) {
    this.#options = options
    const { handed, mode, revalidateMs, limit } = options
    this.#mount = ModelMount.open({
      handed,
      mode,
      revalidateMs,
      openMsMax: limit.openMsMax,
      onOpenWanted: file => this.#openWanted(file),
      onCheckWanted: file => void this.#checkWanted(file),
      onEnded: options.onEnded,
    })
  }

  get mode(): FrontMode {
    return this.#mount.facts.mode
  }

  get reason(): string {
    return this.#mount.facts.reason
  }

  /** Answers readers from now on. */
  serve(around: FuseSurroundings): void {
    this.#around = around
    this.#mount.serve()
    this.#mount.markReady()
    this.#timer = setInterval(() => this.#look(), USE_MS)
    this.#timer.unref()
  }

  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
  }

  treeChanged(tree: Tree): void {
    const entries = [...tree.entries()].toSorted((a, b) => (a.path < b.path ? -1 : 1))
    const indexOf = new Map<string, number>()
    const shown: Entry[] = []
    const natives: TreeEntry[] = []
    for (const entry of entries) {
      const parent = entry.path === '' ? 0 : indexOf.get(folderOf(entry.path))
      // Its folder has just gone: the next look at the source takes it out too.
      if (parent === undefined) continue
      indexOf.set(entry.path, shown.length)
      shown.push(entry)
      natives.push(nativeEntry(entry, parent))
    }
    if (natives.length === 0) return
    const ids = this.#mount.swapTree(natives)
    this.#idOf.clear()
    this.#pathOf.clear()
    shown.forEach((entry, at) => {
      const id = ids[at]!
      this.#idOf.set(entry.path, id)
      this.#pathOf.set(id, entry.path)
      const slot = entry.kind === 'file' ? this.#options.cache().slot(entry.path) : null
      if (slot !== null) this.#idOfSlot.set(slot, id)
    })
  }

  #slotOf(file: number): Slot | null {
    const name = this.#pathOf.get(file)
    return name === undefined ? null : this.#options.cache().slot(name)
  }

  #openWanted(file: number): void {
    const slot = this.#slotOf(file)
    if (slot === null) {
      this.#mount.fail(file, 'ESTALE')
      return
    }
    if (slot.state === 'bypassed') slot.state = 'absent'
    void this.#options.cache().want(slot, 'open')
    this.#readPast(slot)
    this.#prefetch(slot)
  }

  /** Where the kernel does not let an open wait long, it is served from the source meanwhile. */
  #readPast(slot: Slot): void {
    const { pastMs } = this.#options.limit
    if (pastMs === null) return
    const timer = setTimeout(() => {
      if (slot.state !== 'hydrating') return
      this.#past.add(slot)
      void this.bypass(slot)
    }, pastMs)
    timer.unref()
  }

  /** An open waits for as long as chunks arrive, unless the kernel has a limit of its own. */
  progress(slot: Slot): void {
    const id = this.#idOfSlot.get(slot)
    if (id !== undefined && this.#options.limit.pastMs === null) this.#mount.extend(id)
  }

  isInUse(slot: Slot): boolean {
    const id = this.#idOfSlot.get(slot)
    if (id === undefined) return false
    const { opens, usedAtMs } = this.#mount.use(id)
    if (opens > 0 || Date.now() - usedAtMs < PIN_MS) return true
    // Closed and still mapped: the lease tells, where the kernel reads the store file itself.
    const isTelling = this.mode === 'passthrough' && slot.state === 'resident' && !slot.isAdopted
    return isTelling && slot.fd !== null && !isStoreFileIdle(slot.fd)
  }

  /** The other files of the model, those after the opened one first. */
  #prefetch(opened: Slot): void {
    const nowMs = this.#options.now()
    if (nowMs - (this.#prefetchedMs.get(opened.model) ?? -PREFETCH_MS) < PREFETCH_MS) return
    this.#prefetchedMs.set(opened.model, nowMs)
    const cache = this.#options.cache()
    const siblings = [...cache.slots()].filter(
      slot => slot.model === opened.model && slot.isLoadable && slot !== opened,
    )
    siblings.sort((a, b) => (a.file.path < b.file.path ? -1 : 1))
    const isAfter = (slot: Slot): boolean => slot.file.path > opened.file.path
    const order = [...siblings.filter(isAfter), ...siblings.filter(slot => !isAfter(slot))]
    for (const slot of order) {
      const isRefused = this.#around?.residents.isRefused(slot, cache.modelNameOf(slot)) ?? false
      if (!isRefused) void cache.want(slot, 'prefetch')
    }
  }

  async #checkWanted(file: number): Promise<void> {
    const name = this.#pathOf.get(file)
    const cache = this.#options.cache()
    const isFile = name !== undefined && cache.tree.get(name)?.kind === 'file'
    // A generation that is to be pinned is looked at as one.
    if (isFile && this.#options.pinsGeneration) await cache.tree.checkBelow(folderOf(name))
    else if (name !== undefined) await cache.look(name)
    this.#mount.confirm(file)
  }

  publish(slot: Slot): void {
    const id = this.#idOfSlot.get(slot)
    if (id === undefined || slot.fd === null) throw new Error(`${slot.file.path} has no id`)
    this.#takeUse(slot)
    this.#past.delete(slot)
    this.#mount.publish(id, slot.fd)
  }

  async bypass(slot: Slot): Promise<void> {
    const id = this.#idOfSlot.get(slot)
    if (id === undefined) return
    try {
      const handle = await openVersion(this.#options.source, slot.file)
      try {
        this.#showSource(id, handle.fd)
        this.#boundBypassed(slot)
      } finally {
        await handle.close()
      }
    } catch (error) {
      if (error instanceof SourceError && error.fault === 'changed') {
        await this.#options.cache().look(slot.file.path)
        this.#mount.fail(id, 'ESTALE')
        return
      }
      slot.isDenied = error instanceof SourceError && error.fault === 'denied'
      this.fail(slot, error instanceof Error ? error.message : String(error))
    }
  }

  /** Opens of the file get the source's bytes, by a descriptor of its own for what `fd` is. */
  #showSource(id: number, fd: number): void {
    const own = openSync(`/proc/self/fd/${fd}`, 'r')
    try {
      this.#mount.bypass(id, own)
    } catch (error) {
      closeSync(own)
      throw error
    }
  }

  /**
   * The kernel opens a file anew once, when it was told that the version it asked for has gone; a
   * second time it is the application's error. So an open that waits has this version, although
   * it is the last one to have it.
   */
  showLast(slot: Slot, fd: number): void {
    const id = this.#idOfSlot.get(slot)
    if (id === undefined || !this.#mount.use(id).isAwaited) return
    try {
      this.#showSource(id, fd)
    } catch (error) {
      // Then they are told that it has gone, as whoever comes later.
      const message = error instanceof Error ? error.message : String(error)
      this.#options.log.warn(
        { path: slot.file.path, error: message },
        'a last version is not shown',
      )
    }
  }

  #boundBypassed(added: Slot): void {
    this.#bypassed.add(added)
    if (this.#bypassed.size <= BYPASSED_MAX) return
    for (const slot of [...this.#bypassed].slice(0, BYPASSED_LOOKS)) this.#closeBypassed(slot)
  }

  /** Its next open asks anew whether there is room. */
  #closeBypassed(slot: Slot): void {
    this.#bypassed.delete(slot)
    if (slot.state !== 'bypassed') return
    if (this.evict(slot, false) === 'evicted') slot.state = 'absent'
    else this.#bypassed.add(slot)
  }

  fail(slot: Slot, message: string): void {
    const id = this.#idOfSlot.get(slot)
    if (id === undefined) return
    this.#around?.metrics.opened('error')
    const code = slot.isDenied ? 'EACCES' : 'EIO'
    this.#options.log.error({ path: slot.file.path, error: message }, `readers get ${code}`)
    this.#mount.fail(id, code)
    this.#takeUse(slot)
    if (!this.#past.delete(slot)) return
    // The next open tries again, or finds the source as long as somebody reads it there.
    if (this.#mount.evict(id, false) === 'evicted') return
    slot.state = 'bypassed'
    this.#bypassed.add(slot)
  }

  evict(slot: Slot, isForced: boolean): 'evicted' | 'busy' {
    const id = this.#idOfSlot.get(slot)
    if (id === undefined) return 'evicted'
    this.#takeUse(slot)
    if (isForced) this.#past.delete(slot)
    return this.#mount.evict(id, isForced)
  }

  refresh(slots: Iterable<Slot>): void {
    for (const slot of slots) if (this.#isServed(slot)) this.#takeUse(slot)
  }

  #isServed(slot: Slot): boolean {
    return slot.state === 'resident' || slot.state === 'bypassed' || this.#past.has(slot)
  }

  #takeUse(slot: Slot): void {
    const id = this.#idOfSlot.get(slot)
    if (id === undefined) return
    const use = this.#mount.use(id)
    this.#count(slot, use)
    const { opens, usedAtMs } = use
    const usedMs = this.#options.now() - (Date.now() - usedAtMs)
    if (opens > 0) slot.usedMs = this.#options.now()
    else if (usedAtMs > 0) slot.usedMs = Math.max(slot.usedMs, usedMs)
  }

  /** Opens since the last look, by what they found; an open that waited for its bytes is a miss. */
  #count(slot: Slot, use: FileUse): void {
    const seen = this.#seen.get(slot)
    const opens = use.opensTotal - (seen?.opensTotal ?? 0)
    if (opens === 0 || this.#around === null) return
    this.#seen.set(slot, use)
    const { metrics } = this.#around
    const { size } = slot.file
    if (slot.state !== 'resident' || this.#past.has(slot)) {
      metrics.opened('bypass', opens)
      metrics.passed(opens * size)
      return
    }
    const misses = use.waitsTotal - (seen?.waitsTotal ?? 0)
    metrics.opened('miss', misses)
    metrics.opened('hit', opens - misses)
    metrics.tier('local', (opens - misses) * size)
  }

  /** Recency, hit rate and `df`, and whether files that did not fit would fit now. */
  #look(): void {
    if (this.#around === null) return
    const { residents } = this.#around
    this.refresh(this.#options.cache().slots())
    this.#mount.setUsage(
      residents.capacityBytes,
      Math.min(residents.usedBytes, residents.capacityBytes),
    )
    const fitting = [...this.#bypassed].filter(slot => residents.fits(slot))
    for (const slot of fitting) this.#closeBypassed(slot)
  }
}
