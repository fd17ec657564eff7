/**
 * The response logs of the process: bytes, event ends, remote readers and the directory of ids.
 * See native/response_log/log_table.h; `src/responses/` is what the rest of the house uses.
 *
 * Calls that say how things stand fill the caller's `facts`, an array of `FACT_WORDS` words;
 * `logAppend`, which is called for every token, fills `appendFacts`. A
 * log is named by (slot, generation); a name whose log has gone finds nothing.
 */
import { addon } from './addon.ts'

export const FACT_EVENTS = 0
export const FACT_WHOLE_END = 1
export const FACT_CLASSES = 2
export const FACT_EVENTS_TOTAL = 3
export const FACT_STATUS = 4
export const FACT_REMOTE_LIVE = 5
export const FACT_REMOTE_LAGGING = 6
export const FACT_SIZE = 7
export const FACT_END_CODE = 8
export const FACT_BYTES_LOW = 9
export const FACT_BYTES_HIGH = 10
export const FACT_BASE_LOW = 11
export const FACT_BASE_HIGH = 12
export const FACT_WORDS = 13

/** Bits of `FACT_STATUS`. */
export const LOG_TURNED = 1
export const LOG_CUT = 2
export const LOG_ENDED = 4
export const LOG_MORE = 8
export const LOG_HAS_HEAD = 16
export const LOG_EXPIRED = 32
export const LOG_UNKNOWN = 64
export const LOG_FULL = 128
export const LOG_IS_WINDOW = 256
export const LOG_STOP_ASKED = 512

/** `FACT_END_CODE` of a reader that was cut. */
export const LOG_CUT_MEMORY = 2

export const LOG_KIND_SSE = 0
export const LOG_KIND_JSON = 1
export const LOG_MODE_WINDOW = 0
export const LOG_MODE_KEPT = 1

/** As a log's owner: nobody on another thread may read it. As a floor: nobody lags. */
export const LOG_PRIVATE = 0xffffffff
export const LOG_NO_FLOOR = -1

/** Bytes of the stored head, of the reason of a failure, and of an id in the directory. */
export const LOG_HEAD_BYTES_MAX = 65536
export const LOG_REASON_BYTES_MAX = 256
export const DIRECTORY_ID_BYTES_MAX = 64

/** Bytes of a log that may be stored: ends of events are 32-bit offsets. */
export const LOG_BYTES_MAX = 2 ** 31

interface LogAddon {
  logOpen(
    kind: number,
    mode: number,
    tenant: number,
    ownerThread: number,
    bytesMax: number,
    lagBytesMax: number,
    outName: Uint32Array,
  ): boolean
  readonly logAppendFacts: Uint32Array
  logAppend(slot: number, generation: number, chunk: Uint8Array): void
  logSetHead(slot: number, generation: number, head: Uint8Array): void
  logEnd(
    slot: number,
    generation: number,
    code: number,
    reason: Uint8Array,
    facts: Uint32Array,
  ): void
  logSetFloor(slot: number, generation: number, floor: number): void
  logSetPaused(slot: number, generation: number, isPaused: boolean): number
  logTurnToWindow(slot: number, generation: number): void
  logRetain(slot: number, generation: number): boolean
  logRelease(slot: number, generation: number): void
  logDiscard(slot: number, generation: number): void
  logStat(slot: number, generation: number, facts: Uint32Array): boolean
  logHead(slot: number, generation: number, out: Uint8Array): number
  logReason(slot: number, generation: number, out: Uint8Array): number
  logReadAt(
    slot: number,
    generation: number,
    position: number,
    out: Uint8Array,
    facts: Uint32Array,
  ): void
  logPositionAfter(slot: number, generation: number, event: number): number
  logAttach(
    slot: number,
    generation: number,
    tenant: number,
    threadId: number,
    token: number,
    position: number,
    facts: Uint32Array,
  ): void
  logRead(
    slot: number,
    generation: number,
    reader: number,
    out: Uint8Array,
    facts: Uint32Array,
  ): void
  logDetach(slot: number, generation: number, reader: number): void
  logPublish(slot: number, generation: number, id: Uint8Array): boolean
  logSetRetention(slot: number, generation: number, retentionMs: number): void
  logSetNote(slot: number, generation: number, note: Uint8Array): boolean
  logReadNote(slot: number, generation: number, position: number, out: Uint8Array): number
  logDoomIfUnread(slot: number, generation: number): boolean
  logStop(slot: number, generation: number, tenant: number): number
  logSetShelf(itemsMax: number, tenantItemsMax: number, tenantBytesMax: number): void
  logExpire(aheadMs: number): number
  logFind(tenant: number, id: Uint8Array, outName: Uint32Array): boolean
  logIsGone(tenant: number, id: Uint8Array): boolean
  logTotals(out: Uint32Array): void
  logSetBudget(bytesMax: number): void
  logFailAfter(count: number): void
}

// Decode boundary: the addon's exports are declared here and in no other place.
// oxlint-disable-next-line typescript/no-unsafe-type-assertion
export const nativeLog = addon as LogAddon

/** What `logAppend` says: an array of this thread, written anew by each call. */
export const appendFacts = nativeLog.logAppendFacts

/** How much all logs of the process hold. */
export interface LogTotals {
  readonly logs: number
  readonly idleLogs: number
  readonly ids: number
  readonly bytes: number
}

export function readLogTotals(): LogTotals {
  const counts = new Float64Array(4)
  nativeLog.logTotals(new Uint32Array(counts.buffer))
  const [logs = 0, idleLogs = 0, ids = 0, bytes = 0] = counts
  return { logs, idleLogs, ids, bytes }
}

/** Limits what all logs of the process may store together. */
export function setLogBudget(bytesMax: number): void {
  if (!(Number.isInteger(bytesMax) && bytesMax >= 0 && bytesMax <= Number.MAX_SAFE_INTEGER)) {
    throw new TypeError(`bytesMax must be a whole number of bytes, got ${bytesMax}`)
  }
  nativeLog.logSetBudget(bytesMax)
}

/** What finished logs that wait for clients to come back may hold. */
export interface LogShelf {
  readonly itemsMax: number
  readonly tenantItemsMax: number
  readonly tenantBytesMax: number
}

export function setLogShelf({ itemsMax, tenantItemsMax, tenantBytesMax }: LogShelf): void {
  for (const limit of [itemsMax, tenantItemsMax, tenantBytesMax]) {
    if (Number.isSafeInteger(limit) && limit >= 0) continue
    throw new TypeError(`a limit must be a whole number, got ${limit}`)
  }
  nativeLog.logSetShelf(itemsMax, tenantItemsMax, tenantBytesMax)
}

/** Frees the finished logs whose retention ends within `aheadMs`; returns how many. */
export function expireLogs(aheadMs = 0): number {
  if (!(Number.isSafeInteger(aheadMs) && aheadMs >= 0)) {
    throw new TypeError(`aheadMs must be whole milliseconds, got ${aheadMs}`)
  }
  return nativeLog.logExpire(aheadMs)
}
