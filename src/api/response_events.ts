/**
 * The events of a Responses stream as the gateway reads and, where a response did not come to its
 * own end, writes them: a stream begins with `response.created`, ends with one terminal event, and
 * numbers its events from 0 without a gap. A node may send anything instead: what cannot be read
 * as an event of a response counts for nothing here, and no more.
 *
 *   …events of the node…  response.incomplete   cancelled: status and reason `cancelled`
 *   …events of the node…  response.failed       the node broke off
 */
import type { Closing } from '../exchange/keeping.ts'
import { EventEnds } from '../native/event_scanner.ts'
import type { RequestBody } from '../prompt/body.ts'
import { isRecord } from '../record.ts'
import type { LogEnd } from '../responses/log_reader.ts'
import { LogSnapshot } from '../responses/log_snapshot.ts'
import { memberBytes, scanObject } from './json_object.ts'
import type { ResponseObject } from './response_note.ts'

const DATA = Buffer.from('data:')
const LF = 0x0a
const CR = 0x0d

/** The data of an event, its `data` lines joined; null where there is none. */
export function dataOf(event: Buffer): Buffer | null {
  const lines: Buffer[] = []
  for (let start = 0; start < event.length; ) {
    let end = start
    while (end < event.length && event[end] !== LF && event[end] !== CR) end++
    const line = event.subarray(start, end)
    if (line.subarray(0, DATA.length).equals(DATA)) lines.push(line.subarray(DATA.length))
    start = end + 1
  }
  if (lines.length < 2) return lines[0] ?? null
  return Buffer.concat(lines.flatMap(line => [line, Buffer.of(LF)]))
}

/** The response object inside an event; null where there is none. */
export function responseIn(event: Buffer | null): RequestBody | null {
  const data = event === null ? null : dataOf(event)
  const object = data === null ? null : scanObject(data)
  const response = object === null ? null : memberBytes(object, 'response')
  return response === null ? null : scanObject(response)
}

/**
 * The object in an event's data. It is scanned before it is decoded: what a node sends may be no
 * JSON at all, or nested too deeply to be written again.
 */
function decoded(event: Buffer): ResponseObject | null {
  const data = dataOf(event)
  if (data === null || scanObject(data) === null) return null
  // Decode boundary: every member may be missing or something else, and is checked where read.
  return JSON.parse(data.toString('utf8')) as ResponseObject
}

/**
 * The number that an event's node gave it; a comment is none for a client, and what else is not
 * numbered is no event of a response.
 */
export function numberOf(event: Buffer | null): number | 'comment' | 'other' {
  const isComment = event === null || dataOf(event) === null
  const number = isComment ? null : decoded(event)?.['sequence_number']
  if (isComment) return 'comment'
  return typeof number === 'number' ? number : 'other'
}

/** A response that did not come to its own end, as far as its node has told it. */
interface Begun {
  /** The object that it began with. */
  readonly object: ResponseObject | null
  /** Items that are done, and the text of one that is not. */
  readonly output: readonly unknown[]
  /** Number of the next event. */
  readonly number: number
}

function begunIn(log: LogSnapshot): Begun {
  let object: ResponseObject | null = null
  const items: unknown[] = []
  let text = ''
  let itemId: unknown = ''
  let number = 0
  const bytes = log.bytesFrom(0)
  let start = 0
  for (const end of new EventEnds().scan(bytes)) {
    const event = decoded(bytes.subarray(start, end))
    start = end
    if (event === null) continue
    const { type, response, item, delta, sequence_number: given } = event
    number = (typeof given === 'number' ? given : number) + 1
    if (isRecord(response)) object ??= response
    if (type === 'response.output_item.done' && isRecord(item)) {
      items.push(item)
      text = ''
    } else if (type === 'response.output_text.delta' && typeof delta === 'string') {
      text += delta
      itemId = event['item_id']
    }
  }
  if (text !== '') {
    const content = [{ type: 'output_text', text, annotations: [] }]
    items.push({ id: itemId, type: 'message', role: 'assistant', status: 'incomplete', content })
  }
  return { object, output: items, number }
}

/** One event with its number, as a node writes it. */
function eventText(name: string, response: object, number: number): string {
  const type = `response.${name}`
  const data = JSON.stringify({ response, sequence_number: number, type })
  return `event: ${type}\ndata: ${data}\n\n`
}

function endedAs(end: LogEnd): object {
  if (end.kind === 'failed') {
    return { status: 'failed', error: { code: 'server_error', message: end.reason } }
  }
  return { status: 'cancelled', incomplete_details: { reason: 'cancelled' } }
}

/** Ends the log of a response, streamed or plain, that began as `base`. */
export function closingOf(base: string, isStream: boolean): Closing {
  return (name, end) => {
    // Decode boundary: our own object.
    const own = JSON.parse(base) as ResponseObject
    if (!isStream) {
      return end.kind === 'failed' ? null : Buffer.from(JSON.stringify({ ...own, ...endedAs(end) }))
    }
    const log = LogSnapshot.take(name)
    if (log === null) return null
    try {
      if (log.isCut) return null
      const { object, output, number } = begunIn(log)
      const begun = { ...own, status: 'in_progress' }
      const opening = object === null ? eventText('created', begun, number) : ''
      const response = { ...(object ?? begun), ...endedAs(end), output }
      const terminal = end.kind === 'failed' ? 'failed' : 'incomplete'
      const last = object === null ? number + 1 : number
      return Buffer.from(opening + eventText(terminal, response, last))
    } finally {
      log.release()
    }
  }
}
