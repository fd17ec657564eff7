/**
 * Loads uWebSockets.js with room for large heads.
 *
 * The addon reads `UWS_HTTP_MAX_HEADERS_SIZE` from the process environment when it is loaded. By
 * default a head that arrives in two reads may have 4,096 bytes, which is less than a JWT needs.
 * A worker's `process.env` is only a copy, so the main thread must import this file before it
 * starts the first worker.
 */

/** Bytes of a request head; beyond it the front answers 431. */
export const HEAD_BYTES_MAX = 65_536

process.env['UWS_HTTP_MAX_HEADERS_SIZE'] = String(HEAD_BYTES_MAX)

// Imported late, because a static import would run before the line above.
export const { default: uWS } = await import('uWebSockets.js')
