/**
 * How the answer to a request outlives the one who asked, or is shared by several.
 *
 *   nothing (null)        private window log; ends with its one reader            the common case
 *   shared                found by the digest of an identical request, as long as it runs
 *   resumable             found by an id; after its last reader left it runs for a grace period
 *   stored                found by its response id for the retention after its end
 *   background            the same, and it runs whether anybody reads it or not
 */

import type { LogName } from '../responses/log_owner.ts'
import type { LogEnd, LogKind } from '../responses/log_reader.ts'

/** What the last bytes of a log are made of, when its work did not come to its own end. */
export type Closing = (log: LogName, end: LogEnd) => Buffer | null

export interface Keeping {
  /** What the log is found by: response ids, or the digest of the request. */
  readonly ids: readonly string[]
  /** Shape in which the node is asked. */
  readonly kind: LogKind
  /** What becomes of the work when its last reader has left. */
  readonly onLeft: 'cancel' | 'grace' | 'continue'
  /** Milliseconds after its end that it stays; 0: it goes with its last reader. */
  readonly retentionMs: number
  /** Left beside the log, for those who find it: what was asked. */
  readonly note: Buffer | null
  /** null: a log that did not come to its own end simply ends. */
  readonly closing: Closing | null
}
