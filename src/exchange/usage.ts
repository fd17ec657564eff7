/**
 * Reads the engine's token counts out of the last bytes of a reply, once an exchange.
 *
 * A stream carries `usage` in its last chunk or two before `[DONE]`, a plain reply near its end;
 * so the last occurrence of the key within the last pieces is looked for and parsed alone. Each
 * API counts differently (observed on vLLM 0.32):
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

/** Bytes of a reply's end that are kept for reading its usage. */
const TAIL_BYTES_MAX = 16_384

/**
 * The last pieces of a reply. It keeps references to undici's chunks, not copies: at most two
 * chunks live longer than their turn.
 */
export class Tail {
  #last: Buffer | null = null
  #before: Buffer | null = null

  push(chunk: Buffer): void {
    this.#before = this.#last
    this.#last = chunk
  }

  usage(): Usage | null {
    if (this.#last === null) return null
    const last = this.#last.subarray(-TAIL_BYTES_MAX)
    const found = readUsage(last)
    if (found !== null || this.#before === null) return found
    return readUsage(Buffer.concat([this.#before.subarray(-TAIL_BYTES_MAX), last]))
  }
}

/** The usage in `tail`, or null when there is none or it was cut. */
function readUsage(tail: Buffer): Usage | null {
  let at = tail.lastIndexOf(KEY)
  while (at >= 0) {
    const start = at + KEY.length
    const end = objectEnd(tail, start)
    if (end > 0) return usageOf(tail.toString('utf8', start, end))
    if (at === 0) return null
    at = tail.lastIndexOf(KEY, at - 1)
  }
  return null
}

/** Offset after the object that opens at or after `start`, or 0 (`null`, or cut). */
function objectEnd(bytes: Buffer, start: number): number {
  let at = start
  while (bytes[at] === 0x20) at++
  if (bytes[at] !== OPEN) return 0
  let depth = 0
  for (; at < bytes.length; at++) {
    const byte = bytes[at]
    // Usage holds names and numbers; a quote inside a name would be strange enough to give up.
    if (byte === QUOTE) at = bytes.indexOf(QUOTE, at + 1)
    if (at < 0) return 0
    if (byte === OPEN) depth++
    else if (byte === CLOSE && --depth === 0) return at + 1
  }
  return 0
}

interface RawUsage {
  prompt_tokens?: number
  completion_tokens?: number
  prompt_tokens_details?: { cached_tokens?: number | null } | null
  input_tokens?: number
  output_tokens?: number
  input_tokens_details?: { cached_tokens?: number | null } | null
  cache_read_input_tokens?: number | null
}

function usageOf(text: string): Usage | null {
  let raw: RawUsage
  try {
    // Decode boundary: every field is optional and read as a number only.
    raw = JSON.parse(text) as RawUsage
  } catch {
    return null
  }
  if (typeof raw.prompt_tokens === 'number') {
    const cachedTokens = raw.prompt_tokens_details?.cached_tokens ?? -1
    return {
      promptTokens: raw.prompt_tokens,
      outputTokens: raw.completion_tokens ?? 0,
      cachedTokens,
    }
  }
  if (typeof raw.input_tokens !== 'number') return null
  const outputTokens = raw.output_tokens ?? 0
  if (raw.cache_read_input_tokens !== undefined) {
    const cachedTokens = raw.cache_read_input_tokens ?? 0
    return { promptTokens: raw.input_tokens + cachedTokens, outputTokens, cachedTokens }
  }
  const cachedTokens = raw.input_tokens_details?.cached_tokens ?? -1
  return { promptTokens: raw.input_tokens, outputTokens, cachedTokens }
}
