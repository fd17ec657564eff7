/**
 * Memory for a member without a mount: a private tmpfs with huge pages where the process may make
 * one, else a folder of its own in shared memory, which has small pages and is read at half speed.
 */
import { closeSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import path from 'node:path'
import { makeStore } from '../native/model_chunks.ts'
import type { Log } from '../observe/log.ts'
import { folderStore, privateStore, type Store } from './store.ts'

/** Bytes of a store beyond the capacity: notes beside files, the hand-over table, pages of names. */
export const STORE_SLACK_BYTES = 128 * 1024 * 1024

/** Where a folder in memory is made without privileges. */
const SHARED_MEMORY = '/dev/shm'

export interface MemoryStore {
  readonly store: Store
  readonly reason: string
  close(): void
}

function folderAt(folder: string, reason: string): MemoryStore {
  return {
    store: folderStore(folder),
    reason,
    close: () => rmSync(folder, { recursive: true, force: true }),
  }
}

/** Opens a store for so many bytes of files; a given folder gets a folder of its own inside. */
export function openMemoryStore(bytes: number, given: string | null, log: Log): MemoryStore {
  if (given !== null) {
    mkdirSync(given, { recursive: true })
    return folderAt(mkdtempSync(path.join(given, 'warmpath-')), 'a folder was given')
  }
  try {
    const folderFd = makeStore(bytes + STORE_SLACK_BYTES)
    const reason = 'private tmpfs with huge pages'
    return { store: privateStore(folderFd), reason, close: () => closeSync(folderFd) }
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    log.warn({ error: message }, 'no private tmpfs, holding files in shared memory')
    return folderAt(mkdtempSync(path.join(SHARED_MEMORY, 'warmpath-')), message)
  }
}
