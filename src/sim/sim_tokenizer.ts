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
export const WORDS_MAX = 1024

/** A vocabulary seen from the ids. */
export interface Vocabulary {
  /** Ids of the words that answers are made of. */
  readonly words: Uint32Array
  /** Text that a token adds to an answer. */
  readonly textOf: (id: number) => string
  /** How the vocabulary itself spells a token, such as "Ġthe". */
  readonly spellingOf: (id: number) => string
  /** Text of tokens together: characters may be spread over several. */
  readonly decode: (ids: readonly number[]) => Promise<string>
}

export class SimTokenizer {
  private readonly tokenizer: Tokenizer
  private readonly vocabulary: Vocabulary
  /** JSON text of a token's text, by id: one chunk needs nothing else computed. */
  private readonly jsonTexts: Map<number, string>

  constructor(tokenizer: Tokenizer, vocabulary: Vocabulary) {
    this.tokenizer = tokenizer
    this.vocabulary = vocabulary
    this.jsonTexts = new Map()
  }

  static toy(): SimTokenizer {
    const tokenizer = new ToyTokenizer()
    const textOf = (id: number): string => tokenizer.decode([id])
    return new SimTokenizer(tokenizer, {
      words: Uint32Array.from({ length: WORDS_MAX }, (_, n) => wordId(n)),
      textOf,
      spellingOf: textOf,
      decode: async ids => tokenizer.decode(ids),
    })
  }

  async encodeText(text: string, addSpecialTokens: boolean): Promise<Uint32Array> {
    return await this.tokenizer.encode(text, addSpecialTokens)
  }

  async encodeChat(chat: ChatInput, addSpecialTokens = false): Promise<Uint32Array> {
    return await this.tokenizer.encode(this.tokenizer.renderChat(chat), addSpecialTokens)
  }

  async encodePlainChat(
    messages: readonly unknown[],
    tools: readonly unknown[] | null,
  ): Promise<Uint32Array> {
    return await this.encodeChat(plainChat(messages, tools))
  }

  /** Texts of tokens one after the other: exact for the words of answers. */
  textOf(ids: readonly number[]): string {
    let text = ''
    for (const id of ids) text += this.vocabulary.textOf(id)
    return text
  }

  spellingOf(id: number): string {
    return this.vocabulary.spellingOf(id)
  }

  async decode(ids: readonly number[]): Promise<string> {
    return await this.vocabulary.decode(ids)
  }

  tokenJson(id: number): string {
    const known = this.jsonTexts.get(id)
    if (known !== undefined) return known
    const text = JSON.stringify(this.vocabulary.textOf(id))
    if (this.jsonTexts.size < 2 * WORDS_MAX) this.jsonTexts.set(id, text)
    return text
  }

  /** The n-th word of the answer to a prompt: the same for equal prompts and seeds, always. */
  wordAt(seed: number, n: number): number {
    const at = mix(seed + Math.imul(n, 0x9e3779b9))
    const { words } = this.vocabulary
    return words[at % words.length] ?? 0
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
