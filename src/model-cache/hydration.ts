/**
 * One file on its way into the store: which chunks are missing, which are on the way, what was
 * tried for them, and how it ended. It knows nothing of lanes (hydrator.ts) nor of files
 * (model_cache.ts); it is the bookkeeping between them.
 *
 *   missing ──take──► on the way ──landed──► present
 *      ▲                  │
 *      └──── gaveBack ────┘     (another route, or the same once more)
 *
 * The order is: chunks that somebody waits for, then the file from the front. Ends exactly once:
 * complete, changed (the source has other bytes than these), failed, denied (it may not be read),
 * full (the store cannot take it), or cancelled. `done` waits for the chunks that are on the way,
 * but not for those that hang in the source; `back` waits for these too, so that the descriptor
 * that they may write to can be closed then.
 */
import { ChunkMap, Testimony } from './chunk_map.ts'
import { deferred } from './deferred.ts'
import { EXTENT_CHUNKS } from './digest.ts'
import type { Peer } from './peer.ts'
import type { Tier } from './routes.ts'
import type { SourceLease } from './source_lease.ts'
import type { SpotCheck } from './spot_check.ts'
import type { TreeFile } from './tree.ts'

export type HydrationEnd =
  | { readonly kind: 'complete' }
  | { readonly kind: 'changed'; readonly message: string }
  | { readonly kind: 'failed'; readonly message: string }
  /** The source may not be read. */
  | { readonly kind: 'denied'; readonly message: string }
  /** The store cannot take it. */
  | { readonly kind: 'full' }
  | { readonly kind: 'cancelled' }

/** Why a file is loaded; a lower rank goes first. */
export const URGENCIES = ['open', 'peer', 'prefetch', 'preload'] as const
export type Urgency = (typeof URGENCIES)[number]

export function rankOf(urgency: Urgency): number {
  return URGENCIES.indexOf(urgency)
}

/** Times that one peer is asked for one chunk while it only says "not yet". */
export const NOT_YET_MAX = 10

/** Chunks asked for out of turn that are remembered; more are served in turn anyway. */
const WANTED_MAX = 1024

export class Hydration {
  readonly file: TreeFile
  readonly storeFd: number
  readonly map: ChunkMap
  readonly testimony: Testimony
  readonly done: Promise<HydrationEnd>
  readonly back: Promise<null>
  readonly tierBytes: Record<Tier, number> = { local: 0, peer: 0, warmup: 0, source: 0 }
  urgency: Urgency
  /** Set while chunks are read from the source. */
  sourceLease: SourceLease | null = null
  /** What the source says of bytes from peers. */
  spotCheck: SpotCheck | null = null
  inFlight = 0
  /** Called for every chunk that lands. */
  onLanded: () => void = () => {}
  /** When the last chunk landed; a hydration that makes no progress for too long fails. */
  progressMs: number
  readonly startedMs: number
  #end: HydrationEnd | null = null
  readonly #resolve: (end: HydrationEnd) => void
  readonly #resolveBack: (nothing: null) => void
  /** Chunks on the way, and whether they were asked of a member that may not have them. */
  readonly #onTheWay = new Map<number, boolean>()
  /** Those of them that hang in the source. */
  readonly #hanging = new Set<number>()
  readonly #wantedByPeers = new Set<number>()
  readonly #wanted: number[] = []
  readonly #excluded = new Set<string>()
  readonly #excludedForChunk = new Map<number, Set<string>>()
  readonly #notYet = new Map<number, number>()
  /** Chunks below it are present or on the way. */
  #front = 0
  /** Where looking for candidates goes on behind the front. */
  #look = 0

  constructor(file: TreeFile, storeFd: number, urgency: Urgency, nowMs: number, map?: ChunkMap) {
    this.file = file
    this.storeFd = storeFd
    this.urgency = urgency
    this.map = map ?? new ChunkMap(file.size)
    // Taken over from an earlier daemon: where it had them from nobody knows any more.
    this.tierBytes.local = this.map.bytes
    this.testimony = new Testimony(this.map.count)
    this.startedMs = nowMs
    this.progressMs = nowMs
    const back = deferred<null>()
    this.back = back.promise
    this.#resolveBack = back.resolve
    const { promise, resolve } = deferred<HydrationEnd>()
    this.done = promise
    this.#resolve = resolve
  }

  get isOver(): boolean {
    return this.#end !== null
  }

  /** Whether bytes came from the source, or may have. */
  get isFromSource(): boolean {
    return this.tierBytes.source + this.tierBytes.local > 0
  }

  /** Ends it; the first end counts. */
  finish(end: HydrationEnd): void {
    if (this.#end !== null) return
    this.#end = end
    this.#settle()
  }

  #settle(): void {
    if (this.#end === null) return
    if (this.inFlight === this.#hanging.size) this.#resolve(this.#end)
    if (this.inFlight === 0) this.#resolveBack(null)
  }

  get isHanging(): boolean {
    return this.#hanging.size > 0
  }

  /** The source does not answer for this chunk: an end waits no longer for it. */
  hangs(chunk: number): void {
    this.#hanging.add(chunk)
    this.#settle()
  }

  #arrived(chunk: number): void {
    this.#onTheWay.delete(chunk)
    this.#hanging.delete(chunk)
    this.inFlight -= 1
    this.#settle()
  }

  /** Raises the urgency; never lowers it. */
  hurry(urgency: Urgency): void {
    if (rankOf(urgency) < rankOf(this.urgency)) this.urgency = urgency
  }

  /**
   * A peer waits for this chunk: it goes before the others, and is ours to get. False when we are
   * waiting for another member that may be waiting for us.
   */
  want(chunk: number): boolean {
    if (this.map.has(chunk)) return true
    if (this.#wantedByPeers.size < WANTED_MAX) this.#wantedByPeers.add(chunk)
    const isCold = this.#onTheWay.get(chunk)
    if (isCold === false) return true
    if (this.#wanted.length < WANTED_MAX && !this.#wanted.includes(chunk)) this.#wanted.push(chunk)
    return isCold === undefined
  }

  isWantedByPeer(chunk: number): boolean {
    return this.#wantedByPeers.has(chunk)
  }

  #isFree(chunk: number): boolean {
    return chunk < this.map.count && !this.map.has(chunk) && !this.#onTheWay.has(chunk)
  }

  /**
   * Chunks that may be taken now, most wanted first; one a route is enough for the caller. Whoever
   * stops looking is led on from there the next time, behind the front: a long file whose lanes
   * are full would else be looked through for every chunk that lands.
   */
  *candidates(): Generator<number> {
    for (const chunk of this.#wanted) if (this.#isFree(chunk)) yield chunk
    while (this.#front < this.map.count && !this.#isFree(this.#front)) this.#front += 1
    let at = this.#front
    let isAtFront = true
    while (at < this.map.count) {
      if (!this.#isFree(at)) {
        at += 1
        continue
      }
      const next = (Math.floor(at / EXTENT_CHUNKS) + 1) * EXTENT_CHUNKS
      if (!isAtFront) this.#look = next
      yield at
      if (!this.#isFree(at)) {
        at += 1
        continue
      }
      // Not taken: its lane is full, and so it is for the rest of the extent.
      at = isAtFront ? Math.max(next, this.#look) : next
      isAtFront = false
    }
    this.#look = 0
  }

  take(chunk: number, isCold: boolean): void {
    this.#onTheWay.set(chunk, isCold)
    const at = this.#wanted.indexOf(chunk)
    if (at !== -1 && !isCold) this.#wanted.splice(at, 1)
    this.inFlight += 1
  }

  landed(chunk: number, digest: Buffer, tier: Tier, nowMs: number): void {
    this.#wantedByPeers.delete(chunk)
    this.progressMs = nowMs
    this.map.add(chunk, digest)
    this.tierBytes[tier] += this.map.length(chunk)
    this.onLanded()
    this.#arrived(chunk)
  }

  gaveBack(chunk: number): void {
    this.#front = Math.min(this.#front, chunk)
    this.#arrived(chunk)
  }

  /** The peer is not asked again for this file. */
  exclude(peer: Peer): void {
    this.#excluded.add(peer.id)
  }

  excludeFor(chunk: number, peer: Peer): void {
    const set = this.#excludedForChunk.get(chunk) ?? new Set<string>()
    set.add(peer.id)
    this.#excludedForChunk.set(chunk, set)
  }

  isExcluded(chunk: number, peer: Peer): boolean {
    return this.#excluded.has(peer.id) || (this.#excludedForChunk.get(chunk)?.has(peer.id) ?? false)
  }

  /** Counts a "not yet"; false when the peer has said it too often. */
  mayAskAgain(chunk: number): boolean {
    const times = (this.#notYet.get(chunk) ?? 0) + 1
    this.#notYet.set(chunk, times)
    return times < NOT_YET_MAX
  }
}
