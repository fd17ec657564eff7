/**
 * The head and the end of a log as bytes, for readers on other threads and later ones: the head as
 * JSON, the end as a code and, for a failure, its reason in UTF-8. Of a head that is too long its
 * shorter headers are stored.
 */
import { LOG_HEAD_BYTES_MAX, LOG_REASON_BYTES_MAX } from '../native/response_log.ts'
import type { LogEnd, LogHead } from './log_reader.ts'

const END_COMPLETE = 1
const END_FAILED = 2
const END_CANCELLED = 3
const END_FAILED_TOLD = 4

const encoder = new TextEncoder()
const decoder = new TextDecoder()
const NO_REASON = new Uint8Array(0)

export function encodeHead(head: LogHead): Uint8Array {
  const bytes = encoder.encode(JSON.stringify(head))
  return bytes.length <= LOG_HEAD_BYTES_MAX ? bytes : encoder.encode(shortened(head))
}

/** The head as JSON, with as many of its headers as fit, the shortest first. */
function shortened({ status, headers }: LogHead): string {
  const members = Object.entries(headers)
    .map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value ?? [])}`)
    .map(text => ({ text, length: encoder.encode(text).length + 1 }))
    .toSorted((one, other) => one.length - other.length)
  let left = LOG_HEAD_BYTES_MAX - `{"status":${status},"headers":{}}`.length
  const fitting = members.filter(({ length }) => (left -= length) >= 0)
  return `{"status":${status},"headers":{${fitting.map(({ text }) => text).join(',')}}}`
}

export function decodeHead(bytes: Uint8Array): LogHead {
  // Decode boundary: only encodeHead writes these bytes.
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  return JSON.parse(decoder.decode(bytes)) as LogHead
}

export function encodeEnd(end: LogEnd): { code: number; reason: Uint8Array } {
  if (end.kind === 'cut') throw new TypeError('a log is not cut, only a reader of it')
  if (end.kind === 'complete') return { code: END_COMPLETE, reason: NO_REASON }
  if (end.kind === 'cancelled') return { code: END_CANCELLED, reason: NO_REASON }
  const reason = encoder.encode(end.reason)
  const code = end.isTold === true ? END_FAILED_TOLD : END_FAILED
  return { code, reason: reason.subarray(0, LOG_REASON_BYTES_MAX) }
}

export function decodeEnd(code: number, reason: Uint8Array): LogEnd {
  if (code === END_COMPLETE) return { kind: 'complete' }
  if (code === END_CANCELLED) return { kind: 'cancelled' }
  const failed = { kind: 'failed', reason: decoder.decode(reason) } as const
  return code === END_FAILED_TOLD ? { ...failed, isTold: true } : failed
}
