/**
 * What is written beside a file of the store, so that the next daemon can go on with it: which
 * version of which path it is, and the digests of its chunks.
 *
 *   {"path":"a.safetensors","version":"<size>.<mtime>…","size":5,"digests":"<base64>"}
 *
 * Only files that were complete have one; a file without is removed at the next start. The bytes
 * are hashed again before they are shown, so a sidecar can be wrong and do no harm.
 */
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { z } from 'zod'
import type { Log } from '../observe/log.ts'
import { ChunkMap } from './chunk_map.ts'
import { DIGEST_BYTES } from './digest.ts'
import type { ModelCache } from './model_cache.ts'
import type { ChunkMover } from './mover.ts'
import { type Slot, versionKeyOf } from './slot.ts'
import { NOTE_SUFFIX, type Store } from './store.ts'

/** Chunks of one file hashed at once when it is taken over. */
const HASHES_MAX = 4

const sidecarSchema = z.object({
  path: z.string(),
  version: z.string(),
  size: z.number(),
  digests: z.string(),
})

export function writeSidecar(store: Store, slot: Slot): void {
  if (slot.map === null) return
  const text = JSON.stringify({
    path: slot.file.path,
    version: versionKeyOf(slot.file),
    size: slot.file.size,
    digests: slot.map.digests.toString('base64'),
  })
  store.note(slot.storeName + NOTE_SUFFIX, text)
}

export function forgetSidecar(store: Store, name: string): void {
  store.note(name + NOTE_SUFFIX, null)
}

function readSidecar(store: Store, name: string): z.output<typeof sidecarSchema> | null {
  try {
    const text = readFileSync(path.join(store.folder, name + NOTE_SUFFIX), 'utf8')
    const parsed = sidecarSchema.safeParse(JSON.parse(text))
    return parsed.success ? parsed.data : null
  } catch {
    // Written half when the daemon was killed, or never.
    return null
  }
}

/** Hashes the whole file; the map when every chunk is what the sidecar says. */
async function checked(
  mover: ChunkMover,
  fd: number,
  size: number,
  digests: Buffer,
): Promise<ChunkMap | null> {
  const map = new ChunkMap(size)
  if (digests.length !== map.count * DIGEST_BYTES) return null
  let next = 0
  let isRight = true
  const work = async (): Promise<void> => {
    while (next < map.count && isRight) {
      const chunk = next
      next += 1
      const digest = await mover.hash(fd, chunk * map.length(0), map.length(chunk))
      isRight &&= digest.equals(digests.subarray(chunk * DIGEST_BYTES, (chunk + 1) * DIGEST_BYTES))
      map.add(chunk, digest)
    }
  }
  await Promise.all(Array.from({ length: HASHES_MAX }, work))
  return isRight ? map : null
}

interface Left {
  readonly cache: ModelCache
  readonly slot: Slot
  readonly digests: Buffer
}

/** Whose file of the store it is; null when no source has that version any more. */
function ownerOf(caches: readonly ModelCache[], store: Store, name: string): Left | null {
  const sidecar = readSidecar(store, name)
  if (sidecar === null) return null
  for (const cache of caches) {
    const slot = cache.slot(sidecar.path)
    if (slot?.storeName !== name || slot.state !== 'absent') continue
    return { cache, slot, digests: Buffer.from(sidecar.digests, 'base64') }
  }
  return null
}

/**
 * Takes over what an earlier daemon left in the store: complete files of versions that a source
 * still has. Everything else is removed. Gives the number of files taken over.
 */
export async function adoptStore(
  caches: readonly ModelCache[],
  store: Store,
  mover: ChunkMover,
  log: Log,
): Promise<number> {
  let adopted = 0
  for (const name of readdirSync(store.folder)) {
    if (name.endsWith(NOTE_SUFFIX) || name.startsWith('.')) continue
    const left = ownerOf(caches, store, name)
    if (left !== null) {
      const { cache, slot, digests } = left
      const fd = openSync(path.join(store.folder, name), 'r')
      const map = await checked(mover, fd, slot.file.size, digests).catch(() => null)
      if (map !== null) {
        cache.adopt(slot, fd, map)
        adopted += 1
        continue
      }
      closeSync(fd)
      log.error({ path: slot.file.path }, 'bytes in the store are damaged, loading them again')
      cache.front.evict(slot, true)
    }
    store.unlink(name)
    forgetSidecar(store, name)
  }
  return adopted
}
