/**
 * Which chunks of a file are here, and the digest of each.
 *
 *   bits     chunk 0 1 2 3 …   one bit each, lowest bit first, as it goes over the wire
 *   digests  16 bytes a chunk, zero where unknown
 *
 * A file of 643 GB has 153,288 chunks: 19 KB of bits and 2.5 MB of digests.
 */
import { CHUNK_BYTES, chunkLength, chunksOf, DIGEST_BYTES } from './digest.ts'

export class ChunkMap {
  readonly size: number
  readonly count: number
  readonly bits: Uint8Array
  readonly digests: Buffer
  /** Chunks that are being read from the source, so that nobody else has to. */
  readonly #claimed = new Set<number>()
  #present = 0

  constructor(size: number) {
    this.size = size
    this.count = chunksOf(size)
    this.bits = new Uint8Array((this.count + 7) >> 3)
    this.digests = Buffer.alloc(this.count * DIGEST_BYTES)
  }

  get present(): number {
    return this.#present
  }

  get isComplete(): boolean {
    return this.#present === this.count
  }

  get bytes(): number {
    if (this.isComplete) return this.size
    const hasTail = this.has(this.count - 1)
    const tail = hasTail ? chunkLength(this.size, this.count - 1) : 0
    return (this.#present - (hasTail ? 1 : 0)) * CHUNK_BYTES + tail
  }

  has(chunk: number): boolean {
    return ((this.bits[chunk >> 3] ?? 0) & (1 << (chunk & 7))) !== 0
  }

  add(chunk: number, digest: Buffer): void {
    if (this.has(chunk)) return
    this.bits[chunk >> 3]! |= 1 << (chunk & 7)
    digest.copy(this.digests, chunk * DIGEST_BYTES)
    this.#present += 1
  }

  digest(chunk: number): Buffer {
    return this.digests.subarray(chunk * DIGEST_BYTES, (chunk + 1) * DIGEST_BYTES)
  }

  claim(chunk: number): void {
    this.#claimed.add(chunk)
  }

  unclaim(chunk: number): void {
    this.#claimed.delete(chunk)
  }

  /** What others may ask for: chunks that are here, and those that are about to be. */
  offered(): Uint8Array {
    const bits = this.bits.slice()
    for (const chunk of this.#claimed) bits[chunk >> 3]! |= 1 << (chunk & 7)
    return bits
  }

  length(chunk: number): number {
    return chunkLength(this.size, chunk)
  }
}

const UNKNOWN = Buffer.alloc(DIGEST_BYTES)

/**
 * What several holders say the digests are. A chunk about which two of them differ is disputed:
 * only the source can tell, and whoever was wrong is found out then.
 */
export class Testimony {
  readonly #lists = new Map<string, Buffer>()
  readonly #count: number

  constructor(count: number) {
    this.#count = count
  }

  /** Takes a holder's list; one of a wrong length says nothing. */
  add(holder: string, list: Buffer): void {
    if (list.length === this.#count * DIGEST_BYTES) this.#lists.set(holder, list)
  }

  *#said(chunk: number): Generator<readonly [holder: string, digest: Buffer]> {
    for (const [holder, list] of this.#lists) {
      const digest = list.subarray(chunk * DIGEST_BYTES, (chunk + 1) * DIGEST_BYTES)
      if (!digest.equals(UNKNOWN)) yield [holder, digest]
    }
  }

  /** The digest that all who know it agree on; null when nobody knows or they differ. */
  expected(chunk: number): Buffer | null {
    let found: Buffer | null = null
    for (const [, digest] of this.#said(chunk)) {
      if (found !== null && !found.equals(digest)) return null
      found = digest
    }
    return found
  }

  /** Whether two holders say the same of it. */
  isVouched(chunk: number): boolean {
    return this.expected(chunk) !== null && [...this.#said(chunk)].length > 1
  }

  isDisputed(chunk: number): boolean {
    return this.expected(chunk) === null && !this.#said(chunk).next().done
  }

  /** Holders whose word about the chunk is not the truth. */
  liars(chunk: number, truth: Buffer): string[] {
    return [...this.#said(chunk)].flatMap(([holder, digest]) =>
      digest.equals(truth) ? [] : [holder],
    )
  }
}
