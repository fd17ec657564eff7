/**
 * Chunks between hosts: a sender out of the store, and peers to fetch from, both on native
 * threads. See native/model_cache/sender.h and receiver.h.
 *
 * On the wire a chunk is `GET /v1/blob/<file id>/<generation>` with a `Range` of exactly one chunk
 * (or the tail), answered by 206 with its hash in `x-warmpath-xxh3-128`. File ids, generations and
 * hashes are 16 bytes, 32 hex digits on the wire.
 */
import {
  answered,
  checkBytes,
  checkDescriptor,
  checked,
  EVENT_CHUNK_WANTED,
  listen,
  modelCacheAddon,
  nativeError,
} from './model_cache_addon.ts'
import { CHUNK_BYTES_MAX, HASH_BYTES } from './model_chunks.ts'

/** Streams to one peer, each a socket and a thread. */
export const PEER_STREAMS_MAX = 16

interface TransferAddon {
  senderOpen(host: string, port: number, token: string, out: Float64Array): number
  senderClose(sender: number): void
  senderPut(s: number, file: Uint8Array, gen: Uint8Array, fd: number, size: number): number
  senderChunk(s: number, file: Uint8Array, gen: Uint8Array, n: number, hash: Uint8Array): boolean
  senderDrop(sender: number, file: Uint8Array, generation: Uint8Array): void
  senderRefuse(s: number, file: Uint8Array, generation: Uint8Array, chunk: number): void
  senderFacts(sender: number, out: Float64Array): void
  peerOpen(host: string, port: number, streams: number, isOwnUserOnly: number): number
  peerFetch(
    peer: number,
    token: number,
    head: string,
    to: number,
    where: Float64Array,
    expected: Uint8Array,
  ): boolean
  peerClose(peer: number): void
}

// Decode boundary: the addon's exports are declared here and in no other place.
const native = (): TransferAddon => modelCacheAddon() as TransferAddon

export interface SenderOptions {
  readonly host: string
  /** 0 takes one that is free. */
  readonly port: number
  /** Signs every request; '' lets processes of our own user and root in. */
  readonly token: string
  /**
   * A peer waits for a chunk of a blob that is not there yet: put it, or refuse it. Once until
   * then; after five seconds the peer is sent away. The buffers are the listener's.
   */
  readonly onWanted: (fileId: Buffer, generation: Buffer, chunk: number) => void
}

export interface SenderFacts {
  readonly bytes: number
  readonly requests: number
  readonly refused: number
  readonly connections: number
  readonly held: number
}

function checkId(id: Uint8Array, name: string): void {
  if (id instanceof Uint8Array && id.length === HASH_BYTES) return
  throw new TypeError(`${name} must have ${HASH_BYTES} bytes`)
}

function checkPort(port: number): void {
  if (Number.isInteger(port) && port >= 0 && port < 65536) return
  throw new TypeError(`port must be 0 to 65535, got ${port}`)
}

export class ChunkSender {
  readonly port: number
  readonly #id: number
  readonly #native = native()
  #isClosed = false

  private constructor(id: number, port: number) {
    this.#id = id
    this.port = port
  }

  static open({ host, port, token, onWanted }: SenderOptions): ChunkSender {
    checkPort(port)
    const out = new Float64Array(1)
    const id = native().senderOpen(host, port, token, out)
    checked(id, `listening on ${host}:${port}`)
    listen(EVENT_CHUNK_WANTED, id, ({ a, bytes }) => {
      const both = Buffer.from(bytes)
      onWanted(both.subarray(0, HASH_BYTES), both.subarray(HASH_BYTES), a)
    })
    return new ChunkSender(id, out[0] ?? 0)
  }

  /**
   * A file of which chunks may be asked for; the descriptor is duplicated. Again with the same
   * generation it replaces the descriptor; with another, the file.
   */
  put(fileId: Uint8Array, generation: Uint8Array, fd: number, size: number): void {
    checkId(fileId, 'fileId')
    checkId(generation, 'generation')
    checkDescriptor(fd, 'fd')
    checkBytes(size, 'size')
    checked(this.#native.senderPut(this.#id, fileId, generation, fd, size), 'sharing a file')
  }

  /** The chunk is there, verified; false when the file is not (any more). */
  putChunk(fileId: Uint8Array, generation: Uint8Array, chunk: number, hash: Uint8Array): boolean {
    checkId(fileId, 'fileId')
    checkId(generation, 'generation')
    checkBytes(chunk, 'chunk')
    checkId(hash, 'hash')
    return this.#native.senderChunk(this.#id, fileId, generation, chunk, hash)
  }

  /** Bodies under way are sent to their end. */
  drop(fileId: Uint8Array, generation: Uint8Array): void {
    checkId(fileId, 'fileId')
    checkId(generation, 'generation')
    this.#native.senderDrop(this.#id, fileId, generation)
  }

  /** Whoever waits for this chunk gets 503 now. */
  refuse(fileId: Uint8Array, generation: Uint8Array, chunk: number): void {
    checkId(fileId, 'fileId')
    checkId(generation, 'generation')
    checkBytes(chunk, 'chunk')
    this.#native.senderRefuse(this.#id, fileId, generation, chunk)
  }

  facts(): SenderFacts {
    const out = new Float64Array(5)
    this.#native.senderFacts(this.#id, out)
    const [bytes = 0, requests = 0, refused = 0, connections = 0, held = 0] = out
    return { bytes, requests, refused, connections, held }
  }

  /** Cuts every connection and frees the port. */
  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    listen(EVENT_CHUNK_WANTED, this.#id, null)
    this.#native.senderClose(this.#id)
  }
}

export interface PeerOptions {
  readonly host: string
  readonly port: number
  readonly streams: number
  /** Chunks are taken from a process of our own user or root alone: requests are not signed. */
  readonly isOwnUserOnly: boolean
}

export interface ChunkFetch {
  /** The whole request head with its empty last line, signed. */
  readonly head: string
  readonly to: number
  readonly offset: number
  readonly length: number
  /** Null when only the peer knows the hash. */
  readonly expected: Uint8Array | null
  /** Milliseconds without a byte after which the peer is given up; four times that in all. */
  readonly silenceMsMax: number
}

export interface FetchResult {
  /** 206: verified and written; else the peer's refusal, and nothing was written. */
  readonly status: number
  readonly hash: Buffer
}

export class ChunkPeer {
  readonly #id: number
  readonly #native = native()
  #isClosed = false

  private constructor(id: number) {
    this.#id = id
  }

  /** Connects at the first fetch. */
  static open({ host, port, streams, isOwnUserOnly }: PeerOptions): ChunkPeer {
    checkPort(port)
    if (!(Number.isInteger(streams) && streams >= 1 && streams <= PEER_STREAMS_MAX)) {
      throw new TypeError(`streams must be 1 to ${PEER_STREAMS_MAX}, got ${streams}`)
    }
    return new ChunkPeer(native().peerOpen(host, port, streams, isOwnUserOnly ? 1 : 0))
  }

  /**
   * Fetches one chunk into a file. Fails with `EBADMSG` when its hash is wrong, `ETIMEDOUT`,
   * `ECONNRESET` and the like when the peer is, `EACCES` when it is another user's; then nothing
   * was written.
   */
  async fetch(fetch: ChunkFetch): Promise<FetchResult> {
    const { head, to, offset, length, expected, silenceMsMax } = fetch
    checkDescriptor(to, 'to')
    checkBytes(offset, 'offset')
    if (!(Number.isInteger(length) && length > 0 && length <= CHUNK_BYTES_MAX)) {
      throw new TypeError(`length must be 1 to ${CHUNK_BYTES_MAX} bytes, got ${length}`)
    }
    if (!(Number.isInteger(silenceMsMax) && silenceMsMax > 0 && silenceMsMax < 2 ** 31)) {
      throw new TypeError(`silenceMsMax must be a whole number above 0, got ${silenceMsMax}`)
    }
    if (!head.endsWith('\r\n\r\n')) throw new TypeError('head must end with an empty line')
    if (expected !== null) checkId(expected, 'expected')
    if (this.#isClosed) throw nativeError(-125, 'fetching from a closed peer')
    const where = Float64Array.of(offset, length, silenceMsMax)
    const wanted = expected ?? new Uint8Array(0)
    const event = await answered(token =>
      this.#native.peerFetch(this.#id, token, head, to, where, wanted),
    )
    if (event.error < 0) throw nativeError(event.error, 'fetching a chunk')
    return { status: event.status, hash: event.bytes.subarray(0, HASH_BYTES) }
  }

  /** What waits fails with `ECANCELED`. */
  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#native.peerClose(this.#id)
  }
}
