/** One generation request of the suite and what can be read from its reply, of any API. */
import { randomUUID } from 'node:crypto'
import { check } from './report.ts'
import { dataOf, eventsOf, json, post, type Reply } from './wire.ts'

export interface Ask {
  /** What is special about it, for the figures. */
  readonly what: string
  readonly path: string
  readonly body: Readonly<Record<string, unknown>>
  readonly salt?: string
  readonly adapter?: string
  /** Ids of the prompt, for the APIs whose replies do not hold them; then one token is asked for. */
  readonly tokens?: readonly number[]
}

export interface Answer {
  readonly ask: Ask
  /** `x-request-id` under which its log line is found. */
  readonly clientId: string
  readonly node: string
  readonly prompt: readonly number[]
  readonly output: readonly number[]
  /** Text of the answer, as a client puts it into the next turn. */
  readonly text: string
  /** Cached tokens in the engine's usage; -1 where it says nothing. */
  readonly cached: number
}

interface Usage {
  readonly prompt_tokens_details?: { readonly cached_tokens?: number } | null
  readonly input_tokens_details?: { readonly cached_tokens?: number } | null
  readonly cache_read_input_tokens?: number | null
}

/** The fields of vLLM's replies that are read here; all are missing somewhere. */
interface Piece {
  readonly prompt_token_ids?: number[] | null
  readonly usage?: Usage | null
  /** Around the usage in events of the responses and the messages API. */
  readonly response?: { readonly usage?: Usage | null }
  readonly message?: { readonly usage?: Usage | null }
  readonly choices?: readonly {
    readonly text?: string
    readonly message?: { readonly content?: string | null }
    readonly delta?: { readonly content?: string | null }
    readonly token_ids?: number[] | null
    readonly prompt_token_ids?: number[] | null
  }[]
}

/** Fields that every generation request of the suite has: a known length, ids in the reply. */
export const FIXED = { temperature: 0, ignore_eos: true, return_token_ids: true } as const

/** Sends it and reads the whole reply; anything but a whole 200 fails the fact. */
export async function answer(origin: string, ask: Ask): Promise<Answer> {
  const clientId = randomUUID()
  const headers = { 'x-request-id': clientId }
  const reply = await post(origin, ask.path, ask.body, { headers })
  check(reply.status === 200, () => `${ask.what}: ${reply.status} ${reply.text.slice(0, 500)}`)
  const isStream = reply.contentType.startsWith('text/event-stream')
  const hasDone = isStream && ask.tokens === undefined
  check(!hasDone || dataOf(reply.text).at(-1) === '[DONE]', `${ask.what}: no [DONE]`)
  const read = readPieces(reply, isStream)
  return { ask, clientId, node: reply.node, ...read, prompt: ask.tokens ?? read.prompt }
}

function readPieces(
  reply: Reply,
  isStream: boolean,
): Pick<Answer, 'prompt' | 'output' | 'text' | 'cached'> {
  // Decode boundary: replies of vLLM to requests of our own.
  const pieces = (isStream ? eventsOf(reply.text) : [json(reply)]) as Piece[]
  const output: number[] = []
  let prompt: readonly number[] = []
  let text = ''
  let cached = -1
  for (const piece of pieces) {
    cached = cachedOf(piece.usage ?? piece.response?.usage ?? piece.message?.usage) ?? cached
    for (const choice of piece.choices ?? []) {
      prompt = choice.prompt_token_ids ?? prompt
      output.push(...(choice.token_ids ?? []))
      text += choice.text ?? choice.message?.content ?? choice.delta?.content ?? ''
    }
    prompt = piece.prompt_token_ids ?? prompt
  }
  return { prompt, output, text, cached }
}

function cachedOf(usage: Usage | null | undefined): number | null {
  const details = usage?.prompt_tokens_details ?? usage?.input_tokens_details
  return details?.cached_tokens ?? usage?.cache_read_input_tokens ?? null
}

/** Everything that the engine has computed of an answered request. */
export function computed({ prompt, output }: Answer): number[] {
  return [...prompt, ...output.slice(0, -1)]
}
