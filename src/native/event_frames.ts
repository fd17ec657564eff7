/**
 * Face of the event frames (native/event_frames): payloads of WebSocket messages, made from a
 * stretch of whole server-sent events without parsing their JSON.
 *
 *   const count = eventFrames(chunk, from, to, prefix, FRAME_TEXT, number, out, facts)
 *   facts   [consumed, next number, needed, start, end, kind, start, end, kind, …]
 *
 * The payloads lie in `out`, at the offsets of their spans. `consumed` below `to` means that `out`
 * or the spans were full: send, and call again from there. With no frame at all and `needed` above
 * 0 the next event alone wants that many bytes of room. The caller owns all arrays.
 */
import { addon } from './addon.ts'

/** Places in `facts`, and words of one span behind them: start, end, kind. */
export const FRAME_CONSUMED = 0
export const FRAME_NEXT_NUMBER = 1
export const FRAME_NEEDED = 2
export const FRAME_FACT_WORDS = 3
export const FRAME_SPAN_WORDS = 3

/** How a payload is wrapped. */
export const FRAME_TEXT = 0
export const FRAME_MSGPACK = 1
export type FrameForm = typeof FRAME_TEXT | typeof FRAME_MSGPACK

/** What a payload is: with its prefix, exactly `[DONE]`, other text, or bytes that are no text. */
export const FRAME_OBJECT = 0
export const FRAME_DONE = 1
export const FRAME_OTHER = 2
export const FRAME_BROKEN = 3

interface FramesAddon {
  eventFrames(
    chunk: Uint8Array,
    from: number,
    to: number,
    prefix: Uint8Array,
    form: number,
    number: number,
    out: Uint8Array,
    facts: Uint32Array,
  ): number
}

// Decode boundary: the addon's exports are declared here and in no other place.
// oxlint-disable-next-line typescript/no-unsafe-type-assertion
const native = addon as FramesAddon

/** Makes the payloads of the events in chunk[from, to); returns how many there are. */
export function eventFrames(
  chunk: Uint8Array,
  from: number,
  to: number,
  prefix: Uint8Array,
  form: FrameForm,
  number: number,
  out: Uint8Array,
  facts: Uint32Array,
): number {
  if (!(from >= 0 && from <= to && to <= chunk.length)) {
    throw new TypeError(`from ${from} and to ${to} must lie in ${chunk.length} bytes, in order`)
  }
  if (facts.length < FRAME_FACT_WORDS + FRAME_SPAN_WORDS) {
    throw new TypeError('facts must have room for one span')
  }
  return native.eventFrames(chunk, from, to, prefix, form, number, out, facts)
}
