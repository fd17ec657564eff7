/**
 * What is written beside a file of the store, so that the next daemon can go on with it: the
 * digests of the chunks that are there.
 *
 *   0    "wmpchnk4"    what this is, and that its chunks have 4 MiB
 *   8    size          of the file, u64 little endian
 *   16   digest 0      16 bytes a chunk; all zeros: not there (yet)
 *   32   digest 1 …
 *
 * Which version of which path the file is says its name, `<file id>.<version>` (slot.ts): a name
 * that no file of the source has now belongs to nobody. The digests stand in for a bitmap: a chunk
 * is claimed when its digest is not zero. One is written after the bytes of its chunk, so a daemon
 * that is killed between the two has claimed too little, never too much.
 *
 * Worked example. A file of three chunks, killed while chunk 1 was on its way:
 *
 *   store file   [AAAA][A?  ][CCCC]    mode 0600: not sealed, so never shown to anybody
 *   sidecar      d(A)   0     d(C)
 *   next daemon  hashes chunks 0 and 2; C was damaged: its digest is not d(C)
 *                goes on with chunk 0, and loads 1 and 2 again
 *
 * Nothing in a sidecar is believed: every chunk that it claims is hashed before it counts (some
 * 10 GB/s), so a sidecar that is wrong costs a load and never shows a wrong byte. A file that was
 * sealed was complete, and may be mapped by readers: it is taken as it is, or not at all.
 *
 * Costs: 16 bytes written for each chunk of 4 MiB, on tmpfs, some 10 µs.
 */
import { closeSync, existsSync, openSync, readdirSync, readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import type { Log } from '../observe/log.ts'
import { ChunkMap } from './chunk_map.ts'
import { CHUNK_BYTES, chunksOf, DIGEST_BYTES } from './digest.ts'
import type { ModelCache } from './model_cache.ts'
import type { ChunkMover } from './mover.ts'
import { type Slot, type StoreFile, storeNameOf } from './slot.ts'
import { NOTE_SUFFIX, type Store } from './store.ts'
import type { TreeFile } from './tree.ts'

/** Chunks of one file hashed at once when it is taken over. */
const HASHES_MAX = 4

const MAGIC = 'wmpchnk4'
const HEADER_BYTES = 16

/** Bits of a mode that let somebody write: a sealed file has none of them. */
const WRITABLE = 0o222

function beginSidecar(store: Store, { storeName, file: { size } }: Slot): void {
  const bytes = Buffer.alloc(HEADER_BYTES + chunksOf(size) * DIGEST_BYTES)
  bytes.write(MAGIC, 'latin1')
  bytes.writeBigUInt64LE(BigInt(size), MAGIC.length)
  store.note(storeName + NOTE_SUFFIX, bytes)
}

/** A chunk is there, and its bytes are written. */
export function noteChunk(store: Store, file: TreeFile, map: ChunkMap, chunk: number): void {
  const offset = HEADER_BYTES + chunk * DIGEST_BYTES
  try {
    store.noteAt(storeNameOf(file) + NOTE_SUFFIX, offset, map.digest(chunk))
  } catch {
    // A chunk without a note is loaded again after a crash; that is all that is lost.
  }
}

export function forgetSidecar(store: Store, name: string): void {
  store.note(name + NOTE_SUFFIX, null)
}

/** A new file of the store with nothing in it; throws an ErrnoException (ENOSPC). */
export function beginFile(store: Store, slot: Slot, onNoteLost: () => void): StoreFile {
  const fd = store.create(slot.storeName, slot.file.size)
  // Without one the file is loaded anew after a crash, which is no reason to do without it now.
  try {
    beginSidecar(store, slot)
  } catch {
    forgetSidecar(store, slot.storeName)
    onNoteLost()
  }
  return { fd, map: new ChunkMap(slot.file.size) }
}

/** The digests that a sidecar claims; null when it is none of a file of that size. */
function claimsOf(store: Store, name: string, size: number): Buffer | null {
  let bytes: Buffer
  try {
    bytes = readFileSync(path.join(store.folder, name + NOTE_SUFFIX))
  } catch {
    return null
  }
  const isWhole = bytes.length === HEADER_BYTES + chunksOf(size) * DIGEST_BYTES
  if (!isWhole || bytes.toString('latin1', 0, MAGIC.length) !== MAGIC) return null
  if (bytes.readBigUInt64LE(MAGIC.length) !== BigInt(size)) return null
  return bytes.subarray(HEADER_BYTES)
}

const UNCLAIMED = Buffer.alloc(DIGEST_BYTES)

interface Verified {
  /** The claimed chunks whose bytes have the digest that they should have. */
  readonly map: ChunkMap
  readonly wrong: number
}

async function verified(
  mover: ChunkMover,
  fd: number,
  size: number,
  claims: Buffer,
): Promise<Verified> {
  const map = new ChunkMap(size)
  let next = 0
  let wrong = 0
  const work = async (): Promise<void> => {
    while (next < map.count) {
      const chunk = next
      next += 1
      const claim = claims.subarray(chunk * DIGEST_BYTES, (chunk + 1) * DIGEST_BYTES)
      if (claim.equals(UNCLAIMED)) continue
      const hashed = mover.hash(fd, chunk * CHUNK_BYTES, map.length(chunk))
      const digest = await hashed.catch(() => null)
      if (digest?.equals(claim)) map.add(chunk, digest)
      else wrong += 1
    }
  }
  await Promise.all(Array.from({ length: HASHES_MAX }, work))
  return { map, wrong }
}

interface Left {
  readonly cache: ModelCache
  readonly slot: Slot
}

interface Half extends Left {
  readonly file: StoreFile
}

class Adoption {
  readonly #store: Store
  readonly #mover: ChunkMover
  readonly #log: Log
  readonly #lefts = new Map<string, Left>()
  readonly #halves: Half[] = []
  #whole = 0

  constructor(caches: readonly ModelCache[], store: Store, mover: ChunkMover, log: Log) {
    this.#store = store
    this.#mover = mover
    this.#log = log
    for (const cache of caches) {
      for (const slot of cache.slots()) this.#lefts.set(slot.storeName, { cache, slot })
    }
  }

  async run(): Promise<void> {
    for (const name of readdirSync(this.#store.folder)) {
      if (name.startsWith('.')) continue
      if (name.endsWith(NOTE_SUFFIX)) this.#keepIfOwned(name)
      else if (!(await this.#take(name).catch(() => false))) this.#remove(name)
    }
    // After those that are whole, which go before them when there is no room for all.
    const halves = this.#halves.filter(({ cache, slot, file }) => cache.resume(slot, file))
    const facts = { whole: this.#whole, halves: halves.length }
    if (facts.whole + facts.halves === 0) return
    this.#log.info(facts, 'files of an earlier daemon were taken over')
  }

  #at(name: string): string {
    return path.join(this.#store.folder, name)
  }

  #remove(name: string): void {
    this.#store.unlink(name)
    forgetSidecar(this.#store, name)
  }

  /** A sidecar whose file is gone is of no use. */
  #keepIfOwned(note: string): void {
    const name = note.slice(0, -NOTE_SUFFIX.length)
    if (!existsSync(this.#at(name))) forgetSidecar(this.#store, name)
  }

  /** Takes a file over; false when it is of no use to anybody. */
  async #take(name: string): Promise<boolean> {
    const left = this.#lefts.get(name)
    if (left === undefined) return false
    const { size } = left.slot.file
    const stats = statSync(this.#at(name))
    const claims = claimsOf(this.#store, name, size)
    if (claims === null || stats.size !== size) return false
    const isSealed = (stats.mode & WRITABLE) === 0
    return isSealed ? this.#takeWhole(left, claims) : this.#takeHalf(left, claims)
  }

  async #takeWhole({ cache, slot }: Left, claims: Buffer): Promise<boolean> {
    const fd = this.#store.seal(slot.storeName)
    const { map } = await verified(this.#mover, fd, slot.file.size, claims)
    if (map.isComplete) {
      cache.adopt(slot, fd, map)
      this.#whole += 1
      return true
    }
    closeSync(fd)
    const facts = { path: slot.file.path }
    this.#log.error(facts, 'bytes in the store are damaged, loading them again')
    cache.front.evict(slot, true)
    return false
  }

  async #takeHalf(left: Left, claims: Buffer): Promise<boolean> {
    const { size, path: where } = left.slot.file
    const fd = openSync(this.#at(left.slot.storeName), 'r+')
    const { map, wrong } = await verified(this.#mover, fd, size, claims)
    this.#halves.push({ ...left, file: { fd, map } })
    const facts = { path: where, chunks: map.present, of: map.count, wrong }
    if (wrong > 0) this.#log.error(facts, 'chunks in the store are damaged, loading them again')
    else this.#log.info(facts, 'going on with a file that was half loaded')
    return true
  }
}

/**
 * Takes over what an earlier daemon left in the store: complete files of versions that a source
 * still has, and those that were being loaded. Everything else is removed.
 */
export function adoptStore(
  caches: readonly ModelCache[],
  store: Store,
  mover: ChunkMover,
  log: Log,
): Promise<void> {
  return new Adoption(caches, store, mover, log).run()
}
