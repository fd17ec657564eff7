/**
 * What the two kinds of mount have in common: the options that a command gives them, and the member
 * behind each.
 */
import type { Log } from '../observe/log.ts'
import type { CacheEntry } from './config.ts'
import type { Front } from './front.ts'
import type { Listening } from './listening.ts'
import { Member } from './member.ts'
import type { ModelCache } from './model_cache.ts'
import type { ChunkMover } from './mover.ts'
import type { Source } from './source.ts'
import type { Store } from './store.ts'

export interface MountOptions {
  readonly entry: CacheEntry
  readonly capacityBytes: number
  readonly listening: Listening
  readonly mover: ChunkMover
  readonly runFolder: string
  /** Why this mode and no other. */
  readonly reason: string
  readonly log: Log
  readonly now: () => number
}

/** One accelerated path. */
export interface Mount {
  readonly member: Member
  readonly mode: string
  readonly reason: string
  /** Settles when the path can be read. */
  start(): Promise<void>
  close(): Promise<void>
}

export interface MountParts {
  readonly source: Source
  readonly store: Store
  readonly restarts: number
  readonly makeFront: (cache: () => ModelCache) => Front
  readonly isPreloaded: (path: string, size: number) => boolean
  readonly scanMs: number
}

export function memberOf(options: MountOptions, parts: MountParts): Member {
  const { entry, listening } = options
  const { source, makeFront, isPreloaded, scanMs, store, restarts } = parts
  const { sourceId, pins } = entry
  const holds = { pinsGeneration: entry.pin_generation, onDelete: entry.on_delete }
  return new Member({
    caches: [{ source, sourceId, makeFront, isPreloaded, pins, holds, scanMs }],
    capacityBytes: options.capacityBytes,
    configuredBytes: entry.capacity,
    store,
    mover: options.mover,
    listen: listening.listen,
    token: listening.token,
    warmup: entry.cacheroot_service ?? null,
    peers: entry.peers,
    isRegistry: false,
    streams: entry.streams,
    openMsMax: entry.open_timeout,
    restarts,
    log: options.log,
    now: options.now,
    random: Math.random,
  })
}
