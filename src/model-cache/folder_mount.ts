/**
 * `--mode tmpfs` for one entry: the folder, the member behind it, and the record of what was put
 * there. Everything is loaded at start, since nobody can be waited for in a plain folder.
 */
import type { Log } from '../observe/log.ts'
import type { CacheEntry } from './config.ts'
import { DirectorySource } from './directory_source.ts'
import { clearLeftovers, FolderFront } from './folder_front.ts'
import type { Listening } from './listening.ts'
import { Member } from './member.ts'
import { isMemory } from './mount_point.ts'
import type { ChunkMover } from './mover.ts'
import { readRunFile, removeRunFile, writeRunFile } from './run_file.ts'
import { folderStore } from './store.ts'

export interface FolderMountOptions {
  readonly entry: CacheEntry
  readonly capacityBytes: number
  readonly listening: Listening
  readonly mover: ChunkMover
  readonly runFolder: string
  readonly log: Log
  readonly now: () => number
}

export interface FolderMount {
  readonly member: Member
  start(): Promise<void>
  close(): Promise<void>
}

export function folderMount(options: FolderMountOptions): FolderMount {
  const { entry, runFolder, log, listening } = options
  const { accelerated } = entry
  const left = readRunFile(runFolder, accelerated)?.names ?? []
  clearLeftovers(accelerated, left)
  if (!isMemory(accelerated)) {
    log.warn(
      { path: accelerated },
      'the accelerated path lies on no tmpfs: reads are not from memory',
    )
  }
  const source = new DirectorySource({ root: entry.path, extraRoots: entry.extra_roots })
  const front = new FolderFront(accelerated, source)
  const member = new Member({
    caches: [
      {
        source,
        sourceId: entry.sourceId,
        makeFront: () => front,
        isPreloaded: () => true,
        pins: entry.pins,
        // Nobody tells when a file is looked up, so the whole source is compared that often.
        scanMs: Math.max(MIN_SCAN_MS, Math.min(entry.scan, entry.revalidate)),
      },
    ],
    capacityBytes: options.capacityBytes,
    configuredBytes: entry.capacity,
    store: folderStore(front.hidden),
    mover: options.mover,
    listen: listening.listen,
    token: listening.token,
    warmup: entry.cacheroot_service ?? null,
    peers: entry.peers,
    isRegistry: false,
    streams: entry.streams,
    openMsMax: entry.open_timeout,
    restarts: 0,
    log,
    now: options.now,
    random: Math.random,
  })
  const record = (): void => {
    const names = [...member.caches].flatMap(cache =>
      [...cache.slots()].map(slot => slot.file.path),
    )
    writeRunFile(runFolder, { pid: process.pid, accelerated, names })
  }
  return {
    member,
    start: async () => {
      writeRunFile(runFolder, { pid: process.pid, accelerated, names: left })
      await member.start()
      record()
      member.onTree = record
      await member.preload()
    },
    close: async () => {
      await member.close()
      front.clear()
      removeRunFile(runFolder, accelerated)
    },
  }
}

/** Milliseconds between two looks at the source at least, whatever was configured. */
const MIN_SCAN_MS = 250
