/**
 * Face of the event frames (native/event_frames): payloads of WebSocket messages, made from a
 * stretch of whole server-sent events without parsing their JSON.
 *
 *   useFrames(FRAME_TEXT, prefix); frameFacts[FRAME_AT] = 0; frameFacts[FRAME_NUMBER] = 7
 *   const count = eventFrames(chunk)
 *   frameFacts   [at, number of the next event, form, prefix size, needed,
 *                 start, end, kind, start, end, kind, …]
 *
 * A call goes on from `at` to the chunk's end and moves `at` and the number on. The payloads lie in
 * `frameOut`, at the offsets of their spans. `at` below the chunk's length means that the room or
 * the spans (256) were full: send, and call again. With no frame at all and `needed` above 0 the
 * next event alone wants that many bytes: `eventFramesInto`. All of this is one array of the
 * thread, so that a call has one argument: with seven of them a token's frame cost 0.3 µs.
 */
import assert from 'node:assert/strict'
import { addon } from './addon.ts'

/** Places in `frameFacts`, and words of one span behind them: start, end, kind. */
export const FRAME_AT = 0
export const FRAME_NUMBER = 1
const FRAME_FORM = 2
const FRAME_PREFIX_SIZE = 3
export const FRAME_NEEDED = 4
export const FRAME_FACT_WORDS = 5
export const FRAME_SPAN_WORDS = 3

/** Payloads of one call, bytes in front of one, and room for all: as in event_frames.h. */
const SPANS = 256
const PREFIX_BYTES = 512
export const FRAME_OUT_BYTES = 15_360

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
  readonly frameDesk: ArrayBuffer
  eventFrames(chunk: Uint8Array): number
  eventFramesInto(chunk: Uint8Array, out: Uint8Array): number
}

// Decode boundary: the addon's exports are declared here and in no other place.
// oxlint-disable-next-line typescript/no-unsafe-type-assertion
const native = addon as FramesAddon

const WORDS = FRAME_FACT_WORDS + SPANS * FRAME_SPAN_WORDS
const PREFIX_AT = WORDS * Uint32Array.BYTES_PER_ELEMENT
// Both sides write by these places; one that is built otherwise must not run.
assert.equal(native.frameDesk.byteLength, PREFIX_AT + PREFIX_BYTES + FRAME_OUT_BYTES)

export const frameFacts = new Uint32Array(native.frameDesk, 0, WORDS)
export const frameOut = new Uint8Array(native.frameDesk, PREFIX_AT + PREFIX_BYTES, FRAME_OUT_BYTES)
const framePrefix = new Uint8Array(native.frameDesk, PREFIX_AT, PREFIX_BYTES)

/** How the next calls wrap their payloads, and what they put in front. */
export function useFrames(form: FrameForm, prefix: Uint8Array): void {
  frameFacts[FRAME_FORM] = form
  frameFacts[FRAME_PREFIX_SIZE] = prefix.length
  framePrefix.set(prefix)
}

function checkPlace(chunk: Uint8Array): void {
  const at = frameFacts[FRAME_AT] ?? 0
  if (at > chunk.length) throw new TypeError(`${at} lies behind ${chunk.length} bytes`)
}

/** Makes the payloads of the chunk's next events in `frameOut`; returns how many there are. */
export function eventFrames(chunk: Uint8Array): number {
  checkPlace(chunk)
  return native.eventFrames(chunk)
}

/** The same in other room. */
export function eventFramesInto(chunk: Uint8Array, out: Uint8Array): number {
  checkPlace(chunk)
  return native.eventFramesInto(chunk, out)
}
