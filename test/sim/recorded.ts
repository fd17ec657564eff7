/**
 * Recorded exchanges with real engines, and what makes two answers comparable: only what must
 * differ from run to run is replaced (ids, times, words, numbers that follow from the words), every
 * other byte stays.
 */
import { readFileSync } from 'node:fs'
import { request as httpRequest } from 'node:http'

export interface RecordedRequest {
  readonly method: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

export interface RecordedResponse {
  readonly status: number
  /** Names and values in turns. */
  readonly headers: readonly string[]
  readonly body: string
}

export interface Exchange {
  readonly name: string
  readonly request: RecordedRequest
  readonly response: RecordedResponse
}

export function readFixture(group: string): string {
  return readFileSync(new URL(`../fixtures/vllm/${group}.json`, import.meta.url), 'utf8')
}

export function readExchanges(group: string): Exchange[] {
  const exchanges: Exchange[] = JSON.parse(readFixture(group))
  return exchanges
}

/** Sends a recorded request somewhere else. */
export async function repeat(base: string, request: RecordedRequest): Promise<RecordedResponse> {
  return await new Promise((resolve, reject) => {
    const { method, path, headers, body } = request
    const sent = httpRequest(new URL(path, base), { method, headers }, response => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('end', () => {
        const { statusCode = 0, rawHeaders } = response
        const text = Buffer.concat(chunks).toString('utf8')
        resolve({ status: statusCode, headers: rawHeaders, body: text })
      })
    })
    sent.on('error', reject)
    sent.end(body)
  })
}

const TEXT = String.raw`"(?:[^"\\]|\\.)*"`
const NUMBER = String.raw`-?\d[\d.e+-]*`
const COUNTS = [
  'prompt_tokens|total_tokens|completion_tokens|cached_tokens|created_cache_tokens',
  'input_tokens|output_tokens|original_input_tokens|cache_read_input_tokens',
  'cache_creation_input_tokens|cache_write_tokens|count|max_tokens|sequence_number',
].join('|')

const REPLACEMENTS: readonly (readonly [RegExp, string])[] = [
  [
    /"(chatcmpl-tool-|chatcmpl-|cmpl-|resp_|msg_|modelperm-|embd-|score-|pooling-)[0-9a-f]{16}"/g,
    '"$1#"',
  ],
  [/"created(_at)?":\d+/g, '"created$1":#'],
  [/-[0-9a-f]{8}"/g, '-#"'],
  [/"root":"[^"]*"/g, '"root":"#"'],
  [/tcp:\/\/[^"]*/g, 'tcp:#'],
  // The role chunk's empty content is part of the shape; other texts are words.
  [
    new RegExp(
      `(?<!"role":"assistant",)"(content|text|delta|prompt|decoded_token|arguments)":${TEXT}`,
      'g',
    ),
    '"$1":"#"',
  ],
  [new RegExp(`("message":\\{"role":"assistant",)"content":${TEXT}`, 'g'), '$1"content":"#"'],
  [new RegExp(`"token":${TEXT}`, 'g'), '"token":"#"'],
  [new RegExp(`"(${COUNTS})":\\d+`, 'g'), '"$1":#'],
  [
    new RegExp(
      `"(token_ids|prompt_token_ids|bytes|embedding|data|text_offset)":\\[[\\d.,e+-]*\\]`,
      'g',
    ),
    '"$1":[#]',
  ],
  [new RegExp(`"tokens":\\[[\\d,]*\\]`, 'g'), '"tokens":[#]'],
  [new RegExp(`"(tokens|token_strs)":\\[${TEXT}(,${TEXT})*\\]`, 'g'), '"$1":["#"]'],
  [
    new RegExp(`"token_logprobs":\\[(null,)?${NUMBER}(,${NUMBER})*\\]`, 'g'),
    '"token_logprobs":[$1#]',
  ],
  [new RegExp(`\\{${TEXT}:${NUMBER}(,${TEXT}:${NUMBER})*\\}`, 'g'), '{#}'],
  [new RegExp(`"(logprob|rank|score|relevance_score|index)":${NUMBER}`, 'g'), '"$1":#'],
  [new RegExp(`"embedding":${TEXT}`, 'g'), '"embedding":"#"'],
  [/"\d+":\{"logprob":#,"rank":#,"decoded_token":"#"\}/g, '"logprob of a prompt token"'],
]

/** A body with everything replaced that differs between two answers of one engine or tokenizer. */
export function comparable(body: string): string {
  let text = body
  for (const [pattern, by] of REPLACEMENTS) text = text.replace(pattern, by)
  // How many equal things follow each other depends on the tokenizer.
  text = text.replace(/("logprob of a prompt token")(,\1)+/g, '$1')
  for (let before = ''; before !== text; ) {
    before = text
    text = text.replace(/(\{[^{}[\]]*\})(,\1)+/g, '$1')
  }
  return text
}

/** As `comparable`, with repeated stream events as one: words that are empty are not sent. */
export function comparableEvents(body: string): string {
  const events = comparable(body).split('\n\n')
  return events.filter((event, at) => event !== events[at - 1]).join('\n\n')
}

/** Names in order, and the values that are not times, lengths or ids. */
export function comparableHeaders(headers: readonly string[]): string[] {
  const found: string[] = []
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at] ?? ''
    const isVolatile = ['date', 'content-length', 'x-request-id'].includes(name)
    found.push(isVolatile ? name : `${name}: ${headers[at + 1]}`)
  }
  return found
}
