/**
 * The batches applied last, by number: is this one of them, another under the same number, or
 * older than they are?
 *
 * A batch is known by its sequence number, the engine's time stamp and a checksum of its bytes: a
 * clock that stands still, or ticks coarsely, tells no two engines apart. A hole in the numbers
 * forgets what was before it.
 *
 * Cost: 4 kB a rank and a CRC-32 a batch. Of batches longer ago than `STAMPS` it knows nothing.
 */
import { crc32 } from 'node:zlib'

export interface Frame {
  readonly seq: number
  /** The batch's time stamp; NaN when it has none. */
  readonly ts: number
  readonly payload: Uint8Array
}

/** Recent batches whose identity is kept, to tell a late duplicate from a restarted engine. */
const STAMPS = 256

export class KnownBatches {
  readonly #stamps = new Float64Array(STAMPS)
  /** NaN where no batch is known. */
  readonly #sums = new Float64Array(STAMPS).fill(Number.NaN)
  #last = -1

  /** Number of the last batch; -1 before the first. */
  get last(): number {
    return this.#last
  }

  forget(): void {
    this.#last = -1
    this.#sums.fill(Number.NaN)
  }

  add({ seq, ts, payload }: Frame): void {
    if (seq !== this.#last + 1) this.#sums.fill(Number.NaN)
    this.#last = seq
    this.#stamps[seq % STAMPS] = ts
    this.#sums[seq % STAMPS] = crc32(payload)
  }

  /** Whether the batch is the one added under its number; unknown when that is too long ago. */
  compare({ seq, ts, payload }: Frame): 'same' | 'other' | 'unknown' {
    if (seq > this.#last || seq <= this.#last - STAMPS) return 'unknown'
    const sum = this.#sums[seq % STAMPS] ?? Number.NaN
    if (Number.isNaN(sum)) return 'unknown'
    const isStamped = Object.is(this.#stampOf(seq), ts)
    return isStamped && sum === crc32(payload) ? 'same' : 'other'
  }

  /**
   * Whether the batch was made before what is known under its number, or, where nothing is, before
   * the last one: it is late, or of the engine before.
   */
  isBehind(frame: Frame): boolean {
    const { seq, ts } = frame
    const known = this.compare(frame)
    if (known === 'other') return ts < this.#stampOf(seq)
    if (known === 'same' || this.#last < 0) return false
    const lastTs = this.#stampOf(this.#last)
    return ts < lastTs || (seq <= this.#last && ts === lastTs)
  }

  /** Whether the batch is as old as the last one, or older. */
  isNoNewer({ ts }: Frame): boolean {
    return this.#last >= 0 && ts <= this.#stampOf(this.#last)
  }

  #stampOf(seq: number): number {
    return this.#stamps[seq % STAMPS] ?? Number.NaN
  }
}

/** Whether two frames bring the same batch. */
export function isSame(a: Frame, b: Frame): boolean {
  return Object.is(a.ts, b.ts) && Buffer.compare(a.payload, b.payload) === 0
}
