/**
 * The opening of a chat or completion stream: as long as nothing has been said in it, its end is no
 * answer.
 *
 *   data: [DONE]                                       the node died before its first token
 *   …"delta":{"role":"assistant","content":""}…  [DONE]                             as well
 *   …"delta":{},"finish_reason":"stop"…  [DONE]                      an answer without text
 *   …"delta":{"content":"x"}…                                            something was said
 *
 * vLLM ends a stream so when its engine is lost in the wrong moment (vllm PR #40986). Costs a copy
 * and a search of the chunks up to the first text, mostly two; they are decoded only if `[DONE]`
 * comes before one.
 */
import { isRecord } from '../record.ts'

/** Bytes of an opening: a stream that is longer has said something. */
const OPENING_BYTES_MAX = 2048

const DONE = '[DONE]'
/** A text that is not empty, as every chunk with a token has one; inside of a text it is escaped. */
const SAID = /"(?:content|text)":"[^"]/
/** Not the same words inside of a text: in JSON they have no line of their own. */
const DONE_LINE = /^data: ?\[DONE\]/m
const DATA = /^data: ?(.*)$/gm
/** Members of a choice and of its delta that say nothing by themselves. */
const SILENT = new Set(['index', 'delta', 'role'])

export class Opening {
  #text: string | null = ''
  /** The end of it, in which the beginning of a `[DONE]` may stand. */
  #tail = ''

  /** Offset in `chunk` of the end of a stream in which nothing was said; -1 where it goes on. */
  emptyEnd(chunk: Buffer): number {
    if (this.#text === null) return -1
    const before = this.#text.length
    const piece = before + chunk.length > OPENING_BYTES_MAX ? '' : chunk.toString('latin1')
    if (piece === '' || SAID.test(piece)) {
      this.#text = null
      return -1
    }
    const isEnding = (this.#tail + piece).includes(DONE)
    this.#text += piece
    this.#tail = piece.slice(1 - DONE.length)
    return isEnding ? this.#end(before) : -1
  }

  /** Where it ends without a word, behind the `before` bytes of earlier chunks. */
  #end(before: number): number {
    const text = this.#text ?? ''
    const end = DONE_LINE.exec(text)?.index ?? -1
    if (end >= 0 && !saysSomething(text.slice(0, end))) return Math.max(0, end - before)
    if (end >= 0) this.#text = null
    return -1
  }
}

function saysSomething(events: string): boolean {
  for (const [, data = ''] of events.matchAll(DATA)) {
    const chunk = decoded(data)
    // What is no chunk, an error for one, is not ours to judge.
    if (!isRecord(chunk) || !Array.isArray(chunk['choices'])) return true
    if (chunk['choices'].some(isTelling)) return true
  }
  return false
}

function isTelling(choice: unknown): boolean {
  if (!isRecord(choice)) return true
  const { delta } = choice
  return hasMore(choice) || (isRecord(delta) && hasMore(delta))
}

function hasMore(members: Readonly<Record<string, unknown>>): boolean {
  return Object.entries(members).some(([name, value]) => {
    const isEmpty = value === null || value === '' || (Array.isArray(value) && value.length === 0)
    return !isEmpty && !SILENT.has(name)
  })
}

function decoded(data: string): unknown {
  try {
    return JSON.parse(data)
  } catch {
    return null
  }
}
