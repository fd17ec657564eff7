/**
 * A reader whose client has named an event that is still to come: what comes before it is left out.
 *
 *     log    e4 e5 e6 e7 …      asked for what comes after e5, when e3 was the last one
 *     reader       e6 e7 …      skipped: 2
 *
 * The position where it begins must lie between two events.
 */
import { EventEnds } from '../native/event_scanner.ts'
import type { LogEnd, LogHead, LogReader } from '../responses/log_reader.ts'

export class AheadReader implements LogReader {
  readonly #reader: LogReader
  readonly #ends = new EventEnds()
  #skipped: number

  constructor(reader: LogReader, skipped: number) {
    this.#reader = reader
    this.#skipped = skipped
  }

  onHead(head: LogHead): void {
    this.#reader.onHead(head)
  }

  onBytes(chunk: Uint8Array, wholeEnd: number, classes: number): boolean {
    if (this.#skipped === 0) return this.#reader.onBytes(chunk, wholeEnd, classes)
    const ends = this.#ends.scan(chunk)
    const from = ends[this.#skipped - 1]
    this.#skipped = Math.max(0, this.#skipped - ends.length)
    if (from === undefined || from === chunk.length) return true
    return this.#reader.onBytes(chunk.subarray(from), Math.max(0, wholeEnd - from), classes)
  }

  onEnd(end: LogEnd): void {
    this.#reader.onEnd(end)
  }
}
