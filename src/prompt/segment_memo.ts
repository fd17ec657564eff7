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
 * recently used first when the bytes are spent. Costs: about 1 ns a byte to look up; it does
 * badly where a prompt has no special tokens: then only an identical text is known.
 */
import type { Tokenizer } from './tokenizer.ts'

/** What an entry costs beside text and ids: map slot, string and array headers. */
const ENTRY_BYTES = 160

interface Piece {
  readonly text: string
  readonly ids: Uint32Array
}

export class SegmentMemo {
  readonly #tokenizer: Tokenizer
  readonly #bytesMax: number
  readonly #pieces: Map<string, Piece>
  readonly #cuts: RegExp | null
  #bytes: number
  /** Tokens that had to be made, for tests and figures. */
  tokensMade: number

  constructor(tokenizer: Tokenizer, bytesMax: number) {
    this.#tokenizer = tokenizer
    this.#bytesMax = bytesMax
    this.#pieces = new Map()
    this.#cuts = cutPattern(tokenizer.boundaries)
    this.#bytes = 0
    this.tokensMade = 0
  }

  get bytes(): number {
    return this.#bytes
  }

  /** Ids of a text without the special tokens that a completions request adds. */
  async encode(text: string): Promise<Uint32Array> {
    const parts: Uint32Array[] = []
    let total = 0
    for (const piece of this.#split(text)) {
      const ids = this.#find(piece) ?? (await this.#make(piece))
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

  #find(piece: string): Uint32Array | undefined {
    const held = this.#pieces.get(piece)
    if (held === undefined) return undefined
    this.#pieces.delete(piece)
    this.#pieces.set(held.text, held)
    return held.ids
  }

  async #make(piece: string): Promise<Uint32Array> {
    const ids = await this.#tokenizer.encode(piece, false)
    this.tokensMade += ids.length
    const size = pieceBytes(piece, ids)
    // Whoever encodes the same piece at the same time must not be counted twice.
    if (size > this.#bytesMax || this.#pieces.has(piece)) return ids
    for (const [oldest, held] of this.#pieces) {
      if (this.#bytes + size <= this.#bytesMax) break
      this.#pieces.delete(oldest)
      this.#bytes -= pieceBytes(oldest, held.ids)
    }
    const text = ownText(piece)
    this.#pieces.set(text, { text, ids })
    this.#bytes += size
    return ids
  }
}

function pieceBytes(piece: string, ids: Uint32Array): number {
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
