/**
 * Log probabilities in vLLM's shapes. The numbers are made up but deterministic: a token's value
 * depends on its id alone.
 */
import type { SimTokenizer } from './sim_tokenizer.ts'

/** A plausible log probability of the n-th best alternative. */
function logprobOf(token: number, rank: number): number {
  return -(((token * 7919 + rank * 104_729) % 3000) + 1) / 1000 - rank
}

function bytesOf(text: string): string {
  return `[${[...Buffer.from(text, 'utf8')].join(',')}]`
}

function entry(tokenizer: SimTokenizer, token: number, rank: number): string {
  const text = tokenizer.textOf([token])
  const value = logprobOf(token, rank)
  return `"token":${JSON.stringify(text)},"logprob":${value},"bytes":${bytesOf(text)}`
}

/** `{"content":[…]}` of a chat choice with `top` alternatives a token. */
export function chatLogprobs(
  tokenizer: SimTokenizer,
  tokens: readonly number[],
  top: number,
): string {
  const items = tokens.map(token => {
    const alternatives: string[] = []
    for (let rank = 0; rank < top; rank++) {
      const other = rank === 0 ? token : tokenizer.wordAt(token, rank)
      alternatives.push(`{${entry(tokenizer, other, rank)}}`)
    }
    return `{${entry(tokenizer, token, 0)},"top_logprobs":[${alternatives.join(',')}]}`
  })
  return `{"content":[${items.join(',')}]}`
}

/** `[null,{"id":{…}},…]`: every prompt token but the first, with `top` better alternatives. */
export function promptLogprobs(tokenizer: SimTokenizer, prompt: Uint32Array, top: number): string {
  const items: string[] = []
  for (const [at, token] of prompt.entries()) {
    if (at === 0) {
      items.push('null')
      continue
    }
    const entries = [promptEntry(tokenizer, token, top + 1)]
    for (let rank = 1; rank <= top; rank++) {
      entries.push(promptEntry(tokenizer, tokenizer.wordAt(token, rank), rank))
    }
    items.push(`{${entries.join(',')}}`)
  }
  return `[${items.join(',')}]`
}

function promptEntry(tokenizer: SimTokenizer, token: number, rank: number): string {
  const text = JSON.stringify(tokenizer.textOf([token]))
  return `"${token}":{"logprob":${logprobOf(token, rank)},"rank":${rank},"decoded_token":${text}}`
}

/** Log probabilities of a completions choice, which count characters from the answer's start. */
export class CompletionLogprobs {
  private readonly offsets: number[]
  private readonly values: string[]
  private readonly tokens: string[]
  private readonly alternatives: string[]
  private readonly tokenizer: SimTokenizer
  private readonly top: number
  private length: number

  constructor(tokenizer: SimTokenizer, top: number) {
    this.tokenizer = tokenizer
    this.top = top
    this.offsets = []
    this.values = []
    this.tokens = []
    this.alternatives = []
    this.length = 0
  }

  /** Prompt tokens, when they are echoed: the first has no probability. */
  addPrompt(prompt: Uint32Array): void {
    for (const [at, token] of prompt.entries()) this.add(token, at > 0, true)
  }

  add(token: number, hasValue = true, isPrompt = false): void {
    const { tokenizer } = this
    const text = tokenizer.textOf([token])
    this.offsets.push(this.length)
    this.length += text.length
    this.tokens.push(JSON.stringify(text))
    this.values.push(hasValue ? String(logprobOf(token, isPrompt ? this.top + 1 : 0)) : 'null')
    const entries: string[] = []
    if (isPrompt) entries.push(`${JSON.stringify(text)}:${logprobOf(token, this.top + 1)}`)
    for (let rank = 0; rank < this.top; rank++) {
      const other = rank === 0 && !isPrompt ? token : tokenizer.wordAt(token, rank)
      entries.push(`${JSON.stringify(tokenizer.textOf([other]))}:${logprobOf(other, rank)}`)
    }
    this.alternatives.push(hasValue ? `{${entries.join(',')}}` : 'null')
  }

  /** JSON of what was added since the last call; offsets go on. */
  take(): string {
    const { offsets, values, tokens, alternatives } = this
    const text =
      `{"text_offset":[${offsets.join(',')}],"token_logprobs":[${values.join(',')}],` +
      `"tokens":[${tokens.join(',')}],"top_logprobs":[${alternatives.join(',')}]}`
    for (const list of [offsets, values, tokens, alternatives]) list.length = 0
    return text
  }
}
