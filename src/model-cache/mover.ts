/**
 * Moves one chunk into the store and says what its xxh3-128 is. Two of them exist: the native one
 * (threads of its own, a bounce buffer that stays in the cache of the processor) and this one in
 * JavaScript for where the addon is not there, which does the same more slowly and serves the
 * tests as the plain statement of what is meant.
 */
import { read, write } from 'node:fs'
import { promisify } from 'node:util'
import { copyChunk, hashChunk } from '../native/model_chunks.ts'
import { digestOf } from './digest.ts'
import { SourceError } from './source.ts'
import { StoreError } from './store.ts'

const readAt = promisify(read)
const writeAt = promisify(write)

export interface ChunkMover {
  readonly kind: 'native' | 'javascript'
  /** Copies a chunk from one descriptor into another; throws SourceError, or StoreError. */
  copy(sourceFd: number, storeFd: number, offset: number, length: number): Promise<Buffer>
  /** The digest of what lies in a file of the store. */
  hash(storeFd: number, offset: number, length: number): Promise<Buffer>
  /** Writes a chunk that came over the wire and was checked. */
  write(storeFd: number, offset: number, bytes: Buffer): Promise<void>
}

/** Buffers kept for reuse: as many as copies run at once. */
const BUFFERS_MAX = 8

class Buffers {
  readonly #free: Buffer[] = []

  take(length: number): Buffer {
    const at = this.#free.findIndex(buffer => buffer.length >= length)
    return at === -1 ? Buffer.allocUnsafeSlow(length) : this.#free.splice(at, 1)[0]!
  }

  give(buffer: Buffer): void {
    if (this.#free.length < BUFFERS_MAX) this.#free.push(buffer)
  }
}

async function readWhole(fd: number, into: Buffer, offset: number): Promise<void> {
  for (let at = 0; at < into.length; ) {
    let bytesRead: number
    try {
      ;({ bytesRead } = await readAt(fd, into, at, into.length - at, offset + at))
    } catch (error) {
      throw new SourceError('io', error instanceof Error ? error.message : String(error))
    }
    if (bytesRead === 0) {
      throw new SourceError('truncated', `ends at ${offset + at}, bytes are missing`)
    }
    at += bytesRead
  }
}

async function writeWhole(fd: number, bytes: Buffer, offset: number): Promise<void> {
  try {
    for (let at = 0; at < bytes.length; ) {
      const { bytesWritten } = await writeAt(fd, bytes, at, bytes.length - at, offset + at)
      at += bytesWritten
    }
  } catch (error) {
    throw new StoreError(error instanceof Error ? error.message : String(error))
  }
}

export function javascriptMover(): ChunkMover {
  const buffers = new Buffers()
  const withBytes = async <T>(length: number, work: (bytes: Buffer) => Promise<T>): Promise<T> => {
    const buffer = buffers.take(length)
    try {
      return await work(buffer.subarray(0, length))
    } finally {
      buffers.give(buffer)
    }
  }
  return {
    kind: 'javascript',
    copy: (sourceFd, storeFd, offset, length) =>
      withBytes(length, async bytes => {
        await readWhole(sourceFd, bytes, offset)
        const digest = digestOf(bytes)
        await writeWhole(storeFd, bytes, offset)
        return digest
      }),
    hash: (storeFd, offset, length) =>
      withBytes(length, async bytes => {
        await readWhole(storeFd, bytes, offset)
        return digestOf(bytes)
      }),
    write: (storeFd, offset, bytes) => writeWhole(storeFd, bytes, offset),
  }
}

/** The native copier's errors as the source's, or the store's. */
function copyError(error: unknown): SourceError | StoreError {
  const message = error instanceof Error ? error.message : String(error)
  if (error instanceof Error && 'syscall' in error && error.syscall === 'write') {
    return new StoreError(message)
  }
  const code = error instanceof Error && 'code' in error ? error.code : ''
  return new SourceError(code === 'TRUNCATED' ? 'truncated' : 'io', message)
}

export function nativeMover(): ChunkMover {
  return {
    kind: 'native',
    copy: async (from, to, offset, length) => {
      try {
        return await copyChunk({ from, to, offset, length })
      } catch (error) {
        throw copyError(error)
      }
    },
    hash: hashChunk,
    write: (fd, offset, bytes) => writeWhole(fd, bytes, offset),
  }
}
