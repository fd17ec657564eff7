/**
 * How long an open may be held. An administrator may limit how long a request to FUSE lasts
 * (`fs.fuse.max_request_timeout`, seconds, 0: no limit); past it the kernel aborts the whole
 * connection, and with it every reader. So with such a limit:
 *
 *   0 ───── half: read past the cache, loading goes on ───── share: EIO ───── the kernel's end
 *
 * The look at the source that may come before the wait for its bytes counts too.
 */
import { readFileSync } from 'node:fs'

/** Where the kernel says it. */
const LIMIT_FILE = '/proc/sys/fs/fuse/max_request_timeout'

/** Share of the kernel's limit after which an open is given up. */
const REQUEST_LIMIT_SHARE = 0.8

/** Milliseconds that native threads hold a request for a look at the source (CHECK_MS_MAX there). */
const CHECK_MS = 2_000

export interface RequestLimit {
  /** An open without progress ends after this long. */
  readonly openMsMax: number
  /** After this long an open is served from the source; null: it may wait. */
  readonly pastMs: number | null
}

export function requestLimit(openMsMax: number, file = LIMIT_FILE): RequestLimit {
  let seconds = 0
  try {
    seconds = Number(readFileSync(file, 'utf8'))
  } catch {
    // An older kernel, which has no such limit.
  }
  if (!(seconds > 0)) return { openMsMax, pastMs: null }
  const limitMs = seconds * 1000
  const share = limitMs * REQUEST_LIMIT_SHARE
  const heldMs = Math.min(openMsMax, Math.max(share - CHECK_MS, limitMs / 4))
  return { openMsMax: Math.floor(heldMs), pastMs: Math.floor(heldMs / 2) }
}
