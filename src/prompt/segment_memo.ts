/**
 * Token ids of pieces of text, remembered: a text is cut in front of each special token, and a
 * piece that was seen before is not tokenized again.
 *
 *   <|user|>What is …<|end|> | <|assistant|>It is …<|end|> | <|user|>And …      rendered chat
 *    known                      known                         new: tokenized
 *
 * ids(whole) = ids(piece 1) + ids(piece 2) + … exactly, because added special tokens split the
 * text before anything else looks at it. So a growing conversation costs its new turn, and a
 * system prompt shared by many is tokenized once.
 *
 * Pieces are keyed by their own text (no hash, so nothing can be confused) and leave least
 * recently used first when the bytes are spent. Not a Map whose entries move to its end when they
 * are used: V8 leaves a hole in the bucket's chain for each delete and walks all of them at the
 * next set, so a piece that every prompt begins with cost 8 µs among 10,000 others.
 *
 * Costs: about 1 ns a byte to look up; it does badly where a prompt has no special tokens: then
 * only an identical text is known.
 */
import { LRUCache } from 'lru-cache'
import type { Tokenizer } from './tokenizer.ts'

/** What an entry costs beside text and ids: map slot, string and array headers. */
const ENTRY_BYTES = 160

export class SegmentMemo {
  readonly #tokenizer: Tokenizer
  readonly #pieces: LRUCache<string, Uint32Array>
  readonly #cuts: RegExp | null
  /** Tokens that had to be made, for tests and figures. */
  tokensMade: number

  constructor(tokenizer: Tokenizer, bytesMax: number) {
    this.#tokenizer = tokenizer
    this.#pieces = new LRUCache({ maxSize: bytesMax, sizeCalculation: pieceBytes })
    this.#cuts = cutPattern(tokenizer.boundaries)
    this.tokensMade = 0
  }

  get bytes(): number {
    return this.#pieces.calculatedSize
  }

  /** Ids of a text without the special tokens that a completions request adds. */
  async encode(text: string): Promise<Uint32Array> {
    const parts: Uint32Array[] = []
    let total = 0
    for (const piece of this.#split(text)) {
      const ids = this.#pieces.get(piece) ?? (await this.#make(piece))
      parts.push(ids)
      total += ids.length
    }
    const [first] = parts
    if (parts.length === 1 && first !== undefined) return first
    const whole = new Uint32Array(total)
    let at = 0
    for (const ids of parts) {
      whole.set(ids, at)
      at += ids.length
    }
    return whole
  }

  #split(text: string): string[] {
    if (this.#cuts === null) return [text]
    const pieces: string[] = []
    let start = 0
    for (const match of text.matchAll(this.#cuts)) {
      if (match.index > start) pieces.push(text.slice(start, match.index))
      start = match.index
    }
    pieces.push(text.slice(start))
    return pieces
  }

  async #make(piece: string): Promise<Uint32Array> {
    const ids = await this.#tokenizer.encode(piece, false)
    this.tokensMade += ids.length
    this.#pieces.set(ownText(piece), ids)
    return ids
  }
}

function pieceBytes(ids: Uint32Array, piece: string): number {
  return piece.length * 2 + ids.byteLength + ENTRY_BYTES
}

/** A copy: a slice would keep the whole rendered conversation alive. */
function ownText(piece: string): string {
  return Buffer.from(piece, 'utf16le').toString('utf16le')
}

/** Matches any boundary; the longest first, as the tokenizer does where one begins another. */
function cutPattern(boundaries: readonly string[]): RegExp | null {
  if (boundaries.length === 0) return null
  const sorted = [...boundaries].sort((a, b) => b.length - a.length)
  const escaped = sorted.map(text => text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&'))
  return new RegExp(escaped.join('|'), 'g')
}
