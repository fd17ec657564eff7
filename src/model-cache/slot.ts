/**
 * One version of one model file and what the cache has of it.
 *
 *   absent ──► hydrating ──► resident ──► retired      (evicted, changed or gone)
 *     │            └──► absent (failed, to be tried again)
 *     └──► bypassed (does not fit: reads go to the source)
 *
 * A slot never changes its version: another version of the path is another slot.
 */
import path from 'node:path'
import type { ChunkMap } from './chunk_map.ts'
import type { Hydration } from './hydration.ts'
import type { Tier } from './routes.ts'
import type { TreeFile } from './tree.ts'

export const SLOT_STATES = ['absent', 'hydrating', 'resident', 'bypassed', 'retired'] as const
export type SlotState = (typeof SLOT_STATES)[number]

/** A file of the store that is being filled, and which of its chunks are there. */
export interface StoreFile {
  /** Of its own, for reading and writing. */
  readonly fd: number
  readonly map: ChunkMap
}

/** Bytes of a page: what a file takes of the capacity is whole pages. */
const PAGE_BYTES = 4096

/** What is smaller lies in small pages, as it should. */
export const HUGE_PAGE_BYTES = 2 * 1024 * 1024

export class Slot {
  readonly file: TreeFile
  /** Name of its file in the store. */
  readonly storeName: string
  /** What it takes of the capacity while it is hydrating or resident. */
  readonly cost: number
  /** Folder of the file: the files of one model lie in one. */
  readonly model: string
  state: SlotState = 'absent'
  hydration: Hydration | null = null
  map: ChunkMap | null = null
  /** What an earlier daemon had loaded of it, until it is gone on with. */
  half: StoreFile | null = null
  /** Read-only descriptor of the store file while it is resident. */
  fd: number | null = null
  isPinned = false
  /** Taken over from before a restart: the kernel's registration hides who maps it. */
  isAdopted = false
  /** Bytes in huge pages; null: nobody can tell. */
  hugeBytes: number | null = null
  /** Milliseconds of the cache's clock: the last open, or when it became resident. */
  usedMs = 0
  tierBytes: Readonly<Record<Tier, number>> | null = null
  error: string | null = null
  /** The source may not be read: who opens it is told so, and nobody loads it unasked. */
  isDenied = false

  constructor(file: TreeFile) {
    this.file = file
    this.model = path.posix.dirname(file.path)
    this.storeName = storeNameOf(file)
    this.cost = Math.ceil(file.size / PAGE_BYTES) * PAGE_BYTES
  }

  /** Whether it may be loaded before somebody asks for it. */
  get isLoadable(): boolean {
    return this.state === 'absent' && !this.isDenied
  }

  get residentBytes(): number {
    if (this.state === 'resident') return this.file.size
    return this.hydration?.map.bytes ?? this.half?.map.bytes ?? 0
  }
}

/** What tells two versions of a path apart, also after a restart of the daemon. */
export function versionKeyOf(file: TreeFile): string {
  return [file.size, file.mtimeNs, file.inode, file.ctimeNs].join('.')
}

/** Name of the store file of a version: 32 hex digits of the path, then the version. */
export function storeNameOf(file: TreeFile): string {
  return `${file.fileId}.${versionKeyOf(file)}`
}
