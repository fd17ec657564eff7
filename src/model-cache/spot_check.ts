/**
 * Bytes for which only the member that sent them vouches are compared with the source: one chunk of
 * every file, before the file is shown.
 *
 *   chunk from a peer ──► landed ─────────────────────────────► file whole ──► shown
 *                 └─ the chosen one: read at the source beside ──── same ───────┘
 *                                                          other bytes: peer banned, file anew
 *
 * Nobody knows before which chunk it is: who lies about all of a file is found at once, who lies
 * about a part with the probability of that part. Of a file that the peer had whole before, the
 * chunk is read to its end. Of a file of one chunk, and of one that members load together, it is a
 * piece: with whole chunks four cold members would read more than 1.05 source bytes a byte.
 *
 * A source that cannot be asked speaks against nobody: then the peer is believed, since its token
 * or the kernel (socket_owner.ts) says who it is.
 */
import { CHUNK_BYTES } from './digest.ts'
import type { Hydration } from './hydration.ts'
import type { ChunkMover } from './mover.ts'
import type { Peer } from './peer.ts'
import { openVersion, type Source } from './source.ts'
import { SourceLease } from './source_lease.ts'

/** Bytes of a piece that stands for a chunk. */
const PIECE_BYTES = 64 * 1024

/** Milliseconds for which a whole file waits for the source's word about its chunk. */
const WORD_MS_MAX = 5_000

export interface SpotCheckOptions {
  readonly hydration: Hydration
  readonly source: Source
  readonly mover: ChunkMover
  /** The other members as the file's load begins. */
  readonly peers: readonly Peer[]
  readonly random: () => number
  /** Bytes that are read from the source. */
  readonly onRead: (bytes: number) => void
  readonly onLiar: (peer: Peer, chunk: number) => void
}

interface Piece {
  readonly offset: number
  readonly length: number
  /** Of what the peer sent. */
  readonly digest: Buffer
}

export class SpotCheck {
  readonly #options: SpotCheckOptions
  readonly #chunk: number
  /** Ids of those that have all of the file. */
  readonly #holders: ReadonlySet<string>
  /** Settles when the source has spoken, or need not. */
  done: Promise<void> = Promise.resolve()

  constructor(options: SpotCheckOptions) {
    this.#options = options
    this.#chunk = this.#anyMissing()
    const { fileId, generation } = options.hydration.file
    const holders = options.peers.filter(peer => peer.hasWhole(fileId, generation))
    this.#holders = new Set(holders.map(({ id }) => id))
  }

  /** What is here already came before this load. */
  #anyMissing(): number {
    const { hydration, random } = this.#options
    const { map } = hydration
    const start = Math.floor(random() * map.count)
    for (let step = 0; step < map.count; step += 1) {
      const chunk = (start + step) % map.count
      if (!map.has(chunk)) return chunk
    }
    return 0
  }

  /** A peer gave a chunk, which is in the store and does not count as landed yet. */
  async given(peer: Peer, chunk: number, digest: Buffer): Promise<void> {
    const { testimony } = this.#options.hydration
    if (chunk !== this.#chunk || testimony.isVouched(chunk)) return
    this.done = this.#compare(peer, await this.#pieceOf(peer, digest))
  }

  async #pieceOf(peer: Peer, digest: Buffer): Promise<Piece> {
    const { hydration, mover, random } = this.#options
    const { map, storeFd } = hydration
    const start = this.#chunk * CHUNK_BYTES
    const length = map.length(this.#chunk)
    const isWhole = map.count > 1 && this.#holders.has(peer.id)
    if (isWhole || length <= PIECE_BYTES) return { offset: start, length, digest }
    const offset = start + Math.floor(random() * (length - PIECE_BYTES))
    const ofPiece = await mover.hash(storeFd, offset, PIECE_BYTES)
    return { offset, length: PIECE_BYTES, digest: ofPiece }
  }

  async #compare(peer: Peer, { offset, length, digest }: Piece): Promise<void> {
    const { hydration, onRead, onLiar } = this.#options
    const truth = await this.#truth(offset, length)
    if (truth === null) return
    onRead(length)
    if (truth.equals(digest)) return
    onLiar(peer, this.#chunk)
    const message = `${peer.name} gave bytes that the source does not have`
    hydration.finish({ kind: 'changed', message })
  }

  /** Null when the source cannot be asked, or is asked in vain for too long. */
  async #truth(offset: number, length: number): Promise<Buffer | null> {
    const { hydration, source, mover } = this.#options
    const lease = new SourceLease(openVersion(source, hydration.file))
    const read = lease.use(({ fd }) => mover.hash(fd, offset, length)).catch(() => null)
    lease.retire()
    let timer: NodeJS.Timeout | undefined
    const limit = new Promise<null>(resolve => {
      timer = setTimeout(() => resolve(null), WORD_MS_MAX)
    })
    const truth = await Promise.race([read, limit])
    clearTimeout(timer)
    return truth
  }
}
