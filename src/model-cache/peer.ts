/**
 * What this member knows of another: where it is, what it holds, whether it can be trusted now.
 *
 *   live ──(refused, reset, stalled)──► down ──(answers a hello)──► live
 *     └──(wrong bytes)──► banned for 60 s ──► live
 *
 * Holdings are what the peer said last: for a whole file "all", for one that it is loading a map
 * of chunks. They may be old; asking a peer for what it no longer has costs one round trip.
 */

/** Milliseconds for which a peer that sent wrong bytes is not asked. */
export const BAN_MS = 60_000

/** Chunks asked of one peer at once: enough to keep a connection busy, few enough to switch. */
export const PEER_CHUNKS_MAX = 6

/** What a peer says of one file: null is the whole file, else a map of its chunks. */
export interface Holding {
  readonly generation: string
  readonly chunks: Uint8Array | null
}

/**
 * What a member says of all its files. It sends them to us as questions and as answers, over
 * different connections, so an older one may come after a newer one.
 */
export interface Statement {
  /** Of two statements of one member the later has the higher number. */
  readonly sequence: number
  readonly holdings: ReadonlyMap<string, Holding>
}

export type PeerState = 'live' | 'down' | 'banned'

export interface PeerPlace {
  readonly id: string
  readonly host: string
  /** Of hellos and of the registry. */
  readonly port: number
  /** Of chunks. */
  readonly dataPort: number
}

export class Peer {
  readonly id: string
  readonly host: string
  readonly port: number
  readonly dataPort: number
  readonly isWarmup: boolean
  readonly #now: () => number
  inFlight = 0
  mismatches = 0
  /** Chunk requests wait this long after the peer asked for mercy (429). */
  #restUntilMs = 0
  #isDown = false
  #bannedUntilMs = 0
  #said: Statement = { sequence: 0, holdings: new Map() }

  constructor(place: PeerPlace, isWarmup: boolean, now: () => number) {
    this.id = place.id
    this.host = place.host
    this.port = place.port
    this.dataPort = place.dataPort
    this.isWarmup = isWarmup
    this.#now = now
  }

  get name(): string {
    return `${this.host}:${this.port}`
  }

  get state(): PeerState {
    if (this.#now() < this.#bannedUntilMs) return 'banned'
    return this.#isDown ? 'down' : 'live'
  }

  get isUsable(): boolean {
    return this.state === 'live'
  }

  get hasRoom(): boolean {
    return this.inFlight < PEER_CHUNKS_MAX && this.#now() >= this.#restUntilMs
  }

  down(): void {
    this.#isDown = true
  }

  up(): void {
    this.#isDown = false
  }

  ban(): void {
    this.#bannedUntilMs = this.#now() + BAN_MS
  }

  rest(ms: number): void {
    this.#restUntilMs = this.#now() + ms
  }

  /**
   * Takes what the peer says. Were an older statement to overwrite a newer, a file that the peer
   * has begun to load would count as unknown to it, and both would read the source.
   */
  hear(said: Statement): void {
    if (said.sequence >= this.#said.sequence) this.#said = said
  }

  #holding(fileId: string, generation: string): Holding | null {
    const holding = this.#said.holdings.get(fileId)
    return holding?.generation === generation ? holding : null
  }

  /** Whether the peer said that it has the chunk. */
  holds(fileId: string, generation: string, chunk: number): boolean {
    const holding = this.#holding(fileId, generation)
    if (holding === null) return false
    return holding.chunks === null || ((holding.chunks[chunk >> 3] ?? 0) & (1 << (chunk & 7))) !== 0
  }

  /** Whether the peer has only a part of the file and is fetching the rest. */
  isLoading(fileId: string, generation: string): boolean {
    const holding = this.#holding(fileId, generation)
    return holding !== null && holding.chunks !== null
  }

  /** Whether the peer has the file or a part of it. */
  serves(fileId: string, generation: string): boolean {
    return this.#holding(fileId, generation) !== null
  }

  hasWhole(fileId: string, generation: string): boolean {
    return this.#holding(fileId, generation)?.chunks === null
  }

  gotChunk(fileId: string, generation: string, chunk: number): void {
    const chunks = this.#holding(fileId, generation)?.chunks
    if (chunks && chunk >> 3 < chunks.length) chunks[chunk >> 3]! |= 1 << (chunk & 7)
  }
}
