/**
 * Numbers the events of a resumable stream: an `id: n` line before each, n from 0. A client that
 * comes back says which number it saw last; these lines are the only bytes that are added.
 *
 *   log     data: {"a":1}\n\n         data: {"b"     :2}\n\n
 *   client  id: 0\ndata: {"a":1}\n\n  id: 1\ndata: {"b"    :2}\n\n
 *
 * The line goes out with the first byte of its event, so a piece of an event is numbered once.
 * Costs one scan and one copy of each chunk; streams that are not resumable have none of it.
 */
import { EventEnds } from '../native/event_scanner.ts'

export class EventNumbers {
  readonly #ends = new EventEnds()
  #next: number
  #isInside = false
  /** Offset in the last result just after the last event that ended in it. */
  wholeEnd = 0

  constructor(next: number) {
    this.#next = next
  }

  insert(chunk: Uint8Array): Buffer {
    const parts: Uint8Array[] = []
    let from = 0
    let bytes = 0
    this.wholeEnd = 0
    for (const end of this.#ends.scan(chunk)) {
      bytes += this.#take(parts, chunk.subarray(from, end))
      this.#isInside = false
      this.wholeEnd = bytes
      from = end
    }
    if (from < chunk.length) this.#take(parts, chunk.subarray(from))
    return Buffer.concat(parts)
  }

  /** An event of the gateway's own, in the place of one that did not become whole. */
  own(event: Uint8Array): Buffer {
    const number = this.#isInside ? this.#next - 1 : this.#next
    return Buffer.concat([Buffer.from(`id: ${number}\n`), event])
  }

  /** Adds one event or a piece of it; returns the bytes added. */
  #take(parts: Uint8Array[], piece: Uint8Array): number {
    let bytes = piece.length
    if (!this.#isInside) {
      const line = Buffer.from(`id: ${this.#next++}\n`)
      parts.push(line)
      bytes += line.length
      this.#isInside = true
    }
    parts.push(piece)
    return bytes
  }
}
