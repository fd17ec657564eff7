/**
 * Sends the events of a lane as WebSocket messages, a quantum at a time.
 *
 *     piece (whole SSE events) ──eventFrames──► payloads at 0, 256, … ──► ws.send, once an event
 *
 * One scratch buffer serves all sockets of a thread: uWebSockets.js has copied a payload when
 * `send` returns. A payload is sent through a view of the scratch that is kept: tokens have few
 * lengths and lie at few places, so that nearly none of them allocates anything.
 */
import type { WebSocket } from 'uWebSockets.js'
import type { FrameForm } from '../native/event_frames.ts'
import {
  eventFrames,
  FRAME_CONSUMED,
  FRAME_DONE,
  FRAME_FACT_WORDS,
  FRAME_MSGPACK,
  FRAME_NEEDED,
  FRAME_NEXT_NUMBER,
  FRAME_OBJECT,
  FRAME_SPAN_WORDS,
} from '../native/event_frames.ts'

/** Payload bytes of one quantum, below the 16 KiB that uWebSockets.js gathers in a cork. */
const OUT_BYTES = 15_360
/** Events of one quantum. */
const SPANS = 256
/** Views are kept for payloads up to this long (bytes); longer ones get one of their own. */
const VIEW_BYTES_MAX = 512

/** `send` found more queued than `maxBackpressure`: the message is lost. */
const DROPPED = 2

const scratch = new Uint8Array(OUT_BYTES)
const facts = new Uint32Array(FRAME_FACT_WORDS + SPANS * FRAME_SPAN_WORDS)
/** By the offset of their end; of its full length from the start, so that it stays an array. */
const views = Array.from({ length: OUT_BYTES + 1 }, (): Uint8Array | null => null)
const decoder = new TextDecoder()

/** How the messages of a lane look; made once a lane. */
export interface FrameShape {
  readonly name: string | null
  readonly form: FrameForm
  /** Bytes in front of a payload: `{"stream_id":"plan",` or `[ name`. */
  readonly prefix: Uint8Array
}

/** Where a lane stands in its stream; moved on by `sendQuantum`. */
export interface Progress {
  /** Offset of the first byte of the piece that was not sent. */
  at: number
  /** Number of the next event. */
  number: number
  /** The end of the stream is told as `[DONE]` (chat); else that event is left out. */
  tellsDone: boolean
}

export type Sent = 'sent' | 'dropped'

const TEXT = new TextEncoder()

/** The shape of a lane's messages. */
export function frameShape(name: string | null, form: FrameForm): FrameShape {
  if (form === FRAME_MSGPACK) {
    return { name, form, prefix: msgpackPrefix(name) }
  }
  const text = name === null ? '' : `{"stream_id":${JSON.stringify(name)},`
  return { name, form, prefix: TEXT.encode(text) }
}

/** An array of three, and its first element: the lane's name or nil. */
function msgpackPrefix(name: string | null): Uint8Array {
  if (name === null) return Uint8Array.of(0x93, 0xc0)
  const bytes = TEXT.encode(name)
  const size = bytes.length
  if (size < 32) return Uint8Array.of(0x93, 0xa0 | size, ...bytes)
  if (size < 256) return Uint8Array.of(0x93, 0xd9, size, ...bytes)
  return Uint8Array.of(0x93, 0xda, size >> 8, size & 0xff, ...bytes)
}

/** A message of the gateway's own, outside a stream's numbering. */
export function ownMessage(shape: FrameShape, text: string): string | Uint8Array {
  if (shape.form !== FRAME_MSGPACK) return text
  const bytes = TEXT.encode(text)
  const size = bytes.length
  const head = [0xc0, 0xc6, size >>> 24, (size >> 16) & 0xff, (size >> 8) & 0xff, size & 0xff]
  const message = new Uint8Array(shape.prefix.length + head.length + size)
  message.set(shape.prefix)
  message.set(head, shape.prefix.length)
  message.set(bytes, shape.prefix.length + head.length)
  return message
}

/** Sends the next events of `piece`; `progress` says how far that went. */
export function sendQuantum<T>(
  ws: WebSocket<T>,
  shape: FrameShape,
  piece: Uint8Array,
  progress: Progress,
): Sent {
  let out = scratch
  const { prefix, form } = shape
  const end = piece.length
  let count = eventFrames(piece, progress.at, end, prefix, form, progress.number, out, facts)
  const needed = facts[FRAME_NEEDED] ?? 0
  if (count === 0 && needed > 0) {
    out = new Uint8Array(needed)
    count = eventFrames(piece, progress.at, end, prefix, form, progress.number, out, facts)
  }
  progress.at = facts[FRAME_CONSUMED] ?? 0
  progress.number = facts[FRAME_NEXT_NUMBER] ?? 0
  const isBinary = form === FRAME_MSGPACK
  let isDropped = false
  for (let i = 0, at = FRAME_FACT_WORDS; i < count; i++, at += FRAME_SPAN_WORDS) {
    const start = facts[at] ?? 0
    const stop = facts[at + 1] ?? 0
    const kind = facts[at + 2] ?? 0
    const payload = view(out, start, stop)
    if (kind === FRAME_OBJECT) {
      if (ws.send(payload, isBinary) === DROPPED) isDropped = true
    } else if (kind !== FRAME_DONE || progress.tellsDone) {
      const message = isBinary ? payload : oddMessage(shape, payload, kind)
      if (ws.send(message, isBinary) === DROPPED) isDropped = true
    }
  }
  return isDropped ? 'dropped' : 'sent'
}

function view(out: Uint8Array, start: number, stop: number): Uint8Array {
  if (stop - start > VIEW_BYTES_MAX || out !== scratch) return out.subarray(start, stop)
  const known = views[stop]
  if (known?.byteOffset === start) return known
  const made = scratch.subarray(start, stop)
  views[stop] = made
  return made
}

/** Data that is no JSON object in UTF-8: told so that a lane is still named. */
function oddMessage({ name }: FrameShape, payload: Uint8Array, kind: number): string {
  const text = decoder.decode(payload)
  if (name === null) return text
  if (kind === FRAME_DONE) return JSON.stringify({ type: 'warmpath:done', stream_id: name })
  if (text.startsWith('{')) return `{"stream_id":${JSON.stringify(name)},${text.slice(1)}`
  return JSON.stringify({ stream_id: name, data: text })
}
