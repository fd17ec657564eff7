/**
 * What is left beside the log of a response: the response object as it stood when it was asked
 * for, and the items of its whole input (earlier turns included), which the next turn and
 * `input_items` are made of.
 *
 *     | is a stream: u8 | bytes of the object: u32 | {"id":"resp_…",…} | {item},{item},… |
 *
 * The items are the client's own bytes. Each response has the whole conversation up to it, so one
 * of them is enough to go on from, whatever became of the others; the price is memory.
 */
import { keyId, VALUE_ARRAY, VALUE_STRING } from '../native/json_scan.ts'
import type { RequestBody } from '../prompt/body.ts'
import { insideArray, memberBytes } from './json_object.ts'

/** The flag and the length. */
const HEAD_BYTES = 5
const NOTHING = Buffer.alloc(0)

/** The object as it is sent: whatever OpenAI's and the node's own have, by name. */
export type ResponseObject = Readonly<Record<string, unknown>>

export interface ResponseNote {
  /** Its node was asked for events. */
  readonly isStream: boolean
  readonly base: ResponseObject
  /** What stands between the brackets of the input. */
  readonly items: Buffer
}

export function encodeNote(isStream: boolean, base: string, items: Buffer): Buffer {
  const object = Buffer.from(base)
  const head = Buffer.alloc(HEAD_BYTES)
  head.writeUInt8(isStream ? 1 : 0)
  head.writeUInt32LE(object.length, 1)
  return Buffer.concat([head, object, items])
}

/** null: the log has no such note, it is none of a response. */
export function decodeNote(bytes: Buffer): ResponseNote | null {
  if (bytes.length < HEAD_BYTES) return null
  const end = HEAD_BYTES + bytes.readUInt32LE(1)
  // Decode boundary: only encodeNote writes these bytes.
  const base = JSON.parse(bytes.toString('utf8', HEAD_BYTES, end)) as ResponseObject
  return { isStream: bytes[0] === 1, base, items: bytes.subarray(end) }
}

/** The items of a request's own input; null where it has none that could be continued. */
export function inputItems(body: RequestBody): Buffer | null {
  const input = memberBytes(body, 'input')
  if (input === null) return null
  const type = body.typeOf(keyId('input'))
  if (type === VALUE_ARRAY) return insideArray(input)
  if (type !== VALUE_STRING) return null
  return Buffer.concat([Buffer.from('{"role":"user","content":'), input, Buffer.from('}')])
}

/** The items of a finished response's output; none where its node sent something else. */
export function outputItems(response: RequestBody): Buffer {
  const output = memberBytes(response, 'output')
  if (output === null || response.typeOf(keyId('output')) !== VALUE_ARRAY) return NOTHING
  return insideArray(output)
}

/**
 * The response object before any node has said anything, as JSON text: the request's own values,
 * and OpenAI's defaults.
 */
export function ownObject(
  body: RequestBody,
  id: string,
  isBackground: boolean,
  createdMs: number,
): string {
  const value = (name: Parameters<typeof keyId>[0], otherwise: string): string =>
    body.has(keyId(name)) ? (body.text(keyId(name)) ?? otherwise) : otherwise
  return (
    `{"id":"${id}","object":"response","created_at":${Math.floor(createdMs / 1000)},` +
    `"status":"queued","background":${isBackground},"error":null,"incomplete_details":null,` +
    `"instructions":${value('instructions', 'null')},"metadata":${value('metadata', '{}')},` +
    `"max_output_tokens":${value('max_output_tokens', 'null')},` +
    `"model":${value('model', 'null')},"output":[],"parallel_tool_calls":true,` +
    `"previous_response_id":${value('previous_response_id', 'null')},` +
    `"reasoning":${value('reasoning', 'null')},"store":${value('store', 'true')},` +
    `"temperature":${value('temperature', '1')},"tool_choice":${value('tool_choice', '"auto"')},` +
    `"tools":${value('tools', '[]')},"top_p":${value('top_p', '1')},` +
    `"truncation":${value('truncation', '"disabled"')},"usage":null,` +
    `"user":${value('user', 'null')}}`
  )
}
