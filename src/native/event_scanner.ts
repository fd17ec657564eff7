/**
 * Classes of server-sent events as the native scanner finds them, or-ed over the events that
 * ended in one chunk. See native/response_log/event_scanner.h.
 */
import { addon } from './addon.ts'

/** `data: [DONE]`, exactly and as the only data of its event. */
export const EVENT_DONE = 1
/** `event: error`, or data that begins with `{"error"` and is not null. */
export const EVENT_ERROR = 2
/** `event: response.completed` (Responses). */
export const EVENT_COMPLETED = 4
/** `event: response.incomplete` (Responses). */
export const EVENT_INCOMPLETE = 8
/** `event: response.failed` (Responses). */
export const EVENT_FAILED = 16
/** `event: message_stop` (Anthropic). */
export const EVENT_MESSAGE_STOP = 32

/** What an engine says last, by the API that it speaks. */
export const EVENT_TERMINAL =
  EVENT_DONE | EVENT_COMPLETED | EVENT_INCOMPLETE | EVENT_FAILED | EVENT_MESSAGE_STOP

/** Bytes of a scanner's state; all zero at the start of a stream. */
export const SCAN_STATE_BYTES = 72

interface ScanAddon {
  scanEvents(state: Uint8Array, chunk: Uint8Array, ends: Uint32Array): number
}

// Decode boundary: the addon's exports are declared here and in no other place.
// oxlint-disable-next-line typescript/no-unsafe-type-assertion
const native = addon as ScanAddon

/**
 * Finds where the events of a stream end, for those who need every end and not only the last that
 * a log tells. Any pieces of the stream give the same events.
 */
export class EventEnds {
  readonly #state = new Uint8Array(SCAN_STATE_BYTES)
  #ends = new Uint32Array(16)

  /** Offsets in `chunk` just after each event that ended; valid until the next call. */
  scan(chunk: Uint8Array): Uint32Array {
    const before = this.#state.slice()
    let count = native.scanEvents(this.#state, chunk, this.#ends)
    if (count > this.#ends.length) {
      this.#ends = new Uint32Array(count * 2)
      this.#state.set(before)
      count = native.scanEvents(this.#state, chunk, this.#ends)
    }
    return this.#ends.subarray(0, count)
  }
}
