/**
 * Sends the events of a lane as WebSocket messages, a quantum at a time.
 *
 *     piece (whole SSE events) ──eventFrames──► payloads at 0, 256, … ──► ws.send, once an event
 *
 * One buffer serves all sockets of a thread: uWebSockets.js has copied a payload when `send`
 * returns. A payload is sent through a view of that buffer which is kept: tokens have few
 * lengths and lie at few places, so that nearly none of them allocates anything.
 */
import type { WebSocket } from 'uWebSockets.js'
import type { FrameForm } from '../native/event_frames.ts'
import {
  eventFrames,
  eventFramesInto,
  FRAME_AT,
  FRAME_DONE,
  FRAME_FACT_WORDS,
  FRAME_MSGPACK,
  FRAME_NEEDED,
  FRAME_NUMBER,
  FRAME_OBJECT,
  FRAME_OUT_BYTES,
  FRAME_SPAN_WORDS,
  FRAME_TEXT,
  frameFacts as facts,
  frameOut,
  useFrames,
} from '../native/event_frames.ts'

/** Views are kept for payloads up to this long (bytes); longer ones get one of their own. */
const VIEW_BYTES_MAX = 512

/** `send` found the socket full: the message waits in uWebSockets.js. */
const QUEUED = 0
/** `send` found more queued than `maxBackpressure`: the message is lost. */
const DROPPED = 2

/** By the offset of their end; of its full length from the start, so that it stays an array. */
const views = Array.from({ length: FRAME_OUT_BYTES + 1 }, (): Uint8Array | null => null)
/** Where each of them starts: less work than to ask the view. */
const viewStarts = new Uint32Array(FRAME_OUT_BYTES + 1)
const decoder = new TextDecoder()
/** The shape that `useFrames` was told last. */
let shapeInUse: FrameShape | null = null

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

export type Sent = 'sent' | 'queued' | 'dropped'

const TEXT = new TextEncoder()

/** Those of the default lane, which nearly all sockets share. */
const DEFAULT_SHAPES: Readonly<Record<FrameForm, FrameShape>> = {
  [FRAME_TEXT]: { name: null, form: FRAME_TEXT, prefix: new Uint8Array(0) },
  [FRAME_MSGPACK]: { name: null, form: FRAME_MSGPACK, prefix: msgpackPrefix(null) },
}

/** The shape of a lane's messages. */
export function frameShape(name: string | null, form: FrameForm): FrameShape {
  if (name === null) return DEFAULT_SHAPES[form]
  if (form === FRAME_MSGPACK) return { name, form, prefix: msgpackPrefix(name) }
  return { name, form, prefix: TEXT.encode(`{"stream_id":${JSON.stringify(name)},`) }
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

/**
 * Sends the next events of `piece`; `progress` says how far that went. One event is one send; more
 * are corked, which is a call into uWebSockets.js and one back, unless the caller has done so.
 * Inside a cork `send` cannot tell whether the socket is full.
 */
export function sendQuantum<T>(
  ws: WebSocket<T>,
  shape: FrameShape,
  piece: Uint8Array,
  progress: Progress,
  isCorked: boolean,
): Sent {
  let out = frameOut
  if (shapeInUse !== shape) {
    useFrames(shape.form, shape.prefix)
    shapeInUse = shape
  }
  facts[FRAME_AT] = progress.at
  facts[FRAME_NUMBER] = progress.number
  let count = eventFrames(piece)
  const needed = facts[FRAME_NEEDED] ?? 0
  if (count === 0 && needed > 0) {
    out = new Uint8Array(needed)
    count = eventFramesInto(piece, out)
  }
  progress.at = facts[FRAME_AT] ?? 0
  progress.number = facts[FRAME_NUMBER] ?? 0
  const { tellsDone } = progress
  if (count <= 1) return sendFrames(ws, shape, out, count, tellsDone)
  if (isCorked) return corked(sendFrames(ws, shape, out, count, tellsDone))
  let sent: Sent = 'queued'
  ws.cork(() => {
    sent = corked(sendFrames(ws, shape, out, count, tellsDone))
  })
  return sent
}

/** What leaves with the cork may be queued then. */
function corked(sent: Sent): Sent {
  return sent === 'dropped' ? sent : 'queued'
}

/** Sends the frames that `facts` names; the worst of what became of them. */
function sendFrames<T>(
  ws: WebSocket<T>,
  shape: FrameShape,
  out: Uint8Array,
  count: number,
  tellsDone: boolean,
): Sent {
  const isBinary = shape.form === FRAME_MSGPACK
  let isDropped = false
  let isQueued = false
  for (let i = 0, at = FRAME_FACT_WORDS; i < count; i++, at += FRAME_SPAN_WORDS) {
    const kind = facts[at + 2] ?? 0
    if (kind === FRAME_DONE && !tellsDone) continue
    const payload = view(out, facts[at] ?? 0, facts[at + 1] ?? 0)
    const isAsItIs = kind === FRAME_OBJECT || isBinary
    const status = ws.send(isAsItIs ? payload : oddMessage(shape, payload, kind), isBinary)
    if (status === DROPPED) isDropped = true
    if (status === QUEUED) isQueued = true
  }
  if (isDropped) return 'dropped'
  return isQueued ? 'queued' : 'sent'
}

function view(out: Uint8Array, start: number, stop: number): Uint8Array {
  if (stop - start > VIEW_BYTES_MAX || out !== frameOut) return out.subarray(start, stop)
  const known = views[stop]
  if (known !== null && known !== undefined && viewStarts[stop] === start) return known
  const made = frameOut.subarray(start, stop)
  views[stop] = made
  viewStarts[stop] = start
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
