/**
 * What one answer told: tokens, times and whether it was whole.
 *
 *     sent ──────► first content ─ token ─ token ─ … ─ last content ─► [DONE] ─► end
 *     │◄── TTFT ──►│◄────── time per token × (tokens − 1) ─────►│
 *     │◄──────────────────────────── e2e ───────────────────────────────────►│
 *
 * Tokens are the endpoint's own count (`usage.completion_tokens`) or else the content events. Only
 * events up to the first content and those that mention usage or an error are parsed, so that the
 * measurement stays cheap at many tokens a second.
 */
import { z } from 'zod'
import { StreamEvents } from './stream_events.ts'

export interface Usage {
  readonly promptTokens: number
  readonly outputTokens: number
  /** null: the endpoint does not say. */
  readonly cachedTokens: number | null
}

export interface Answer {
  /** null: the answer was right; else the kind of what was wrong. */
  readonly error: string | null
  /** What the endpoint said about the error, as far as it fits a line. */
  readonly detail: string
  readonly sentMs: number
  readonly endMs: number
  /** null for plain answers. */
  readonly firstMs: number | null
  readonly lastMs: number | null
  readonly outputTokens: number
  readonly usage: Usage | null
}

/** Longest text of an error that is kept: one line of a terminal or two. */
const DETAIL_CHARACTERS_MAX = 200

const usageSchema = z.object({
  prompt_tokens: z.number(),
  completion_tokens: z.number().optional(),
  prompt_tokens_details: z.object({ cached_tokens: z.number().nullish() }).nullish(),
})

const choiceSchema = z.object({
  text: z.string().nullish(),
  delta: z
    .object({
      content: z.string().nullish(),
      reasoning: z.string().nullish(),
      reasoning_content: z.string().nullish(),
      tool_calls: z.array(z.unknown()).nullish(),
    })
    .nullish(),
})

const bodySchema = z.object({
  error: z.unknown().optional(),
  usage: usageSchema.nullish(),
  choices: z.array(choiceSchema).nullish(),
})

function parseBody(text: string): z.infer<typeof bodySchema> | null {
  try {
    return bodySchema.safeParse(JSON.parse(text)).data ?? null
  } catch {
    return null
  }
}

function hasContent(choices: readonly z.infer<typeof choiceSchema>[]): boolean {
  return choices.some(({ text, delta }) => {
    const { content, reasoning, reasoning_content: thoughts, tool_calls: calls } = delta ?? {}
    return Boolean(text || content || reasoning || thoughts || calls?.length)
  })
}

function usageOf(usage: z.infer<typeof usageSchema>): Usage {
  return {
    promptTokens: usage.prompt_tokens,
    outputTokens: usage.completion_tokens ?? 0,
    cachedTokens: usage.prompt_tokens_details?.cached_tokens ?? null,
  }
}

/** Reads one answer; the caller says what arrived when. */
export class AnswerReader {
  readonly #isStream: boolean
  readonly #sentMs: number
  readonly #events = new StreamEvents(data => this.#onData(data))
  readonly #body: Buffer[] = []
  #nowMs = 0
  #firstMs: number | null = null
  #lastMs: number | null = null
  #contents = 0
  #usage: Usage | null = null
  #error: string | null = null
  #isDone = false
  #detail = ''

  constructor(isStream: boolean, sentMs: number) {
    this.#isStream = isStream
    this.#sentMs = sentMs
  }

  onStatus(status: number): void {
    if (status < 200 || status > 299) this.#error = `status_${status}`
  }

  onBytes(chunk: Buffer, nowMs: number): void {
    if (this.#error !== null) {
      if (this.#detail === '') this.#detail = chunk.toString().slice(0, DETAIL_CHARACTERS_MAX)
      return
    }
    this.#nowMs = nowMs
    if (this.#isStream) this.#events.feed(chunk)
    else this.#body.push(chunk)
  }

  finish(nowMs: number): Answer {
    if (this.#error === null && this.#isStream && !this.#isDone) this.#error = 'cut'
    if (this.#error === null && !this.#isStream) this.#readPlain()
    const counted = this.#usage?.outputTokens ?? 0
    return {
      error: this.#error,
      detail: this.#detail,
      sentMs: this.#sentMs,
      endMs: nowMs,
      firstMs: this.#firstMs,
      lastMs: this.#lastMs,
      outputTokens: counted > 0 ? counted : this.#contents,
      usage: this.#usage,
    }
  }

  fail(kind: string, detail: string, nowMs: number): Answer {
    this.#error ??= kind
    this.#detail ||= detail
    return this.finish(nowMs)
  }

  #onData(data: string): void {
    if (data === '[DONE]') {
      this.#isDone = true
      return
    }
    const isPlainToken = this.#firstMs !== null && !data.includes('"usage":{')
    if (isPlainToken && !data.startsWith('{"error"')) {
      this.#contents++
      this.#lastMs = this.#nowMs
      return
    }
    const event = parseBody(data)
    if (event === null) this.#error = 'malformed'
    else if (event.error !== undefined) this.#error = 'error_event'
    if (this.#error !== null) this.#detail = data.slice(0, DETAIL_CHARACTERS_MAX)
    if (event?.usage) this.#usage = usageOf(event.usage)
    if (!event?.choices || !hasContent(event.choices)) return
    this.#firstMs ??= this.#nowMs
    this.#lastMs = this.#nowMs
    this.#contents++
  }

  #readPlain(): void {
    const body = parseBody(Buffer.concat(this.#body).toString())
    if (body === null || !body.choices) this.#error = 'malformed'
    if (body?.usage) this.#usage = usageOf(body.usage)
  }
}
