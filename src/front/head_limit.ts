/**
 * Room for large request heads.
 *
 * uWebSockets.js reads `UWS_HTTP_MAX_HEADERS_SIZE` from the process environment when it is loaded.
 * By default a head that arrives in two reads may have 4,096 bytes, which is less than a JWT
 * needs. A worker's `process.env` is only a copy, so the main thread must call this before it
 * starts the first worker.
 */

/** Bytes of a request head; beyond it the front answers 431. */
export const HEAD_BYTES_MAX = 65_536

export function allowLargeHeads(): void {
  process.env['UWS_HTTP_MAX_HEADERS_SIZE'] = String(HEAD_BYTES_MAX)
}
