/**
 * The events of a Responses stream as the gateway reads and, where a response did not come to its
 * own end, writes them: a stream begins with `response.created`, ends with one terminal event, and
 * numbers its events from 0 without a gap.
 *
 *   …events of the node…  response.incomplete   cancelled: status and reason `cancelled`
 *   …events of the node…  response.failed       the node broke off
 */
import type { Closing } from '../exchange/keeping.ts'
import type { LogEnd } from '../responses/log_reader.ts'
import { LogSnapshot } from '../responses/log_snapshot.ts'
import { memberBytes, scanObject } from './json_object.ts'
import type { ResponseObject } from './response_note.ts'

const DATA = Buffer.from('data:')
const LINE_END = 0x0a

/** The data of an event with one `data` line; null where there is none. */
export function dataOf(event: Buffer): Buffer | null {
  let start = 0
  while (start < event.length) {
    const end = event.indexOf(LINE_END, start)
    const line = event.subarray(start, end < 0 ? event.length : end)
    if (line.subarray(0, DATA.length).equals(DATA)) return line.subarray(DATA.length)
    if (end < 0) return null
    start = end + 1
  }
  return null
}

/** The bytes of the response object inside an event. */
export function responseIn(event: Buffer | null): Buffer | null {
  const data = event === null ? null : dataOf(event)
  const object = data === null ? null : scanObject(data)
  return object === null ? null : memberBytes(object, 'response')
}

interface StreamedEvent {
  readonly type?: string
  readonly item?: unknown
  readonly item_id?: string
  readonly delta?: string
}

/** The output as far as it came: items that are done, and the text of one that is not. */
function outputSoFar(log: LogSnapshot): unknown[] {
  const items: unknown[] = []
  let text = ''
  let itemId = ''
  for (let index = 0; index < log.events; index++) {
    const event = log.event(index)
    const data = event === null ? null : dataOf(event)
    if (data === null) continue
    // Decode boundary: every field is optional, and only these are read.
    const { type, item, item_id: id, delta } = JSON.parse(data.toString('utf8')) as StreamedEvent
    if (type === 'response.output_item.done') {
      items.push(item)
      text = ''
    } else if (type === 'response.output_text.delta') {
      text += delta ?? ''
      itemId = id ?? ''
    }
  }
  if (text === '') return items
  const content = [{ type: 'output_text', text, annotations: [] }]
  const item = { id: itemId, type: 'message', role: 'assistant', status: 'incomplete', content }
  return [...items, item]
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
      const first = responseIn(log.event(0))
      const begun = { ...own, status: 'in_progress' }
      const opening = first === null ? eventText('created', begun, 0) : ''
      // Decode boundary: a node's object; its fields are passed on as they are.
      const latest = first === null ? begun : (JSON.parse(first.toString('utf8')) as object)
      const response = { ...latest, ...endedAs(end), output: outputSoFar(log) }
      const terminal = end.kind === 'failed' ? 'failed' : 'incomplete'
      const number = first === null ? 1 : log.events
      return Buffer.from(opening + eventText(terminal, response, number))
    } finally {
      log.release()
    }
  }
}
