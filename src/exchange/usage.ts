/**
 * Reads the engine's token counts out of the last bytes of a reply, once an exchange.
 *
 * A stream carries `usage` in its last chunk or two before `[DONE]`, a plain reply near its end;
 * so the last occurrence of the key within the last bytes is looked for, and its numbers are read
 * off the bytes: a decoded object would cost more and be thrown away at once. Each API
 * counts differently (observed on vLLM 0.32):
 *
 * | API | prompt tokens | cached |
 * | --- | --- | --- |
 * | chat, completions | `prompt_tokens` | `prompt_tokens_details.cached_tokens` |
 * | responses | `input_tokens` | `input_tokens_details.cached_tokens` |
 * | messages | `input_tokens` **without** the cached | `cache_read_input_tokens` |
 */

export interface Usage {
  readonly promptTokens: number
  readonly outputTokens: number
  /** -1 where the engine does not say. */
  readonly cachedTokens: number
}

const KEY = Buffer.from('"usage":')
const OPEN = 0x7b
const CLOSE = 0x7d
const QUOTE = 0x22
const COLON = 0x3a
const SPACE = 0x20
const ZERO = 0x30

/** The counts that are read, and the place of each in `counts`. */
const NAMES = [
  'prompt_tokens',
  'completion_tokens',
  'input_tokens',
  'output_tokens',
  'cached_tokens',
  'cache_read_input_tokens',
].map(name => Buffer.from(name))
const PROMPT = 0
const COMPLETION = 1
const INPUT = 2
const OUTPUT = 3
const CACHED = 4
const CACHE_READ = 5
/** In `counts`: the member is not there, or is no number. */
const ABSENT = -1
/** In `counts`: the member is there and is `null`. */
const NULL = -2
/** Details stand one object deeper; what lies below them is not ours. */
const DEPTH_MAX = 2

const counts = new Float64Array(NAMES.length)

const EMPTY = Buffer.alloc(0)

/** Bytes of a piece's end that are kept for reading the usage. */
const TAIL_BYTES_MAX = 16_384

/** Bytes of a part of a tail at least: pieces of a token or two share one. */
const PART_BYTES_MIN = 1024

/** Copies of pieces that lie one behind the other. */
class TailPart {
  #room = EMPTY
  #size = 0

  get bytes(): Buffer {
    return this.#room.subarray(0, this.#size)
  }

  /** False: there is no room for it. */
  add(piece: Buffer): boolean {
    if (this.#size + piece.length > this.#room.length) return false
    this.#room.set(piece, this.#size)
    this.#size += piece.length
    return true
  }

  /** Forgets what it holds for this piece's end. */
  begin(piece: Buffer): void {
    const end = piece.length > TAIL_BYTES_MAX ? piece.subarray(-TAIL_BYTES_MAX) : piece
    const size = Math.max(end.length, PART_BYTES_MIN)
    if (size > this.#room.length) this.#room = Buffer.allocUnsafe(size)
    this.#size = 0
    this.add(end)
  }
}

/**
 * The end of a reply, in two parts: when the last one is full, the one before it is used again. So
 * at least its last KiB is there, in whatever pieces it came, or all of its last piece.
 */
export class Tail {
  #last = new TailPart()
  #before = new TailPart()

  push(piece: Buffer): void {
    if (this.#last.add(piece)) return
    const full = this.#last
    this.#last = this.#before
    this.#before = full
    this.#last.begin(piece)
  }

  usage(): Usage | null {
    const last = this.#last.bytes
    return readUsage(last) ?? readUsage(Buffer.concat([this.#before.bytes, last]))
  }
}

/** The usage in `tail`, or null when there is none or it was cut. */
function readUsage(tail: Buffer): Usage | null {
  let at = tail.lastIndexOf(KEY)
  while (at >= 0) {
    if (readCounts(tail, at + KEY.length)) return usageOfCounts()
    if (at === 0) return null
    at = tail.lastIndexOf(KEY, at - 1)
  }
  return null
}

/** Reads the object that opens at `start` into `counts`; false for `null`, or when it was cut. */
function readCounts(bytes: Buffer, start: number): boolean {
  counts.fill(ABSENT)
  let at = skipSpace(bytes, start)
  if (bytes[at] !== OPEN) return false
  let depth = 0
  for (; at < bytes.length; at++) {
    const byte = bytes[at]
    if (byte === OPEN) depth++
    else if (byte === CLOSE && --depth === 0) return true
    if (byte !== QUOTE) continue
    // Usage holds names and numbers; a quote inside a name would be strange enough to give up.
    let end = at + 1
    while (end < bytes.length && bytes[end] !== QUOTE) end++
    const name = depth <= DEPTH_MAX ? nameAt(bytes, at + 1, end) : -1
    at = end
    if (name >= 0) readCount(bytes, end + 1, name)
  }
  return false
}

function nameAt(bytes: Buffer, start: number, end: number): number {
  for (let name = 0; name < NAMES.length; name++) {
    const wanted = NAMES[name] ?? KEY
    if (wanted.length !== end - start || wanted[0] !== bytes[start]) continue
    let same = 1
    while (same < wanted.length && wanted[same] === bytes[start + same]) same++
    if (same === wanted.length) return name
  }
  return -1
}

/** The number behind a name's colon, if it is one. */
function readCount(bytes: Buffer, start: number, name: number): void {
  let at = skipSpace(bytes, start)
  if (bytes[at] !== COLON) return
  at = skipSpace(bytes, at + 1)
  if (bytes[at] === 0x6e) {
    counts[name] = NULL
    return
  }
  let value = 0
  const first = at
  for (; at < bytes.length; at++) {
    const digit = (bytes[at] ?? 0) - ZERO
    if (digit < 0 || digit > 9) break
    value = value * 10 + digit
  }
  if (at > first) counts[name] = value
}

function skipSpace(bytes: Buffer, start: number): number {
  let at = start
  while (bytes[at] === SPACE) at++
  return at
}

function count(name: number, otherwise: number): number {
  const value = counts[name] ?? ABSENT
  return value < 0 ? otherwise : value
}

function usageOfCounts(): Usage | null {
  const cached = count(CACHED, -1)
  const prompt = count(PROMPT, -1)
  if (prompt >= 0) {
    return { promptTokens: prompt, outputTokens: count(COMPLETION, 0), cachedTokens: cached }
  }
  const input = count(INPUT, -1)
  if (input < 0) return null
  const outputTokens = count(OUTPUT, 0)
  if (counts[CACHE_READ] === ABSENT) {
    return { promptTokens: input, outputTokens, cachedTokens: cached }
  }
  const cachedTokens = count(CACHE_READ, 0)
  return { promptTokens: input + cachedTokens, outputTokens, cachedTokens }
}
