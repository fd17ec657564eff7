/**
 * Fills files: takes missing chunks of all hydrations, most urgent first, and sends each down the
 * lane of its route. A lane is the source, or one peer; each has a number of chunks that may be on
 * the way at once, so copying, hashing and the network overlap, and a slow lane holds up nobody
 * but the chunks that need it.
 *
 *   hydrations by urgency ──► chunk ──► route ──► lane has room? ──► mover / fetcher ──► landed
 *                                ▲                                        │
 *                                └──────────── another route ◄────────────┘ failed
 *
 * Invariants: a chunk is on the way once at most; every chunk that lands was hashed here, from the
 * bytes that were written. A failure of the source is tried again with growing pauses until the
 * hydration has made no progress for `openMsMax`; a failure of a peer moves on at once. What the
 * source does with one file, failing or hanging (source_lane.ts), holds up no other.
 *
 * Costs: a pass over the hydrations for each chunk that lands, LOOKS_MAX candidates of each; some
 * microseconds beside the millisecond that a chunk takes, however long the files are.
 */
import type { Log } from '../observe/log.ts'
import type { FetchResult } from './fetch.ts'
import { type Hydration, rankOf } from './hydration.ts'
import type { ChunkMover } from './mover.ts'
import type { Peer } from './peer.ts'
import { type Route, routeOf, type Tier } from './routes.ts'
import { isSame, openVersion, type Source, SourceError } from './source.ts'
import { SourceLane } from './source_lane.ts'
import { SourceLease } from './source_lease.ts'
import { StoreError } from './store.ts'

/** First and longest pause before the source is asked again, in milliseconds. */
const SOURCE_RETRY_MS = 100
const SOURCE_RETRY_MS_MAX = 5_000

/** Pause of a peer's lane after it said that it is busy, in milliseconds. */
const BUSY_REST_MS = 100

/**
 * Candidates of one file that are looked at in vain, each of another extent, before the next file
 * has its turn: as many members hold different extents.
 */
const LOOKS_MAX = 16

/** Wrong chunks from one peer after which it is banned: a flipped bit happens, a second is a liar. */
const MISMATCHES_MAX = 2

/** Why a chunk went down a worse route than the one it was on. */
export const FALLBACKS = [
  'refused',
  'reset',
  'timeout',
  'unknown',
  'generation',
  'busy',
  'mismatch',
  'disputed',
] as const
export type Fallback = (typeof FALLBACKS)[number]

export interface HydratorHooks {
  onBytes(tier: Tier, bytes: number): void
  onFallback(reason: Fallback): void
  onMismatch(peer: string): void
  /** A chunk is here: others may ask for it now. */
  onChunk(hydration: Hydration, chunk: number): void
}

export interface HydratorOptions {
  readonly mover: ChunkMover
  readonly fetch: (peer: Peer, hydration: Hydration, chunk: number) => Promise<FetchResult>
  readonly peers: () => readonly Peer[]
  readonly self: string
  readonly sourceStreams: number
  readonly openMsMax: number
  readonly now: () => number
  readonly random: () => number
  readonly log: Log
  readonly hooks: HydratorHooks
}

interface Work {
  readonly hydration: Hydration
  readonly source: Source
  /** Failures of the source in a row, and until when it is not asked again for this file. */
  failures: number
  restUntilMs: number
}

export class Hydrator {
  readonly #options: HydratorOptions
  readonly #works: Work[] = []
  readonly #lane: SourceLane
  #isPumping = false
  #timer: NodeJS.Timeout | null = null

  constructor(options: HydratorOptions) {
    this.#options = options
    this.#lane = new SourceLane(options.sourceStreams)
  }

  add(hydration: Hydration, source: Source): void {
    const work = { hydration, source, failures: 0, restUntilMs: 0 }
    this.#works.push(work)
    void hydration.done.then(() => this.#ended(hydration))
    if (hydration.map.isComplete) void this.#verifyEnd(work)
    this.pump()
  }

  #ended(hydration: Hydration): void {
    const at = this.#works.findIndex(work => work.hydration === hydration)
    if (at !== -1) this.#works.splice(at, 1)
    hydration.sourceLease?.retire()
    this.pump()
  }

  /** Starts whatever can be started. */
  pump(): void {
    if (this.#isPumping) return
    this.#isPumping = true
    const order = [...this.#works].sort(
      (a, b) => rankOf(a.hydration.urgency) - rankOf(b.hydration.urgency),
    )
    for (const work of order) {
      if (work.hydration.isOver) continue
      if (this.#isStuck(work)) continue
      this.#fillLanes(work)
    }
    this.#isPumping = false
    this.#wakeLater()
  }

  #fillLanes(work: Work): void {
    let looks = 0
    for (const chunk of work.hydration.candidates()) {
      const route = this.#routeFor(work, chunk)
      if (this.#hasRoom(work, route)) void this.#move(work, chunk, route)
      else if (++looks === LOOKS_MAX) return
    }
  }

  /** Lanes that rest, and hydrations without progress, need a look without any event. */
  #wakeLater(): void {
    if (this.#timer !== null || this.#works.length === 0) return
    this.#timer = setTimeout(() => {
      this.#timer = null
      this.pump()
    }, SOURCE_RETRY_MS)
    this.#timer.unref()
  }

  #isStuck({ hydration }: Work): boolean {
    const { openMsMax, now } = this.#options
    if (now() - hydration.progressMs <= openMsMax) return false
    hydration.finish({ kind: 'failed', message: `no progress for ${openMsMax} ms` })
    return true
  }

  #routeFor({ hydration }: Work, chunk: number): Route {
    const { self, peers } = this.#options
    return routeOf({
      file: hydration.file,
      chunk,
      self,
      peers: peers(),
      excluded: peer => hydration.isExcluded(chunk, peer),
      isWantedByPeer: hydration.isWantedByPeer(chunk),
      isDisputed: hydration.testimony.isDisputed(chunk),
    })
  }

  #hasRoom({ hydration, restUntilMs }: Work, route: Route): boolean {
    if (route.tier !== 'source') return route.peer.hasRoom
    if (this.#options.now() < restUntilMs) return false
    return this.#lane.hasRoom(hydration.file, hydration.tierBytes.source === 0)
  }

  async #move(work: Work, chunk: number, route: Route): Promise<void> {
    work.hydration.take(chunk, route.tier !== 'source' && route.isCold)
    if (route.tier === 'source') await this.#fromSource(work, chunk)
    else await this.#fromPeer(work, chunk, route.peer, route.tier)
    this.pump()
  }

  async #fromSource(work: Work, chunk: number): Promise<void> {
    const { hydration } = work
    const { map, file } = hydration
    map.claim(chunk)
    try {
      const onHanging = (): void => this.#hangs(work, chunk)
      const digest = await this.#lane.read(file, onHanging, () => this.#copy(work, chunk))
      work.failures = 0
      this.#expose(hydration, chunk, digest)
      this.#landed(work, chunk, digest, 'source')
    } catch (error) {
      hydration.gaveBack(chunk)
      if (!hydration.isOver) this.#copyFailed(work, error)
    } finally {
      map.unclaim(chunk)
    }
  }

  #copy({ hydration, source }: Work, chunk: number): Promise<Buffer> {
    const { map, file, storeFd } = hydration
    hydration.sourceLease ??= new SourceLease(openVersion(source, file))
    const offset = chunk * map.length(0)
    return hydration.sourceLease.use(({ fd }) =>
      this.#options.mover.copy(fd, storeFd, offset, map.length(chunk)),
    )
  }

  #hangs({ hydration, source }: Work, chunk: number): void {
    const where = { path: source.localPath(hydration.file.path), chunk }
    const { log } = this.#options
    if (!hydration.isHanging) log.warn(where, 'source does not answer, other files go on')
    hydration.hangs(chunk)
    this.pump()
  }

  /** The source has spoken: whoever said something else about this chunk is a liar. */
  #expose(hydration: Hydration, chunk: number, truth: Buffer): void {
    const liars = hydration.testimony.liars(chunk, truth)
    for (const peer of this.#options.peers()) {
      if (!liars.includes(peer.id)) continue
      peer.ban()
      this.#options.hooks.onMismatch(peer.name)
      const where = { path: hydration.file.path, chunk, peer: peer.name }
      this.#options.log.error(where, 'peer vouched for bytes that the source does not have: banned')
    }
  }

  #copyFailed(work: Work, error: unknown): void {
    if (!(error instanceof StoreError)) {
      this.#sourceFailed(work, error)
      return
    }
    const { hydration } = work
    this.#options.log.warn({ path: hydration.file.path, error: error.message }, 'store is full')
    hydration.finish({ kind: 'full' })
  }

  #sourceFailed(work: Work, error: unknown): void {
    const { hydration, source } = work
    const fault = error instanceof SourceError ? error.fault : 'io'
    const message = error instanceof Error ? error.message : String(error)
    if (fault === 'changed' || fault === 'truncated' || fault === 'gone' || fault === 'refused') {
      hydration.finish({ kind: 'changed', message })
      return
    }
    if (fault === 'denied') {
      hydration.finish({ kind: 'denied', message })
      return
    }
    // The descriptor may be stale (ESTALE): the next try opens the file again.
    hydration.sourceLease?.retire()
    hydration.sourceLease = null
    const { random, now, log } = this.#options
    const pause = Math.min(SOURCE_RETRY_MS * 2 ** work.failures, SOURCE_RETRY_MS_MAX)
    work.failures += 1
    work.restUntilMs = now() + pause * (0.5 + random() / 2)
    const path = source.localPath(hydration.file.path)
    log.warn({ path, error: message }, 'source failed, will be tried again')
  }

  async #fromPeer(work: Work, chunk: number, peer: Peer, tier: 'peer' | 'warmup'): Promise<void> {
    const { hydration } = work
    peer.inFlight += 1
    let result: FetchResult
    try {
      result = await this.#options.fetch(peer, hydration, chunk)
    } finally {
      peer.inFlight -= 1
    }
    if (result.kind === 'chunk') {
      peer.gotChunk(hydration.file.fileId, hydration.file.generation, chunk)
      this.#landed(work, chunk, result.digest, tier)
      return
    }
    hydration.gaveBack(chunk)
    this.#peerFailed(hydration, chunk, peer, result)
  }

  #peerFailed(hydration: Hydration, chunk: number, peer: Peer, result: FetchResult): void {
    if (result.kind === 'chunk') return
    const { hooks, log } = this.#options
    const where = { path: hydration.file.path, chunk, peer: peer.name, reason: result.kind }
    switch (result.kind) {
      case 'not_yet':
        if (hydration.mayAskAgain(chunk)) return
        hydration.excludeFor(chunk, peer)
        break
      case 'busy':
        peer.rest(BUSY_REST_MS)
        return
      case 'unknown':
      case 'generation':
        hydration.exclude(peer)
        break
      case 'mismatch':
        hydration.excludeFor(chunk, peer)
        peer.mismatches += 1
        hooks.onMismatch(peer.name)
        if (peer.mismatches >= MISMATCHES_MAX) peer.ban()
        break
      case 'refused':
      case 'reset':
      case 'timeout':
        hydration.exclude(peer)
        peer.down()
        break
    }
    hooks.onFallback(result.kind === 'not_yet' ? 'busy' : result.kind)
    log.warn(where, 'peer did not give a chunk, going on elsewhere')
  }

  #landed(work: Work, chunk: number, digest: Buffer, tier: Tier): void {
    const { hydration } = work
    if (hydration.isOver) {
      hydration.gaveBack(chunk)
      return
    }
    hydration.landed(chunk, digest, tier, this.#options.now())
    this.#options.hooks.onBytes(tier, hydration.map.length(chunk))
    this.#options.hooks.onChunk(hydration, chunk)
    if (hydration.map.isComplete) void this.#verifyEnd(work)
  }

  /**
   * The file is whole: is the source's still the one that was listed? If it changed while it was
   * read, the chunks may be of two generations, and none of them is shown to anybody. A source
   * that cannot be asked is believed to be unchanged only when no byte came from it.
   */
  async #verifyEnd({ hydration, source }: Work): Promise<void> {
    await hydration.spotCheck?.done
    try {
      const entry = await source.stat(hydration.file.path)
      const isUnchanged = entry.kind === 'file' && isSame(entry, hydration.file)
      const message = 'the source changed while it was read'
      hydration.finish(isUnchanged ? { kind: 'complete' } : { kind: 'changed', message })
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      const fault = error instanceof SourceError ? error.fault : 'io'
      const isBelieved = !hydration.isFromSource && (fault === 'io' || fault === 'stalled')
      if (isBelieved) hydration.finish({ kind: 'complete' })
      else hydration.finish({ kind: fault === 'gone' ? 'changed' : 'failed', message })
    }
  }

  close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    for (const { hydration } of this.#works) hydration.finish({ kind: 'cancelled' })
  }
}
