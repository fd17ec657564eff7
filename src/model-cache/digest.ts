/**
 * Names made of hashes. On the wire a file is `fileId` and `generation`, so that no path ever
 * travels, and a request for the bytes of another generation can be told from one for a file that
 * is not known (409 against 404).
 *
 *   fileId      xxh3-128(source id ‖ 0 ‖ relative path)
 *   generation  xxh3-128(size ‖ 0 ‖ mtime in whole seconds): what all hosts agree on; inode, change
 *               time and nanoseconds differ between clients of one network file system
 *   score       xxh3-128(member ‖ 0 ‖ generation ‖ 0 ‖ fileId ‖ 0 ‖ extent): rendezvous hashing
 *
 * xxh3 is no protection against an adversary: trust between peers comes from their token.
 */
import xxhash from 'xxhash-addon'
import type { SourceStat } from './source.ts'

/** Bytes of one chunk: the unit of copying, hashing and asking. */
export const CHUNK_BYTES = 4 * 1024 * 1024

/** Chunks of one extent, the unit of ownership: 64 MiB. */
export const EXTENT_CHUNKS = 16

/** Bytes of a digest. */
export const DIGEST_BYTES = 16

export function digestOf(bytes: Buffer): Buffer {
  return xxhash.XXHash128.hash(bytes)
}

function hexOf(...parts: readonly (string | number)[]): string {
  return digestOf(Buffer.from(parts.join('\0'))).toString('hex')
}

export function fileIdOf(sourceId: string, path: string): string {
  return hexOf(sourceId, path)
}

export function generationOf(stat: SourceStat): string {
  return hexOf(stat.size, String(stat.mtimeNs / 1_000_000_000n))
}

/** The members in the order in which they own an extent; the first alone reads the source. */
export function ownersOf(
  members: readonly string[],
  generation: string,
  fileId: string,
  extent: number,
): string[] {
  const scored = members.map(member => ({
    member,
    score: hexOf(member, generation, fileId, extent),
  }))
  scored.sort((a, b) => (a.score < b.score ? -1 : a.score > b.score ? 1 : 0))
  return scored.map(({ member }) => member)
}

export function chunksOf(size: number): number {
  return Math.ceil(size / CHUNK_BYTES)
}

export function chunkLength(size: number, chunk: number): number {
  return Math.min(CHUNK_BYTES, size - chunk * CHUNK_BYTES)
}
