/**
 * The counters of one thread: a Float64Array on a SharedArrayBuffer that only this thread writes
 * and that the main thread reads when somebody asks for `/metrics`.
 *
 * Invariants: one writer a buffer, so a plain `+=` loses nothing; a reader may be one addition
 * late, never wrong (an aligned 64-bit load does not tear on the platforms that we build for).
 * Costs: an addition to a cell is about 2 ns, an observation about 15 ns, for the search through
 * 18 bounds (test/observe prints both, several times higher under the test runner). What it does
 * badly: a value is a double, so a counter of bytes is exact up to 9 PB only.
 *
 *     metrics.add(M.retriesDenied, 1)
 *     metrics.addFor(M.retries, RETRY.refused, 1)
 *     metrics.countRequest(ENDPOINT.chat, 200)
 *     metrics.addNode(N.kvBlocks, slot, 12)
 *     metrics.observe(H.firstTokenSeconds, 0.031)
 *     metrics.set(G.waiting, queue.length)
 */
import { SLOTS_MAX } from '../../native/limits.ts'
import { STATUS_CLASSES } from './labels.ts'
import { CELL_COUNT, type Histogram, M } from './layout.ts'

/** What the main thread keeps of every thread. */
export interface ThreadBuffer {
  readonly thread: string
  readonly buffer: SharedArrayBuffer
}

const STATUS_NONE = STATUS_CLASSES.indexOf('none')

/** Memory for the counters of one thread; made by the main thread, handed over as worker data. */
export function createThreadBuffer(thread: string): ThreadBuffer {
  return { thread, buffer: new SharedArrayBuffer(CELL_COUNT * 8) }
}

export class ThreadMetrics {
  readonly #cells: Float64Array

  constructor(buffer: SharedArrayBuffer) {
    if (buffer.byteLength !== CELL_COUNT * 8) {
      throw new TypeError(`metrics buffer has ${buffer.byteLength} bytes, not ${CELL_COUNT * 8}`)
    }
    this.#cells = new Float64Array(buffer)
  }

  /** Adds to a counter without labels. */
  add(id: number, n: number): void {
    this.#cells[id]! += n
  }

  /** Adds to a counter with one label; `labelIndex` is the position of the value in its list. */
  addFor(id: number, labelIndex: number, n: number): void {
    this.#cells[id + labelIndex]! += n
  }

  /** Counts an answered request; status 0: the client left before it got one. */
  countRequest(endpointIndex: number, status: number): void {
    const hundreds = Math.floor(status / 100)
    const statusClass = hundreds >= 2 && hundreds <= 5 ? hundreds - 2 : STATUS_NONE
    this.#cells[M.requests + endpointIndex * STATUS_CLASSES.length + statusClass]! += 1
  }

  /** Adds to a node counter without labels of its own. */
  addNode(id: number, slot: number, n: number): void {
    if (slot < SLOTS_MAX) this.#cells[id + slot]! += n
  }

  /** Adds to a node counter with one label of `valueCount` values. */
  addNodeFor(id: number, slot: number, valueCount: number, labelIndex: number, n: number): void {
    if (slot < SLOTS_MAX) this.#cells[id + slot * valueCount + labelIndex]! += n
  }

  /** Puts a duration into the first bucket whose bound is not below it. */
  observe(histogram: Histogram, seconds: number): void {
    const bounds = histogram.bounds
    let low = 0
    let high = bounds.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (bounds[middle]! < seconds) low = middle + 1
      else high = middle
    }
    this.#cells[histogram.base + low]! += 1
    this.#cells[histogram.base + bounds.length + 1]! += seconds
  }

  /** Sets a gauge of this thread. */
  set(id: number, value: number): void {
    this.#cells[id] = value
  }

  /** Current value of a cell: for tests and for the admin pages of this thread. */
  read(id: number, labelIndex = 0): number {
    return this.#cells[id + labelIndex]!
  }
}
