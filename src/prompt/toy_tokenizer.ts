/**
 * A deterministic toy tokenizer with a chat template, for simulated nodes and for the gateway in
 * front of them (`tokenizer: toy`). It needs no file and gives equal ids in every process.
 *
 *   ids  0 … 15         special tokens (`<|user|>`, `<|end|>` …), 16 … 63 unused
 *        64 … 15191     all other pieces, by hash: two pieces may share an id
 *        15192 … 32767  a space and three letters a–z, one id each, so decode is exact
 *
 * A text is cut at special tokens, then in front of each space, then every four UTF-8 bytes:
 *
 *   "<|user|>Hello the cat"  →  <|user|> "Hell" "o" " the" " cat"
 *
 * Generated text is made of exact pieces (`wordId`), hence a reply that comes back in the next
 * turn of a conversation encodes to the very ids that were generated, as with a real engine.
 *
 * Costs: about 10 ns a byte. It does badly: about 3 bytes a token, where real vocabularies reach 4,
 * and hashed pieces decode to a stand-in (`~xyz`) that does not encode to the same id again.
 */

import { isRecord } from '../record.ts'
import type { ChatInput, Tokenizer } from './tokenizer.ts'
import { plainChat } from './tokenizer.ts'

export const TOY_VOCABULARY_SIZE = 32_768

/** Texts of the special tokens; the position is the id. */
const SPECIAL_TOKENS = [
  '<|pad|>',
  '<|bos|>',
  '<|end|>',
  '<|system|>',
  '<|user|>',
  '<|assistant|>',
  '<|tool|>',
  '<|tools|>',
  '<|documents|>',
  '<|role|>',
  '<|call|>',
  '<|media|>',
] as const

export const TOY_END_ID: number = SPECIAL_TOKENS.indexOf('<|end|>')

const LETTERS = 26
const WORD_COUNT = LETTERS * LETTERS * LETTERS
const WORD_FIRST_ID = TOY_VOCABULARY_SIZE - WORD_COUNT
const HASHED_FIRST_ID = 64
const HASHED_COUNT = WORD_FIRST_ID - HASHED_FIRST_ID
/** Bytes of a piece at most; four letters a token is what real vocabularies reach on prose. */
const PIECE_BYTES_MAX = 4
const SPACE = 0x20
const LETTER_A = 0x61
const CONSONANTS = 'bcdfghjklmnprstvwz'
const VOWELS = 'aeiou'
/** The roles that have a special token of their own. */
const ROLES = new Set(['system', 'user', 'assistant', 'tool'])

function isLetter(byte: number): boolean {
  return byte >= LETTER_A && byte < LETTER_A + LETTERS
}

/** Id of the piece bytes[start, end): exact for a space and three letters, else by FNV-1a. */
function pieceId(bytes: Uint8Array, start: number, end: number): number {
  const first = bytes[start] ?? 0
  if (end - start === PIECE_BYTES_MAX && first === SPACE) {
    const a = bytes[start + 1] ?? 0
    const b = bytes[start + 2] ?? 0
    const c = bytes[start + 3] ?? 0
    if (isLetter(a) && isLetter(b) && isLetter(c)) {
      const high = (a - LETTER_A) * LETTERS + (b - LETTER_A)
      return WORD_FIRST_ID + high * LETTERS + (c - LETTER_A)
    }
  }
  let hash = 0x811c9dc5
  for (let at = start; at < end; at++) hash = Math.imul(hash ^ (bytes[at] ?? 0), 0x01000193)
  // FNV's low bits mix badly over four bytes: fold the high ones in before the division.
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d) >>> 0
  return HASHED_FIRST_ID + (hash % HASHED_COUNT)
}

/** Text of one content: a string, null, or a list of parts of which only text has a text. */
function contentText(content: unknown): string {
  if (typeof content === 'string') return content
  if (!Array.isArray(content)) return ''
  let text = ''
  for (const part of content) {
    const partText = isRecord(part) ? part.text : undefined
    text += typeof partText === 'string' ? partText : '<|media|>'
  }
  return text
}

function messageText(message: unknown): string {
  if (!isRecord(message)) return ''
  const { role, content, tool_calls: calls } = message
  const name = typeof role === 'string' ? role : 'user'
  const opening = ROLES.has(name) ? `<|${name}|>` : `<|role|>${name}\n`
  const called = Array.isArray(calls) ? `<|call|>${JSON.stringify(calls)}` : ''
  return `${opening}${contentText(content)}${called}`
}

export class ToyTokenizer implements Tokenizer {
  readonly boundaries: readonly string[] = SPECIAL_TOKENS

  renderChat(chat: ChatInput): string {
    let text = ''
    if (chat.tools !== null && chat.tools.length > 0) {
      text += `<|tools|>${JSON.stringify(chat.tools)}<|end|>`
    }
    if (chat.documents !== null && chat.documents.length > 0) {
      text += `<|documents|>${JSON.stringify(chat.documents)}<|end|>`
    }
    const last = chat.messages.length - 1
    for (const [at, message] of chat.messages.entries()) {
      text += messageText(message)
      if (at < last || !chat.continueFinalMessage) text += '<|end|>'
    }
    return chat.addGenerationPrompt ? `${text}<|assistant|>` : text
  }

  encode(text: string, addSpecialTokens: boolean): Uint32Array {
    // A piece has at least one byte and a special token several, so this is always enough.
    const bytes = Buffer.from(text, 'utf8')
    const ids = new Uint32Array(bytes.length + 1)
    let count = 0
    if (addSpecialTokens) ids[count++] = SPECIAL_TOKENS.indexOf('<|bos|>')
    let start = 0
    while (start < bytes.length) {
      const next = bytes.indexOf('<|', start)
      const stop = next === -1 ? bytes.length : next
      count = encodePlain(bytes, start, stop, ids, count)
      if (stop === bytes.length) break
      const special = specialAt(bytes, stop)
      const end = special === -1 ? stop + 2 : stop + (SPECIAL_TOKENS[special]?.length ?? 0)
      if (special === -1) count = encodePlain(bytes, stop, end, ids, count)
      else ids[count++] = special
      start = end
    }
    return ids.slice(0, count)
  }

  encodeText(text: string): Uint32Array {
    return this.encode(text, false)
  }

  encodeChat(
    messages: readonly unknown[],
    tools: readonly unknown[] | null = null,
    addGenerationPrompt = true,
  ): Uint32Array {
    return this.encode(this.renderChat(plainChat(messages, tools, addGenerationPrompt)), false)
  }

  /** Text of ids: exact for words, the special token's text, a stand-in `~xyz` for the rest. */
  decode(ids: Uint32Array | readonly number[]): string {
    let text = ''
    for (const id of ids) text += decodeId(id)
    return text
  }
}

/** Cuts bytes[start, stop), which hold no special token, into pieces; returns the new count. */
function encodePlain(
  bytes: Uint8Array,
  start: number,
  stop: number,
  ids: Uint32Array,
  count: number,
): number {
  let at = start
  let next = count
  while (at < stop) {
    let end = at + 1
    while (end < stop && end - at < PIECE_BYTES_MAX && bytes[end] !== SPACE) end++
    ids[next++] = pieceId(bytes, at, end)
    at = end
  }
  return next
}

/** Id of the special token that starts at `at`, or -1. None is a prefix of another. */
function specialAt(bytes: Buffer, at: number): number {
  for (let id = 0; id < SPECIAL_TOKENS.length; id++) {
    const text = SPECIAL_TOKENS[id] ?? ''
    if (
      bytes.length - at >= text.length &&
      bytes.toString('latin1', at, at + text.length) === text
    ) {
      return id
    }
  }
  return -1
}

function decodeId(id: number): string {
  const special = SPECIAL_TOKENS[id]
  if (special !== undefined) return special
  const word = id >= WORD_FIRST_ID ? id - WORD_FIRST_ID : id
  const a = Math.floor(word / (LETTERS * LETTERS)) % LETTERS
  const b = Math.floor(word / LETTERS) % LETTERS
  const text = String.fromCharCode(LETTER_A + a, LETTER_A + b, LETTER_A + (word % LETTERS))
  return id >= WORD_FIRST_ID ? ` ${text}` : `~${text}`
}

/** Id of the n-th pronounceable word (" bab", " bac" …), for generated text; any n ≥ 0 will do. */
export function wordId(n: number): number {
  const first = LETTER_INDEX[CONSONANTS.charCodeAt(n % CONSONANTS.length)] ?? 0
  const rest = Math.floor(n / CONSONANTS.length)
  const second = LETTER_INDEX[VOWELS.charCodeAt(rest % VOWELS.length)] ?? 0
  const tail = Math.floor(rest / VOWELS.length) % CONSONANTS.length
  const third = LETTER_INDEX[CONSONANTS.charCodeAt(tail)] ?? 0
  return WORD_FIRST_ID + (first * LETTERS + second) * LETTERS + third
}

/** Position in the alphabet by character code. */
const LETTER_INDEX = Uint8Array.from({ length: 128 }, (_, code) =>
  isLetter(code) ? code - LETTER_A : 0,
)
