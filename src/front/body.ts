/**
 * Collects a request's body into one Buffer, within the limit.
 *
 * uWS detaches each chunk when its callback returns, so the bytes are copied once, into a buffer
 * of the announced length. uWS itself has no limit for HTTP bodies; it only closes a body that
 * trickles below 16 KB/s.
 */

import type { HttpResponse } from 'uWebSockets.js'
import { Buffer } from 'node:buffer'

/**
 * Bytes of a refused body that are read and dropped before the answer. A client that still writes
 * when its socket is closed sees no answer but a broken pipe, and sends all of it again.
 */
export const DROPPED_BYTES_MAX = 64 * 1024 * 1024

const EMPTY = Buffer.alloc(0)

/**
 * Calls `done` with the whole body, in the handler's own turn when it came with the head. A body
 * that is not as long as announced never completes: uWS closes the connection first.
 */
export function collectBody(
  res: HttpResponse,
  contentLength: number,
  done: (body: Buffer) => void,
): void {
  const body = contentLength > 0 ? Buffer.allocUnsafe(contentLength) : EMPTY
  let filled = 0
  res.onData((chunk, isLast) => {
    if (chunk.byteLength > 0) {
      body.set(new Uint8Array(chunk, 0, Math.min(chunk.byteLength, contentLength - filled)), filled)
      filled += chunk.byteLength
    }
    if (isLast) done(body)
  })
}

/** Calls `done` when a body that nobody wants has gone by; at once when it is too long for that. */
export function dropBody(res: HttpResponse, contentLength: number, done: () => void): void {
  if (contentLength <= 0 || contentLength > DROPPED_BYTES_MAX) return done()
  res.onData((_chunk, isLast) => {
    if (isLast) done()
  })
}
