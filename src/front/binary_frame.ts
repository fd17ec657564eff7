/**
 * A client's binary frame, with the subprotocol `warmpath.msgpack`: `[stream_id or nil, n, bin]`,
 * the shape of the server's own frames. `bin` holds the JSON object of a text frame, without
 * `stream_id`; `n` means nothing in this direction.
 */
// Without the native part of msgpackr, which every gateway thread would load at its start.
import { Unpackr } from 'msgpackr/unpack'
import type { ClientFrame, Dialect } from '../api/ws_frames.ts'
import { readClientFrame } from '../api/ws_frames.ts'
import { OperatingError } from '../errors.ts'

const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, copyBuffers: true })

function fault(message: string): ClientFrame {
  const error = new OperatingError('invalid_request', message)
  return { kind: 'noise', error }
}

function unpacked(bytes: Buffer): unknown {
  try {
    return unpackr.unpack(bytes)
  } catch {
    return null
  }
}

export function readBinaryFrame(bytes: Buffer, dialect: Dialect): ClientFrame {
  const frame = unpacked(bytes)
  if (!Array.isArray(frame) || frame.length !== 3 || !Buffer.isBuffer(frame[2])) {
    return fault('a binary frame must be the msgpack array [stream_id or nil, n, bin]')
  }
  // The array of msgpack has elements of any type; they are checked one by one.
  const [lane, , body] = frame as [unknown, unknown, Buffer]
  return readClientFrame(body, dialect, lane ?? null)
}
