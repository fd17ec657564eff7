/**
 * A JSON object as its bytes and the spans of its members, for those who take a member out or put
 * another in its place without touching the rest.
 */
import {
  type KeyName,
  keyId,
  MEMBERS_MAX,
  SPAN_KEY_ID,
  SPAN_VALUE_END,
  SPAN_VALUE_START,
  SPAN_WORDS,
  scanJson,
} from '../native/json_scan.ts'
import { RequestBody } from '../prompt/body.ts'

const scratch = new Uint32Array(MEMBERS_MAX * SPAN_WORDS)
const CLOSING_BRACE = 0x7d
const OPENING_BRACE = 0x7b

/** The members of an object; null when the bytes are none. */
export function scanObject(bytes: Buffer): RequestBody | null {
  const count = scanJson(bytes, scratch)
  return count < 0 ? null : new RequestBody(bytes, scratch.slice(0, count * SPAN_WORDS), count)
}

/** The bytes of a member's value; null where it is absent. */
export function memberBytes(object: RequestBody, name: KeyName): Buffer | null {
  const at = object.find(keyId(name))
  if (at === -1) return null
  const start = object.spans[at + SPAN_VALUE_START]
  return object.bytes.subarray(start, object.spans[at + SPAN_VALUE_END])
}

/** The object with other values for some members, every duplicate included. */
export function replaceValues(
  object: RequestBody,
  values: Partial<Record<KeyName, Buffer | string>>,
): Buffer {
  const byId = new Map(
    Object.entries(values).map(([name, value]) => [
      // Decode boundary: Object.entries widens the keys.
      keyId(name as KeyName),
      typeof value === 'string' ? Buffer.from(value) : value,
    ]),
  )
  const parts: Buffer[] = []
  let done = 0
  for (let i = 0; i < object.count; i++) {
    const at = i * SPAN_WORDS
    const value = byId.get(object.spans[at + SPAN_KEY_ID] ?? 0)
    if (value === undefined) continue
    parts.push(object.bytes.subarray(done, object.spans[at + SPAN_VALUE_START]), value)
    done = object.spans[at + SPAN_VALUE_END] ?? 0
  }
  if (parts.length === 0) return object.bytes
  return Buffer.concat([...parts, object.bytes.subarray(done)])
}

/** The object with one more member behind the last. */
export function appendMember(bytes: Buffer, member: string): Buffer {
  const end = bytes.lastIndexOf(CLOSING_BRACE)
  let last = end - 1
  while (last > 0 && isSpace(bytes[last])) last--
  const comma = bytes[last] === OPENING_BRACE ? '' : ','
  return Buffer.concat([bytes.subarray(0, end), Buffer.from(comma + member), bytes.subarray(end)])
}

/** What is between the brackets of an array's bytes, without space around it. */
export function insideArray(bytes: Buffer): Buffer {
  let start = 1
  let end = bytes.length - 1
  while (start < end && isSpace(bytes[start])) start++
  while (end > start && isSpace(bytes[end - 1])) end--
  return bytes.subarray(start, end)
}

/** The elements of several arrays' insides, in one. */
export function joinInsides(...insides: readonly Buffer[]): Buffer {
  const parts: Buffer[] = []
  for (const inside of insides) {
    if (inside.length === 0) continue
    if (parts.length > 0) parts.push(Buffer.from(','))
    parts.push(inside)
  }
  return Buffer.concat(parts)
}

function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09
}
