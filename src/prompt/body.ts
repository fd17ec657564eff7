/**
 * A JSON request body that is read without being parsed: the client's bytes and the spans of
 * its members. A field is decoded from its own few bytes when somebody asks for it.
 *
 *   bytes  {"model":"m","stream":true,"messages":[ … 4 MB … ]}
 *   spans      ▲ model    ▲ stream     ▲ messages: only where it starts and ends is known
 *
 * The last duplicate of a member counts, as in the parser of the node. The types of all fields
 * that Warmpath reads are checked once, in `readBody`, so that no getter can fail. Everything
 * else is the node's to judge.
 *
 * Costs: one native pass over the body (1 GB/s and more), one small array. What it does badly:
 * members of nested objects are scanned again by those who need them.
 */
import { OperatingError } from '../errors.ts'
import {
  type JsonFault,
  jsonFault,
  type KeyName,
  keyId,
  MEMBERS_MAX,
  SPAN_KEY_ID,
  SPAN_VALUE_END,
  SPAN_VALUE_START,
  SPAN_VALUE_TYPE,
  SPAN_WORDS,
  scanJson,
  VALUE_ARRAY,
  VALUE_FALSE,
  VALUE_NULL,
  VALUE_NUMBER,
  VALUE_OBJECT,
  VALUE_STRING,
  VALUE_TRUE,
  VALUE_TYPES,
} from '../native/json_scan.ts'
import { isRecord } from '../record.ts'
import { Slab } from './slab.ts'

/** Place of each field's id; the fields that have a getter below. */
const ID = {
  model: keyId('model'),
  stream: keyId('stream'),
  n: keyId('n'),
  maxTokens: keyId('max_tokens'),
  maxCompletionTokens: keyId('max_completion_tokens'),
  maxOutputTokens: keyId('max_output_tokens'),
  cacheSalt: keyId('cache_salt'),
  streamOptions: keyId('stream_options'),
} as const

interface Rule {
  readonly name: KeyName
  readonly types: readonly number[]
  readonly wanted: string
}

const FLAG = [VALUE_TRUE, VALUE_FALSE, VALUE_NULL]
const COUNT = [VALUE_NUMBER, VALUE_NULL]
/** What each field that Warmpath reads may be; null counts as absent where it is listed. */
const RULES: readonly Rule[] = [
  { name: 'model', types: [VALUE_STRING, VALUE_NULL], wanted: 'a string' },
  { name: 'stream', types: FLAG, wanted: 'a boolean' },
  { name: 'messages', types: [VALUE_ARRAY, VALUE_NULL], wanted: 'an array' },
  { name: 'tools', types: [VALUE_ARRAY, VALUE_NULL], wanted: 'an array' },
  { name: 'cache_salt', types: [VALUE_STRING, VALUE_NULL], wanted: 'a string' },
  { name: 'n', types: COUNT, wanted: 'a number' },
  { name: 'max_tokens', types: COUNT, wanted: 'a number' },
  { name: 'max_completion_tokens', types: COUNT, wanted: 'a number' },
  { name: 'max_output_tokens', types: COUNT, wanted: 'a number' },
  { name: 'stream_options', types: [VALUE_OBJECT, VALUE_NULL], wanted: 'an object' },
  { name: 'vllm_xargs', types: [VALUE_OBJECT, VALUE_NULL], wanted: 'an object' },
]
const RULE_BY_ID: ReadonlyMap<number, Rule> = new Map(RULES.map(rule => [keyId(rule.name), rule]))

const FAULT_TEXTS: Readonly<Record<JsonFault, string>> = {
  syntax: 'the request body is not valid JSON',
  not_object: 'the request body must be a JSON object',
  too_deep: 'the request body is nested too deeply',
  too_many: `the request body has more than ${MEMBERS_MAX} members`,
  utf8: 'the request body is not valid UTF-8',
}

/** The spans of the body that is being scanned; each body keeps a copy of its own few. */
const scratch = new Uint32Array(MEMBERS_MAX * SPAN_WORDS)

const slab = new Slab(words => new Uint32Array(words))

function keep(words: number): Uint32Array {
  const spans = slab.take(words)
  for (let i = 0; i < words; i++) spans[i] = scratch[i] ?? 0
  slab.commit(words)
  return spans
}

export class RequestBody {
  readonly bytes: Buffer
  readonly spans: Uint32Array
  /** Members of the object, duplicates included. */
  readonly count: number

  constructor(bytes: Buffer, spans: Uint32Array, count: number) {
    this.bytes = bytes
    this.spans = spans
    this.count = count
  }

  /** Position in the spans of the last member with that id, or -1. */
  find(id: number): number {
    for (let at = (this.count - 1) * SPAN_WORDS; at >= 0; at -= SPAN_WORDS) {
      if (this.spans[at + SPAN_KEY_ID] === id) return at
    }
    return -1
  }

  /** Whether the member is there and is not null. */
  has(id: number): boolean {
    const at = this.find(id)
    return at !== -1 && this.spans[at + SPAN_VALUE_TYPE] !== VALUE_NULL
  }

  /** Type of the member's value, `VALUE_NULL` where it is absent. */
  typeOf(id: number): number {
    const at = this.find(id)
    return at === -1 ? VALUE_NULL : (this.spans[at + SPAN_VALUE_TYPE] ?? VALUE_NULL)
  }

  /** JSON text of the member's value; null where it is absent. */
  text(id: number): string | null {
    const at = this.find(id)
    if (at === -1) return null
    const start = this.spans[at + SPAN_VALUE_START]
    return this.bytes.toString('utf8', start, this.spans[at + SPAN_VALUE_END])
  }

  /** The member's value, decoded; null where it is absent. */
  value(id: number): unknown {
    const text = this.text(id)
    return text === null ? null : JSON.parse(text)
  }

  get model(): string | null {
    return this.string(ID.model)
  }

  get isStream(): boolean {
    return this.typeOf(ID.stream) === VALUE_TRUE
  }

  /** Sequences asked for; 1 where the client does not say. */
  get n(): number {
    return this.number(ID.n) ?? 1
  }

  /** Generated tokens at most, as far as the client says. */
  get tokensMax(): number | null {
    return (
      this.number(ID.maxCompletionTokens) ??
      this.number(ID.maxTokens) ??
      this.number(ID.maxOutputTokens)
    )
  }

  /** The client's own salt; what the node gets may be another one (edits.ts). */
  get cacheSalt(): string | null {
    return this.string(ID.cacheSalt)
  }

  /** Whether a streamed answer ends with a chunk that holds the usage. */
  get includesUsage(): boolean {
    if (!this.has(ID.streamOptions)) return false
    const options = this.value(ID.streamOptions)
    return isRecord(options) && options.include_usage === true
  }

  private string(id: number): string | null {
    const text = this.typeOf(id) === VALUE_STRING ? this.text(id) : null
    if (text === null) return null
    if (text.includes('\\')) return String(JSON.parse(text))
    return text.slice(1, -1)
  }

  private number(id: number): number | null {
    return this.typeOf(id) === VALUE_NUMBER ? Number(this.text(id)) : null
  }
}

/** Scans a body; a body that no node could understand is an operating error with its place. */
export function readBody(bytes: Buffer): RequestBody | OperatingError {
  const count = scanJson(bytes, scratch)
  if (count < 0) {
    const where = place(bytes, scratch[0] ?? 0)
    return new OperatingError('invalid_request', `${FAULT_TEXTS[jsonFault(count)]} (${where})`)
  }
  const body = new RequestBody(bytes, keep(count * SPAN_WORDS), count)
  return wrongType(body) ?? body
}

function wrongType(body: RequestBody): OperatingError | null {
  for (let at = 0; at < body.spans.length; at += SPAN_WORDS) {
    const id = body.spans[at + SPAN_KEY_ID] ?? 0
    const rule = id === 0 ? undefined : RULE_BY_ID.get(id)
    const type = body.spans[at + SPAN_VALUE_TYPE] ?? 0
    if (rule === undefined || rule.types.includes(type) || body.find(id) !== at) continue
    const where = place(body.bytes, body.spans[at + SPAN_VALUE_START] ?? 0)
    const text = `'${rule.name}' must be ${rule.wanted}, not ${VALUE_TYPES[type]} (${where})`
    return new OperatingError('invalid_request', text, rule.name)
  }
  return null
}

/** Line and column, both from 1 and in bytes, of an offset: what an editor shows. */
function place(bytes: Buffer, offset: number): string {
  let line = 1
  let lineStart = 0
  for (;;) {
    const next = bytes.indexOf(0x0a, lineStart)
    if (next === -1 || next >= offset) break
    line++
    lineStart = next + 1
  }
  return `line ${line}, column ${offset - lineStart + 1}, byte ${offset}`
}
