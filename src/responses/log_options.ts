/** What a log is opened with, checked before it reaches native code. */
import {
  LOG_BYTES_MAX,
  LOG_KIND_JSON,
  LOG_KIND_SSE,
  LOG_MODE_KEPT,
  LOG_MODE_WINDOW,
  nativeLog,
} from '../native/response_log.ts'
import type { LogName, LogOwner } from './log_owner.ts'
import type { LogKind, LogMode, UpstreamFlow } from './log_reader.ts'

export interface ResponseLogOptions {
  readonly kind: LogKind
  readonly mode: LogMode
  readonly tenant: number
  /** Bytes of a kept log before it turns into a window. */
  readonly bytesMax: number
  /** Bytes that a reader of a window log may be behind before it is cut. */
  readonly lagBytesMax: number
  readonly upstream: UpstreamFlow
  /** With it readers on other threads may attach, and the log may be published. */
  readonly owner?: LogOwner
}

/** Tenants are 32-bit numbers in native memory. */
const TENANT_MAX = 0xffffffff

const outName = new Uint32Array(2)

function checkBytes(option: string, bytes: number): void {
  if (!(Number.isInteger(bytes) && bytes > 0 && bytes <= LOG_BYTES_MAX)) {
    throw new TypeError(`${option} must be an integer from 1 to ${LOG_BYTES_MAX}, got ${bytes}`)
  }
}

/** Opens the native log; `ownerThread` is where mail about it goes. */
export function openLog(options: ResponseLogOptions, ownerThread: number): LogName {
  const { kind, mode, tenant, bytesMax, lagBytesMax } = options
  checkBytes('bytesMax', bytesMax)
  checkBytes('lagBytesMax', lagBytesMax)
  if (!(Number.isInteger(tenant) && tenant >= 0 && tenant <= TENANT_MAX)) {
    throw new TypeError(`tenant must be a 32-bit number, got ${tenant}`)
  }
  const isOpen = nativeLog.logOpen(
    kind === 'sse' ? LOG_KIND_SSE : LOG_KIND_JSON,
    mode === 'window' ? LOG_MODE_WINDOW : LOG_MODE_KEPT,
    tenant,
    ownerThread,
    bytesMax,
    lagBytesMax,
    outName,
  )
  if (!isOpen) throw new Error('no response log left: all slots are in use')
  return { slot: outName[0] ?? 0, generation: outName[1] ?? 0 }
}
