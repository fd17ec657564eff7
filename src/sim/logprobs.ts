/**
 * Log probabilities in vLLM's shapes. The numbers are made up but deterministic: a token's value
 * depends on its id alone.
 */
import type { SimTokenizer } from './sim_tokenizer.ts'

/** A plausible log probability of the n-th best alternative. */
export function logprobOf(token: number, rank: number): number {
  return -(((token * 7919 + rank * 104_729) % 3000) + 1) / 1000 - rank
}

function bytesOf(text: string): string {
  return `[${[...Buffer.from(text, 'utf8')].join(',')}]`
}

function entry(tokenizer: SimTokenizer, token: number, rank: number): string {
  const text = tokenizer.decode([token])
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
