/**
 * Reading a request body as vLLM does: JSON, then types of the fields we use (pydantic's findings),
 * then meaning. Fields that we do not know are ignored; the raw bytes are kept for the tests.
 *
 * Only what clients are seen to send wrong is worded exactly; the rest gets a finding of the same
 * shape.
 */

import {
  ApiError,
  badParameter,
  badRequest,
  type Finding,
  pythonFloat,
  pythonText,
  validationError,
} from './api_error.ts'
import { findJsonFault } from './python_json.ts'

export type JsonObject = Readonly<Record<string, unknown>>

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Text of a content: a string, or the texts of its blocks. */
export function blockText(content: unknown): string {
  if (typeof content === 'string') return content
  if (!Array.isArray(content)) return ''
  let text = ''
  for (const block of content) {
    const part: unknown = isObject(block) ? block['text'] : null
    if (typeof part === 'string') text += part
  }
  return text
}

const MEDIA_ERROR =
  "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed"

/** The body as an object, or an ApiError. */
export function parseBody(contentType: string | null, bytes: Buffer): JsonObject {
  const media = (contentType ?? '').split(';')[0]?.trim().toLowerCase()
  if (media !== 'application/json') throw new ApiError(400, 'Bad Request', MEDIA_ERROR)
  if (bytes.length === 0) {
    const missing = { type: 'missing', at: 'body', message: 'Field required', input: 'None' }
    throw validationError([missing])
  }
  const text = bytes.toString('utf8')
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    const { at, message: context } = findJsonFault(text)
    const input = '<dict of 0 items>'
    const message = 'JSON decode error'
    throw validationError([{ type: 'json_invalid', at: `body.${at}`, message, input, context }])
  }
  if (isObject(value)) return value
  const message = 'Input should be a valid dictionary or object to extract fields from'
  const input = pythonText(value)
  throw validationError([{ type: 'model_attributes_type', at: 'body', message, input }])
}

/** Collects findings about the fields of one body; `done` throws them together. */
export class BodyReader {
  readonly body: JsonObject
  private readonly findings: Finding[]

  constructor(body: JsonObject) {
    this.body = body
    this.findings = []
  }

  private find(type: string, name: string, message: string): void {
    const input = pythonText(this.body[name])
    this.findings.push({ type, at: `body.${name}`, message, input })
  }

  done(): void {
    if (this.findings.length > 0) throw validationError(this.findings)
  }

  requires(...names: readonly string[]): void {
    for (const name of names) {
      if (name in this.body) continue
      const input = pythonText(this.body)
      this.findings.push({ type: 'missing', at: `body.${name}`, message: 'Field required', input })
    }
  }

  number(name: string): number | null {
    const value = this.body[name] ?? null
    if (value === null || typeof value === 'number') return value
    if (typeof value === 'string' && value.trim() !== '' && Number.isFinite(Number(value))) {
      return Number(value)
    }
    if (typeof value === 'string') {
      const message = 'Input should be a valid number, unable to parse string as a number'
      this.find('float_parsing', name, message)
    } else this.find('float_type', name, 'Input should be a valid number')
    return null
  }

  integer(name: string): number | null {
    const value = this.body[name] ?? null
    if (value === null) return null
    if (typeof value === 'number') {
      if (Number.isInteger(value)) return value
      const message = 'Input should be a valid integer, got a number with a fractional part'
      this.find('int_from_float', name, message)
    } else if (typeof value === 'string') {
      if (/^[+-]?\d+$/.test(value.trim())) return Number(value)
      const message = 'Input should be a valid integer, unable to parse string as an integer'
      this.find('int_parsing', name, message)
    } else this.find('int_type', name, 'Input should be a valid integer')
    return null
  }

  flag(name: string): boolean {
    const value = this.body[name] ?? null
    if (value === null || typeof value === 'boolean') return value ?? false
    if (value === 1 || value === 'true') return true
    if (value === 0 || value === 'false') return false
    const message = 'Input should be a valid boolean, unable to interpret input'
    if (typeof value === 'string' || typeof value === 'number')
      this.find('bool_parsing', name, message)
    else this.find('bool_type', name, 'Input should be a valid boolean')
    return false
  }

  text(name: string): string | null {
    const value = this.body[name] ?? null
    if (value === null || typeof value === 'string') return value
    this.find('string_type', name, 'Input should be a valid string')
    return null
  }

  list(name: string): readonly unknown[] | null {
    const value: unknown = this.body[name] ?? null
    if (value === null) return null
    if (Array.isArray(value)) return value
    // The engine iterates before it validates; only strings can be iterated.
    if (!isText(value) && value !== '') throw notIterable(value)
    this.find('list_type', name, 'Input should be a valid list')
    return null
  }

  object(name: string): JsonObject | null {
    const value = this.body[name] ?? null
    if (value === null) return null
    if (isObject(value)) return value
    const message = 'Input should be a valid dictionary or object to extract fields from'
    this.find('model_attributes_type', name, message)
    return null
  }
}

/** What a generation asks for, whatever the endpoint. */
export interface Sampling {
  readonly tokensMax: number | null
  readonly n: number
  readonly isStream: boolean
  readonly includesUsage: boolean
  readonly hasUsageInEveryChunk: boolean
  /** Alternatives to show a token; null for no log probabilities at all. */
  readonly logprobs: number | null
  readonly seed: number
  readonly temperature: number
  readonly stops: readonly string[]
  readonly ignoresEos: boolean
  readonly returnsTokenIds: boolean
  /** Alternatives to show a prompt token; null for none of them. */
  readonly promptLogprobs: number | null
  readonly salt: string | null
  readonly sessionId: string | null
  readonly requestId: string | null
}

/** Reads what all generation endpoints share; `limit` names the field that bounds the output. */
export function readSampling(reader: BodyReader, limits: readonly string[]): Sampling {
  // In the order of vLLM's fields, which is the order of its findings.
  let tokensMax: number | null = null
  for (const name of limits) tokensMax ??= reader.integer(name)
  const n = reader.integer('n') ?? 1
  const seed = reader.integer('seed') ?? 0
  const stops = reader.body['stop'] ?? []
  const isStream = reader.flag('stream')
  const streamOptions = reader.object('stream_options') ?? {}
  const temperature = reader.number('temperature') ?? 1
  const xargsSession = reader.object('vllm_xargs')?.['session_id']
  const includesUsage = streamOptions['include_usage'] === true
  const promptLogprobs = reader.integer('prompt_logprobs')
  return {
    tokensMax,
    n,
    isStream,
    includesUsage,
    hasUsageInEveryChunk: includesUsage && streamOptions['continuous_usage_stats'] === true,
    logprobs: null,
    seed,
    temperature,
    stops: (Array.isArray(stops) ? stops : [stops]).filter(isText),
    ignoresEos: reader.flag('ignore_eos'),
    returnsTokenIds: reader.flag('return_token_ids'),
    promptLogprobs: promptLogprobs === null || promptLogprobs < 0 ? null : promptLogprobs,
    salt: reader.text('cache_salt'),
    sessionId:
      reader.text('session_id') ?? (typeof xargsSession === 'string' ? xargsSession : null),
    requestId: reader.text('request_id'),
  }
}

function notIterable(value: unknown): ApiError {
  const types: Readonly<Record<string, string>> = { number: 'int', boolean: 'bool' }
  const type = types[typeof value]
  return badRequest(`'${type ?? 'dict'}' object is not iterable`)
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}

/** Checks of meaning, which come after those of the types. */
export function checkSampling(
  reader: BodyReader,
  sampling: Sampling,
  modelTokensMax: number,
): void {
  const { tokensMax, temperature, n } = sampling
  const streamOptions = reader.object('stream_options')
  if (streamOptions !== null && !sampling.isStream && Object.keys(streamOptions).length > 0) {
    const message = 'Stream options can only be defined when `stream=True`.'
    throw badParameter(message, 'stream_options')
  }
  if (sampling.salt === '') {
    const message = "Parameter 'cache_salt' must be a non-empty string if provided."
    throw badParameter(message, 'cache_salt')
  }
  if (tokensMax !== null && tokensMax > modelTokensMax) {
    const message =
      `max_tokens=${tokensMax} cannot be greater than max_model_len=${modelTokensMax}. ` +
      'Please request fewer output tokens.'
    throw badParameter(message, 'max_tokens', String(tokensMax))
  }
  if (n < 1) throw badRequest(`n must be at least 1, got ${n}.`)
  if (temperature < 0) {
    const value = pythonFloat(temperature)
    const message = `temperature must be non-negative, got ${value}.`
    throw badParameter(message, 'temperature', value)
  }
  if (tokensMax !== null && tokensMax < 1) {
    const message = `max_tokens must be at least 1, got ${tokensMax}.`
    throw badParameter(message, 'max_tokens', String(tokensMax))
  }
  if (temperature === 0 && n > 1) {
    throw badRequest(`n must be 1 when using greedy sampling, got ${n}.`)
  }
}
