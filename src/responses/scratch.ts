/**
 * Buffers into which stored bytes are copied for a reader: 64 KB each, reused, usually one a
 * thread. A reader that, while it is being fed, makes another one be fed needs a second one.
 */

import { LOG_HEAD_BYTES_MAX } from '../native/response_log.ts'

/** One piece of stored bytes as a reader gets it; a head fits as well. */
const SCRATCH_BYTES = LOG_HEAD_BYTES_MAX
/** Buffers kept for reuse; nesting deeper than this allocates. */
const SCRATCH_KEPT_MAX = 4

const spare: Uint8Array[] = []

export function borrowScratch(): Uint8Array {
  return spare.pop() ?? new Uint8Array(SCRATCH_BYTES)
}

export function returnScratch(buffer: Uint8Array): void {
  if (spare.length < SCRATCH_KEPT_MAX) spare.push(buffer)
}
