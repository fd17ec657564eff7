/**
 * The HTTP chunks that one read of a node's socket brought, as one piece.
 *
 *     read ──► chunk, chunk, chunk ──push──► (afterRead: behind the parser) ──► take(one piece)
 *
 * A node that is ahead of us sends a chunk for each token, and a read holds up to 64 KiB of them.
 * What follows costs by the piece and not by the byte: an append to the log is a call into native
 * code, between cold caches half a microsecond, and each reader is called too. Gathered, a read
 * costs that once. A lone chunk is handed on as it lies in the buffer of the read, so a piece is
 * valid during the call only: most are written at once, and need no copy.
 *
 * Whatever else is heard of the reply comes behind `flush`. At most `GATHERED_BYTES_MAX` wait.
 */
import { afterRead } from './node_socket.ts'

/** Bytes that are handed on without waiting for the end of the read: what one read holds. */
const GATHERED_BYTES_MAX = 65_536

export class ReadGatherer {
  readonly #take: (piece: Buffer) => void
  readonly #flushLater: () => void
  #first: Buffer | null = null
  #more: Buffer[] | null = null
  #bytes = 0
  #isWaiting = false

  constructor(take: (piece: Buffer) => void) {
    this.#take = take
    this.#flushLater = () => {
      this.#isWaiting = false
      this.flush()
    }
  }

  push(chunk: Buffer): void {
    this.#bytes += chunk.length
    if (this.#first === null) this.#first = chunk
    else if (this.#more === null) this.#more = [this.#first, chunk]
    else this.#more.push(chunk)
    if (this.#bytes >= GATHERED_BYTES_MAX) return this.flush()
    if (this.#isWaiting) return
    this.#isWaiting = true
    afterRead(this.#flushLater)
  }

  /** Hands on what there is. */
  flush(): void {
    const first = this.#first
    if (first === null) return
    const piece = this.#more === null ? first : Buffer.concat(this.#more, this.#bytes)
    this.#first = null
    this.#more = null
    this.#bytes = 0
    this.#take(piece)
  }
}
