/**
 * The line that every reader of another exchange's answer leaves in the log: a client that came
 * back, or one whose identical request was in flight.
 *
 *   {"level":"info","time":"…","thread":"gateway-1","id":"…","tenant":"…","endpoint":"responses",
 *    "transport":"http","kind":"resumed","response":"resp_0123456789ab","log":"17.3","from":42,
 *    "events":25,"bytes":4125,"total_ms":301.22,"reason":"complete","msg":"reader"}
 *
 * Who knows the whole id of a response and has its tenant's key can read it, and without keys the
 * id alone is enough, so a line holds only the beginning: enough to tell two apart, too little to
 * guess the rest.
 */
import type { Log } from './log.ts'
import { logText } from './log.ts'
import type { Endpoint, ReaderEnd, ReaderKind } from './metrics/labels.ts'

/** Digits of a response's id that are shown; 80 bits of it are not. */
const ID_DIGITS_MAX = 12

/** Keys are those of the line. */
export interface ReaderLine {
  readonly id: string
  readonly client_id?: string | undefined
  readonly tenant: string
  readonly endpoint: Endpoint
  readonly transport: 'http' | 'websocket'
  readonly kind: ReaderKind
  readonly response: string | null
  /** Name of the log, which the line of its exchange has as well. */
  readonly log: string
  /** Number of the first event, and how many were sent. */
  readonly from: number
  readonly events: number
  readonly bytes: number
  readonly total_ms: number
  readonly reason: ReaderEnd
}

export function logReader(log: Log, line: ReaderLine): void {
  const { response, client_id: client } = line
  const told = response?.slice(0, response.indexOf('_') + 1 + ID_DIGITS_MAX) ?? null
  const named = client === undefined ? {} : { client_id: logText(client) }
  const total_ms = Math.round(line.total_ms * 100) / 100
  log.info({ ...line, ...named, response: told, total_ms }, 'reader')
}
