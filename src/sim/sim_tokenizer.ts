/**
 * A node's tokenizer together with what it needs to make up an answer: words whose ids and texts
 * correspond one to one wherever they stand.
 *
 * An answer of such words that comes back in the next turn of a conversation encodes to the very
 * ids that were generated, so that prefixes grow as they do with a real engine. The toy tokenizer
 * has such words by construction; a real vocabulary is searched once for short words with a
 * leading space.
 */
import type { ChatInput, Tokenizer } from '../prompt/tokenizer.ts'
import { plainChat } from '../prompt/tokenizer.ts'
import { ToyTokenizer, wordId } from '../prompt/toy_tokenizer.ts'

/** Words an answer is made of; more would only cost memory. */
const WORDS_MAX = 1024

export class SimTokenizer {
  private readonly tokenizer: Tokenizer
  private readonly decodeIds: (ids: readonly number[]) => string
  private readonly words: Uint32Array
  /** JSON text of a token's text, by id: one chunk needs nothing else computed. */
  private readonly jsonTexts: Map<number, string>

  constructor(
    tokenizer: Tokenizer,
    words: Uint32Array,
    decodeIds: (ids: readonly number[]) => string,
  ) {
    this.tokenizer = tokenizer
    this.words = words
    this.decodeIds = decodeIds
    this.jsonTexts = new Map()
  }

  static toy(): SimTokenizer {
    const tokenizer = new ToyTokenizer()
    const words = Uint32Array.from({ length: WORDS_MAX }, (_, n) => wordId(n))
    return new SimTokenizer(tokenizer, words, ids => tokenizer.decode(ids))
  }

  async encodeText(text: string, addSpecialTokens: boolean): Promise<Uint32Array> {
    return await this.tokenizer.encode(text, addSpecialTokens)
  }

  async encodeChat(chat: ChatInput): Promise<Uint32Array> {
    return await this.tokenizer.encode(this.tokenizer.renderChat(chat), false)
  }

  async encodePlainChat(
    messages: readonly unknown[],
    tools: readonly unknown[] | null,
  ): Promise<Uint32Array> {
    return await this.encodeChat(plainChat(messages, tools))
  }

  decode(ids: readonly number[]): string {
    return this.decodeIds(ids)
  }

  tokenJson(id: number): string {
    const known = this.jsonTexts.get(id)
    if (known !== undefined) return known
    const text = JSON.stringify(this.decodeIds([id]))
    if (this.jsonTexts.size < 2 * WORDS_MAX) this.jsonTexts.set(id, text)
    return text
  }

  /** The n-th word of the answer to a prompt: the same for equal prompts and seeds, always. */
  wordAt(seed: number, n: number): number {
    const at = mix(seed + Math.imul(n, 0x9e3779b9))
    return this.words[at % this.words.length] ?? 0
  }
}

/** A finalizer of 32 bits: neighbouring inputs give unrelated outputs. */
function mix(input: number): number {
  let value = input >>> 0
  value = Math.imul(value ^ (value >>> 16), 0x85ebca6b)
  value = Math.imul(value ^ (value >>> 13), 0xc2b2ae35)
  return (value ^ (value >>> 16)) >>> 0
}

/** Seed of the answer to a prompt. */
export function promptSeed(prompt: Uint32Array, seed: number, choice: number): number {
  let hash = 0x811c9dc5 ^ mix(seed * 31 + choice)
  for (const token of prompt) hash = Math.imul(hash ^ token, 0x01000193)
  return mix(hash)
}
