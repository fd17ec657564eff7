/**
 * Error frames of a WebSocket. OpenAI's shape; `stream_id` only where a named lane is meant:
 *
 *     {"type":"error","status":429,"stream_id":"plan","error":{"type","code","message","param"}}
 *
 * The gateway's own errors and a node's refusal (a JSON body with a status of 400 or more) take the
 * same shape; a node's error object passes as it is, its `code` included, whatever type it has.
 */
import type { OperatingError } from '../errors.ts'
import { isRecord } from '../record.ts'
import { scanObject } from './json_object.ts'

const decoder = new TextDecoder()

function frame(status: number, lane: string | null, error: unknown): string {
  const named = lane === null ? {} : { stream_id: lane }
  return JSON.stringify({ type: 'error', status, ...named, error })
}

export function errorFrame(error: OperatingError, lane: string | null): string {
  const { type, code, message, param } = error.detail
  return frame(error.status, lane, { type, code, message, param })
}

/** What a node said with a status of 400 or more. */
export function refusalFrame(status: number, body: Buffer, lane: string | null): string {
  const text = decoder.decode(body)
  // Scanned first: what is nested too deeply could be decoded, but not written again.
  const value: unknown = scanObject(body) === null ? null : JSON.parse(text)
  if (isRecord(value) && isRecord(value['error'])) return frame(status, lane, value['error'])
  const said = isRecord(value) ? (value['error'] ?? value['detail'] ?? value['message']) : null
  const message = typeof said === 'string' ? said : text.slice(0, 1000)
  return frame(status, lane, { type: 'upstream_error', code: null, message, param: null })
}
