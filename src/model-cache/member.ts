/**
 * One member of a service, put together: the caches that share a capacity, a store, lanes, a
 * listener and the acquaintance of other members. A mount is a member with one cache and a front;
 * a warm-up is a member with several caches, no front, and the registry.
 *
 *   start: listen ──► greet ──► scan ──► adopt ──► front ready ──► preload
 *   life:  every scan: compare, load what is new below the preload
 *   close: hydrations cancelled, listener closed, fronts cleared by whoever made them
 */
import { randomBytes } from 'node:crypto'
import type { Log } from '../observe/log.ts'
import { Gate } from './auth.ts'
import { residentFilesMax } from './descriptors.ts'
import { roomOf } from './effective_capacity.ts'
import { type ChunkFetcher, type FetchResult, javascriptFetcher } from './fetch.ts'
import { isIndex } from './folder_front.ts'
import type { Front } from './front.ts'
import { type Hello, type HelloClient, helloClient, helloHoldings } from './hello.ts'
import type { Hydration } from './hydration.ts'
import { Hydrator } from './hydrator.ts'
import { Listener } from './listener.ts'
import { singleHost } from './listening.ts'
import { CacheMetrics } from './metrics.ts'
import { ModelCache } from './model_cache.ts'
import type { ChunkMover } from './mover.ts'
import { type NativeSender, nativeFetcher, nativeSender } from './native_transfer.ts'
import type { Peer } from './peer.ts'
import { Peers } from './peers.ts'
import { type HoldRules, NO_HOLDS } from './pinned.ts'
import { Reception } from './reception.ts'
import { Registry } from './registry.ts'
import { Residents } from './residents.ts'
import { Shelf } from './shelf.ts'
import { adoptStore, noteChunk } from './sidecar.ts'
import type { Slot } from './slot.ts'
import type { Source } from './source.ts'
import { SpotCheck } from './spot_check.ts'
import { memberMetrics, residentModels } from './status.ts'
import type { Store } from './store.ts'
import type { Outcome } from './wishes.ts'
import { hearWitnesses } from './witnesses.ts'

export interface MemberCache {
  readonly source: Source
  readonly sourceId: string
  readonly makeFront: (cache: () => ModelCache) => Front
  /** Whether a file is loaded at start, and when it appears later. */
  readonly isPreloaded: (path: string, size: number) => boolean
  readonly pins: readonly string[]
  /** Which changes of the source wait; none without. */
  readonly holds?: HoldRules
  readonly scanMs: number
}

export interface MemberOptions {
  readonly caches: readonly MemberCache[]
  readonly capacityBytes: number
  readonly configuredBytes: number
  readonly store: Store
  readonly mover: ChunkMover
  readonly listen: { readonly host: string; readonly port: number }
  readonly token: string | null
  readonly warmup: string | null
  readonly peers: readonly string[]
  readonly isRegistry: boolean
  readonly streams: number
  readonly openMsMax: number
  readonly loadMs?: number
  readonly restarts: number
  readonly log: Log
  readonly now: () => number
  readonly random: () => number
}

/** Sorts model by model, each with its index and configuration last. */
function loadKey({ file, model }: Slot): string {
  return [model, isIndex(file.path) ? 1 : 0, file.path].join('\0')
}

export class Member {
  readonly id = randomBytes(16).toString('hex')
  readonly options: MemberOptions
  readonly metrics = new CacheMetrics()
  readonly residents: Residents
  readonly caches: readonly ModelCache[]
  readonly peers: Peers
  readonly registry: Registry | null
  readonly #shelf: Shelf
  readonly #sender: NativeSender | null
  readonly #hydrator: Hydrator
  readonly #client: HelloClient
  readonly #fetcher: ChunkFetcher
  readonly #listener: Listener
  readonly #timers: NodeJS.Timeout[] = []
  readonly #scanErrors = new Map<ModelCache, string>()
  #port = 0
  /** Statements made; each has the next number. */
  #statements = 0
  isReady = false
  /** Called after every look at a source. */
  onTree: () => void = () => {}

  constructor(options: MemberOptions) {
    this.options = options
    const { token, mover, store, now, log } = options
    const nowMs = Date.now
    const { host, port } = options.listen
    const dataPort = port === 0 ? 0 : port + 1
    this.#sender = mover.kind === 'native' ? nativeSender(host, dataPort, token) : null
    this.#shelf = new Shelf(this.#sender)
    this.#client = helloClient({ token, nowMs, self: () => this.#hello() })
    this.#fetcher =
      mover.kind === 'native'
        ? nativeFetcher({ token, nowMs })
        : javascriptFetcher({ token, mover, nowMs })
    const room = roomOf(options.capacityBytes, store.freeBytes())
    if (room.reason !== null) log.warn({ reason: room.reason }, 'capacity was shrunk')
    this.residents = new Residents({
      capacityBytes: room.bytes,
      filesMax: residentFilesMax(),
      now,
      ...(options.loadMs === undefined ? {} : { loadMs: options.loadMs }),
      refresh: () => {
        for (const cache of this.caches) cache.front.refresh(cache.slots())
      },
      drainingBytes: accounted => Math.max(0, (store.usedBytes() ?? accounted) - accounted),
    })
    this.peers = new Peers({
      client: this.#client,
      addresses: options.peers,
      warmup: options.warmup,
      selfId: this.id,
      onKnown: peers => {
        this.#fetcher.keepOnly(peers.map(peer => ({ host: peer.host, port: peer.dataPort })))
      },
      now,
      log,
    })
    this.registry = options.isRegistry ? new Registry(now) : null
    this.#hydrator = this.#makeHydrator()
    this.caches = options.caches.map(cache => this.#makeCache(cache))
    const reception = new Reception({
      sourceIds: this.#sourceIds,
      self: () => this.#hello(),
      peers: this.peers,
      registry: this.registry,
      isTokenGiven: token !== null,
      isInService: token !== null || options.warmup !== null || options.peers.length > 0,
      log,
    })
    this.#listener = new Listener({
      ...options.listen,
      gate: new Gate(token),
      shelf: this.#shelf,
      sendsChunks: this.#sender === null,
      nowMs,
      onHello: (hello, from) => reception.greeted(hello, from),
      onOtherUser: () => reception.refused(),
      metrics: () => memberMetrics(this),
      resident: () => residentModels(this),
      isReady: () => this.isReady,
      onSent: bytes => {
        this.metrics.sentBytes += bytes
      },
    })
  }

  get sentBytes(): number {
    return this.#sender?.sentBytes() ?? this.metrics.sentBytes
  }

  get port(): number {
    return this.#port
  }

  #makeHydrator(): Hydrator {
    const { mover, streams, openMsMax, now, random, log } = this.options
    return new Hydrator({
      mover,
      fetch: (peer, hydration, chunk) => this.#fetch(peer, hydration, chunk),
      peers: () => this.peers.all(),
      self: this.id,
      sourceStreams: streams,
      openMsMax,
      now,
      random,
      log,
      hooks: {
        onBytes: (tier, bytes) => this.metrics.tier(tier, bytes),
        onFallback: reason => this.metrics.fallback(reason),
        onMismatch: peer => this.metrics.mismatch(peer),
        onChunk: ({ file, map }, chunk) => {
          noteChunk(this.options.store, file, map, chunk)
          this.#shelf.chunk(file.fileId, chunk)
        },
      },
    })
  }

  #makeCache(wanted: MemberCache): ModelCache {
    const { store, now, log } = this.options
    let made: ModelCache | null = null
    const front = wanted.makeFront(() => {
      if (made === null) throw new Error('the front asked for its cache before it was made')
      return made
    })
    const { metrics } = this
    made = new ModelCache(
      {
        source: wanted.source,
        sourceId: wanted.sourceId,
        store,
        residents: this.residents,
        hydrator: this.#hydrator,
        shelf: this.#shelf,
        pins: wanted.pins,
        holds: wanted.holds ?? NO_HOLDS,
        announce: (_slot, hydration) => this.#announce(hydration, wanted.source),
        now,
        log,
        hooks: {
          onEvicted: reason => metrics.evicted(reason),
          onGeneration: () => {
            metrics.generations += 1
          },
          onResident: ({ file, tierBytes }, ms) =>
            metrics.filled(file.size - (tierBytes?.local ?? 0), ms),
          onModelReady: (model, ms) => metrics.modelReady(model, ms),
          onBypass: slot => this.#bypassed(slot),
          onNoteLost: ({ file: { path } }) => {
            metrics.notesLost += 1
            log.error({ path }, 'no note could be left beside a file')
          },
        },
      },
      front,
    )
    return made
  }

  #bypassed(slot: Slot): void {
    const { path, size } = slot.file
    const fields = { path, size, capacity: this.residents.capacityBytes }
    this.options.log.warn(fields, 'file does not fit, its reads go to the source')
  }

  async #fetch(peer: Peer, hydration: Hydration, chunk: number): Promise<FetchResult> {
    const { file, map, storeFd, testimony } = hydration
    const result = await this.#fetcher.fetch({
      host: peer.host,
      port: peer.dataPort,
      fileId: file.fileId,
      generation: file.generation,
      chunk,
      length: map.length(chunk),
      storeFd,
      expected: testimony.expected(chunk),
    })
    if (result.kind === 'chunk') await hydration.spotCheck?.given(peer, chunk, result.digest)
    return result
  }

  /** Tells the members, then hears what those who have the file say of its bytes. */
  async #announce(hydration: Hydration, source: Source): Promise<void> {
    await this.peers.announce()
    const { mover, random, log } = this.options
    hydration.spotCheck = new SpotCheck({
      hydration,
      source,
      mover,
      peers: this.peers.all(),
      random,
      onRead: bytes => {
        this.metrics.checkedBytes += bytes
      },
      onLiar: (peer, chunk) => {
        peer.ban()
        this.metrics.mismatch(peer.name)
        const where = { path: hydration.file.path, chunk, peer: peer.name }
        log.error(where, 'peer gave bytes that the source does not have: banned, file begun anew')
      },
    })
    await hearWitnesses(this.#client, this.peers.all(), hydration)
  }

  get #sourceIds(): string[] {
    return this.caches.map(cache => cache.sourceId)
  }

  #hello(): Hello {
    const host = singleHost(this.options.listen.host)
    return {
      id: this.id,
      ...(host === null ? {} : { host }),
      port: this.#port,
      dataPort: this.#sender?.port ?? this.#port,
      sources: this.#sourceIds,
      sequence: ++this.#statements,
      holdings: helloHoldings(this.#shelf.holdings()),
    }
  }

  /** Until the tree is known and earlier files are taken over; then fronts may answer. */
  async start(): Promise<void> {
    this.#port = await this.#listener.listen()
    if (!this.options.isRegistry) await this.peers.start()
    for (const cache of this.caches) await cache.tree.scan()
    const { store, mover, log } = this.options
    if (store.kind === 'private') {
      await adoptStore(this.caches, store, mover, log)
      // It may have been lowered since those files were loaded.
      this.residents.setCapacity(this.residents.capacityBytes)
    }
    this.caches.forEach((cache, at) => {
      const { scanMs } = this.options.caches[at]!
      const timer = setInterval(() => void this.#scan(cache, at), scanMs)
      timer.unref()
      this.#timers.push(timer)
    })
  }

  async #scan(cache: ModelCache, at: number): Promise<void> {
    const { log } = this.options
    try {
      await cache.tree.scan()
      if (this.#scanErrors.delete(cache)) log.info({ source: cache.sourceId }, 'source is back')
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      const isNew = this.#scanErrors.get(cache) !== message
      this.#scanErrors.set(cache, message)
      // The tree stays as it was: a source that is away must not empty the cache.
      if (isNew) log.error({ source: cache.sourceId, error: message }, 'source cannot be listed')
      return
    }
    this.onTree()
    if (this.isReady) void this.#load(cache, at)
  }

  /** Loads what is to be loaded at start and is not there; settles when all has been tried. */
  async preload(): Promise<void> {
    await Promise.all(this.caches.map((cache, at) => this.#load(cache, at)))
    this.isReady = true
  }

  async #load(cache: ModelCache, at: number): Promise<void> {
    const { isPreloaded } = this.options.caches[at]!
    const slots = [...cache.slots()].filter(
      slot => slot.isLoadable && isPreloaded(slot.file.path, slot.file.size),
    )
    slots.sort((a, b) => (loadKey(a) < loadKey(b) ? -1 : 1))
    const plain = slots.filter(slot => !isIndex(slot.file.path))
    const last = slots.filter(slot => isIndex(slot.file.path))
    await this.#wantAll(cache, plain)
    await this.#wantAll(cache, last)
  }

  async #wantAll(cache: ModelCache, slots: readonly Slot[]): Promise<Outcome[]> {
    return Promise.all(slots.map(slot => cache.want(slot, 'preload')))
  }

  /** Bytes wanted at start, and how many of them are here. */
  progress(): { readonly wantedBytes: number; readonly hereBytes: number } {
    let wantedBytes = 0
    let hereBytes = 0
    this.caches.forEach((cache, at) => {
      for (const slot of cache.slots()) {
        if (!this.options.caches[at]!.isPreloaded(slot.file.path, slot.file.size)) continue
        if (slot.state === 'bypassed') continue
        wantedBytes += slot.file.size
        hereBytes += slot.residentBytes
      }
    })
    return { wantedBytes, hereBytes }
  }

  async close(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer)
    this.peers.close()
    this.#hydrator.close()
    this.#client.close()
    this.#fetcher.close()
    this.#sender?.close()
    await this.#listener.close()
  }
}
