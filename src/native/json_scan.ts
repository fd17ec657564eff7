/**
 * Face of the JSON scanner (native/json_scan): finds the members of a request body in one pass
 * and chain-hashes its canonical text, without building a value.
 *
 *   const count = scanJson(body, spans)          one span a member, SPAN_WORDS words each:
 *   spans[i * SPAN_WORDS + SPAN_KEY_ID] …        [key id, key from, to, value from, to, type]
 *
 * A count below zero is minus a fault; its offset is then `spans[0]`. Every duplicate is listed.
 * The caller owns all arrays. Costs: about 0.2 µs through the seam and 1 GB/s or more on text.
 */
import { addon } from './addon.ts'

/** Words of a span and the place of each. */
export const SPAN_WORDS = 6
export const SPAN_KEY_ID = 0
export const SPAN_KEY_START = 1
export const SPAN_KEY_END = 2
export const SPAN_VALUE_START = 3
export const SPAN_VALUE_END = 4
export const SPAN_VALUE_TYPE = 5

/** Members of one object at most; keeps the spans of a request in a scratch array of 12 kB. */
export const MEMBERS_MAX = 512

/** Bytes of a chunk at most, as in native/json_scan/json_scan.h. */
export const CHUNK_BYTES_MAX = 1024

/** The names that have an id: the position, as in native/json_scan/key_names.h. */
export const KEY_NAMES = [
  '',
  'model',
  'stream',
  'messages',
  'prompt',
  'input',
  'tools',
  'cache_salt',
  'n',
  'max_tokens',
  'max_completion_tokens',
  'max_output_tokens',
  'stream_options',
  'prompt_logprobs',
  'logprobs',
  'top_logprobs',
  'echo',
  'kv_transfer_params',
  'ec_transfer_params',
  'vllm_xargs',
  'kv_cache_report_mode',
  'request_id',
  'session_id',
  'priority',
  'chat_template',
  'chat_template_kwargs',
  'add_generation_prompt',
  'continue_final_message',
  'add_special_tokens',
  'truncate_prompt_tokens',
  'truncation_side',
  'documents',
  'system',
  'instructions',
  'reasoning_effort',
  'reasoning',
  'thinking',
  'temperature',
  'seed',
  'top_p',
  'tool_choice',
  'response_format',
  'background',
  'store',
  'previous_response_id',
  'previous_input_messages',
  'conversation',
  'prompt_embeds',
  'mm_processor_kwargs',
  'best_of',
  'suffix',
  'user',
  'include_usage',
  'continuous_usage_stats',
  'cache',
  'dimensions',
  'encoding_format',
  'truncation',
  'output_config',
  'metadata',
  'output',
  'response',
  'type',
  'stream_id',
  'generate',
  'response_id',
  'starting_after',
  'warmpath:resume',
  'status',
] as const

export type KeyName = Exclude<(typeof KEY_NAMES)[number], ''>

const IDS: ReadonlyMap<string, number> = new Map(KEY_NAMES.map((name, id) => [name, id]))

/** Id of a known name; call it once, at the top of a file. */
export function keyId(name: KeyName): number {
  const id = IDS.get(name)
  if (id === undefined) throw new TypeError(`no key id for "${name}"`)
  return id
}

export const VALUE_NULL = 0
export const VALUE_FALSE = 1
export const VALUE_TRUE = 2
export const VALUE_NUMBER = 3
export const VALUE_STRING = 4
export const VALUE_ARRAY = 5
export const VALUE_OBJECT = 6

/** Names of the value types by number, for messages. */
export const VALUE_TYPES = ['null', 'false', 'true', 'number', 'string', 'array', 'object'] as const

/** What can be wrong with a body; the position is the number that `scanJson` returns negated. */
export const JSON_FAULTS = ['none', 'syntax', 'not_object', 'too_deep', 'too_many', 'utf8'] as const
export type JsonFault = Exclude<(typeof JSON_FAULTS)[number], 'none'>

/** Kinds of prompts; the growing member is messages, prompt, input, input, messages. */
export const PROMPT_KINDS = ['chat', 'completion', 'embedding', 'responses', 'messages'] as const
export type PromptKind = (typeof PROMPT_KINDS)[number]

/** Places in the `state` of `canonicalKeys`. */
export const STATE_ROOT = 0
export const STATE_DIGEST = 1
export const STATE_TEXT_BYTES = 2
export const STATE_WORDS = 3

interface Native {
  jsonScan(body: Uint8Array, start: number, end: number, spans: Uint32Array): number
  jsonKeys(
    body: Uint8Array,
    spans: Uint32Array,
    count: number,
    kind: number,
    state: BigUint64Array,
    chunkBytes: number,
    keys: BigUint64Array,
  ): number
  jsonTokens(body: Uint8Array, start: number, end: number, tokens: Uint32Array): number
  jsonNumbers(body: Uint8Array, start: number, end: number): number
}

// Decode boundary: the addon is built from this tree, and its tests call every function.
// oxlint-disable-next-line typescript/no-unsafe-type-assertion
const native = addon as Native

function checkRange(body: Uint8Array, start: number, end: number): void {
  if (!(body instanceof Uint8Array)) throw new TypeError('body must be a Uint8Array')
  if (!Number.isInteger(start) || !Number.isInteger(end) || start < 0 || end < start) {
    throw new TypeError(`start and end must be offsets in order, not ${start} and ${end}`)
  }
  if (end > body.length) throw new TypeError(`end ${end} is past the body's ${body.length} bytes`)
}

/**
 * Scans body[start, end) as one JSON object. Returns the number of members, or minus the
 * position of a fault in `JSON_FAULTS`, whose offset in the body is then in `spans[0]`.
 */
export function scanJson(
  body: Uint8Array,
  spans: Uint32Array,
  start = 0,
  end: number = body.length,
): number {
  checkRange(body, start, end)
  if (!(spans instanceof Uint32Array) || spans.length < SPAN_WORDS) {
    throw new TypeError(`spans must be a Uint32Array of at least ${SPAN_WORDS} words`)
  }
  return native.jsonScan(body, start, end, spans)
}

/** The fault that a negative result of `scanJson` stands for. */
export function jsonFault(result: number): JsonFault {
  const fault = JSON_FAULTS[-result]
  if (fault === undefined || fault === 'none') throw new TypeError(`${result} is no fault`)
  return fault
}

/**
 * Chain-hashes the canonical text of a scanned body in chunks of `chunkBytes` from the root in
 * `state[STATE_ROOT]`, writes at most `keys.length` keys, and leaves the digest of the whole
 * prompt and the bytes of its text in `state`. Returns the number of keys.
 */
export function canonicalKeys(
  body: Uint8Array,
  spans: Uint32Array,
  count: number,
  kind: number,
  state: BigUint64Array,
  chunkBytes: number,
  keys: BigUint64Array,
): number {
  checkRange(body, 0, body.length)
  if (!Number.isInteger(count) || count < 0 || count * SPAN_WORDS > spans.length) {
    throw new TypeError(`count ${count} is more than the spans hold`)
  }
  if (PROMPT_KINDS[kind] === undefined) throw new TypeError(`${kind} is no kind of prompt`)
  if (!(state instanceof BigUint64Array) || state.length < STATE_WORDS) {
    throw new TypeError(`state must be a BigUint64Array of ${STATE_WORDS} words`)
  }
  if (!Number.isInteger(chunkBytes) || chunkBytes < 1 || chunkBytes > CHUNK_BYTES_MAX) {
    throw new TypeError(`chunkBytes must be 1 to ${CHUNK_BYTES_MAX}, not ${chunkBytes}`)
  }
  return native.jsonKeys(body, spans, count, kind, state, chunkBytes, keys)
}

/**
 * Reads body[start, end), an array that `scanJson` accepted, as token ids; an array of arrays as
 * its first one. Returns how many ids it has, of which at most `tokens.length` are written, or -1
 * when an element is no plain whole number of 32 bits.
 */
export function tokenArray(
  body: Uint8Array,
  start: number,
  end: number,
  tokens: Uint32Array,
): number {
  checkRange(body, start, end)
  if (body[start] !== 0x5b || start === end) throw new TypeError(`no array starts at ${start}`)
  return native.jsonTokens(body, start, end, tokens)
}

/** Numbers in body[start, end), an array of arrays of token ids that `scanJson` accepted. */
export function numberCount(body: Uint8Array, start: number, end: number): number {
  checkRange(body, start, end)
  if (body[start] !== 0x5b || start === end) throw new TypeError(`no array starts at ${start}`)
  return native.jsonNumbers(body, start, end)
}
