/**
 * Chunks of model files, copied and hashed by native threads, and the files of the store. See
 * native/model_cache/chunk_copy.h and store.h.
 *
 * Everything works on plain descriptors. A hash is xxh3-128 in canonical bytes: its hex is what
 * travels in headers. Errors have a `code`: `TRUNCATED` when the source ends early, else the name
 * of the errno.
 */
import {
  answered,
  checkBytes,
  checkDescriptor,
  checked,
  modelCacheAddon,
  nativeError,
} from './model_cache_addon.ts'

/** Bytes of a chunk: the unit of copying, hashing, sending and of the bitmap. */
export const CHUNK_BYTES_MAX = 4 * 1024 * 1024
export const HASH_BYTES = 16
/** Status of a copy whose error is of the file that was written (COPY_NOT_WRITTEN). */
const NOT_WRITTEN = 1

interface ChunkAddon {
  chunkCopy(token: number, from: number, to: number, offset: number, length: number): boolean
  chunkHash(token: number, from: number, offset: number, length: number): boolean
  storeMake(bytes: number, hasHugePages: boolean): number
  storeCreate(folder: number, name: string, size: number): number
  storeSeal(folder: number, name: string): number
  storeUnlink(folder: number, name: string): number
  storeStamp(path: string, seconds: number, nanoseconds: number): number
  storeIsIdle(file: number): number
  storeHugeBytes(file: number): number
  execute(file: string, words: readonly string[], variables: readonly string[]): number
}

// Decode boundary: the addon's exports are declared here and in no other place.
const native = (): ChunkAddon => modelCacheAddon() as ChunkAddon

export interface ChunkCopy {
  readonly from: number
  readonly to: number
  /** The same in both files. */
  readonly offset: number
  readonly length: number
}

function checkChunk(offset: number, length: number): void {
  checkBytes(offset, 'offset')
  if (Number.isInteger(length) && length >= 0 && length <= CHUNK_BYTES_MAX) return
  throw new TypeError(`length must be 0 to ${CHUNK_BYTES_MAX} bytes, got ${length}`)
}

function checkName(name: string): void {
  if (/^[^/\0]{1,255}$/.test(name) && name !== '.' && name !== '..') return
  throw new TypeError(`a store file's name is one path component, got ${JSON.stringify(name)}`)
}

/** Copies one chunk and returns the hash of what was copied. `syscall` of an error: which half. */
export async function copyChunk({ from, to, offset, length }: ChunkCopy): Promise<Buffer> {
  checkDescriptor(from, 'from')
  checkDescriptor(to, 'to')
  checkChunk(offset, length)
  const addon = native()
  const event = await answered(token => addon.chunkCopy(token, from, to, offset, length))
  if (event.error < 0) {
    const syscall = event.status === NOT_WRITTEN ? 'write' : 'read'
    throw Object.assign(nativeError(event.error, 'copying a chunk'), { syscall })
  }
  return event.bytes.subarray(0, HASH_BYTES)
}

/** The hash of `length` bytes at `offset`. */
export async function hashChunk(file: number, offset: number, length: number): Promise<Buffer> {
  checkDescriptor(file, 'file')
  checkChunk(offset, length)
  const addon = native()
  const event = await answered(token => addon.chunkHash(token, file, offset, length))
  if (event.error < 0) throw nativeError(event.error, 'hashing a chunk')
  return event.bytes.subarray(0, HASH_BYTES)
}

/** Makes a private tmpfs without a path and returns the descriptor of its root (O_PATH). */
export function makeStore(bytes: number, hasHugePages = true): number {
  checkBytes(bytes, 'bytes')
  if (bytes === 0) throw new TypeError('a store needs at least one byte')
  return checked(native().storeMake(bytes, hasHugePages), 'making the store')
}

/** A new file of full size whose memory is reserved, open for writing. ENOSPC: does not fit. */
export function createStoreFile(folder: number, name: string, size: number): number {
  checkDescriptor(folder, 'folder')
  checkName(name)
  checkBytes(size, 'size')
  return checked(native().storeCreate(folder, name, size), `creating ${name} in the store`)
}

/** Makes a whole file read-only; returns its one reading descriptor. Close the writing one first. */
export function sealStoreFile(folder: number, name: string): number {
  checkDescriptor(folder, 'folder')
  checkName(name)
  return checked(native().storeSeal(folder, name), `sealing ${name} in the store`)
}

/** Memory returns when its last reader has gone. */
export function unlinkStoreFile(folder: number, name: string): void {
  checkDescriptor(folder, 'folder')
  checkName(name)
  checked(native().storeUnlink(folder, name), `unlinking ${name} in the store`)
}

const NANOSECONDS = 1_000_000_000n

/** Sets the modification time of a file or folder, to the nanosecond; Node rounds it. */
export function stampFile(path: string, mtimeNs: bigint): void {
  // What is left of a time before 1970 is taken from the second before it.
  const nanoseconds = ((mtimeNs % NANOSECONDS) + NANOSECONDS) % NANOSECONDS
  const seconds = (mtimeNs - nanoseconds) / NANOSECONDS
  checked(native().storeStamp(path, Number(seconds), Number(nanoseconds)), `stamping ${path}`)
}

/** Whether nobody but this descriptor has the sealed file open or mapped. */
export function isStoreFileIdle(file: number): boolean {
  checkDescriptor(file, 'file')
  return checked(native().storeIsIdle(file), 'probing a store file') === 1
}

/** Bytes of a store file that lie in huge pages; throws ENOTTY before Linux 6.7. */
export function hugeBytesOf(file: number): number {
  checkDescriptor(file, 'file')
  return checked(native().storeHugeBytes(file), 'looking for huge pages')
}

/** The process becomes another program; returns only by an error. */
export function execute(
  file: string,
  words: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
): never {
  const variables = Object.entries(environment).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}=${value}`],
  )
  throw nativeError(native().execute(file, [file, ...words], variables), `starting ${file}`)
}
