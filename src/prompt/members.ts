/**
 * Members of a scanned body taken out and put in by splice: the others stay byte for byte, and only
 * the white space between them goes.
 *
 *   {"type":"x", "model":"m", "n":1}   without type, with "stream":true
 *   {"model":"m","n":1,"stream":true}
 *
 * Every duplicate of a named member goes. Costs: one loop over the spans and one copy.
 */
import { SPAN_KEY_ID, SPAN_KEY_START, SPAN_VALUE_END, SPAN_WORDS } from '../native/json_scan.ts'
import type { RequestBody } from './body.ts'

/** The body without the members of these ids, and with `added` (JSON text) behind the last one. */
export function spliceMembers(body: RequestBody, ids: ReadonlySet<number>, added: string): Buffer {
  const { bytes, spans, count } = body
  const parts: Buffer[] = [Buffer.from('{')]
  for (let at = 0; at < count * SPAN_WORDS; at += SPAN_WORDS) {
    if (ids.has(spans[at + SPAN_KEY_ID] ?? 0)) continue
    if (parts.length > 1) parts.push(Buffer.from(','))
    parts.push(bytes.subarray(spans[at + SPAN_KEY_START], spans[at + SPAN_VALUE_END]))
  }
  parts.push(Buffer.from(parts.length > 1 && added !== '' ? `,${added}}` : `${added}}`))
  return Buffer.concat(parts)
}
