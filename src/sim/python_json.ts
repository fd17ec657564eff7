/**
 * Where and why Python's `json` gives up on a text that is no JSON: vLLM tells its clients so.
 * Called only after `JSON.parse` has failed; a plain recursive descent, no value is built.
 */

export interface JsonFault {
  /** Characters from the start. */
  readonly at: number
  readonly message: string
}

const VALUE = 'Expecting value'
const NAME = 'Expecting property name enclosed in double quotes'
/** Deeper texts are reported at this level; Python gives up near it as well. */
const DEPTH_MAX = 900

class Fault extends Error {
  readonly at: number

  constructor(at: number, message: string) {
    super(message)
    this.at = at
  }
}

export function findJsonFault(text: string): JsonFault {
  try {
    const end = space(text, value(text, space(text, 0), 0))
    return { at: end, message: 'Extra data' }
  } catch (error) {
    if (error instanceof Fault) return { at: error.at, message: error.message }
    throw error
  }
}

function space(text: string, start: number): number {
  let at = start
  while (' \t\n\r'.includes(text[at] ?? '.')) at++
  return at
}

/** Position behind the value that starts at `at`. */
function value(text: string, at: number, depth: number): number {
  if (depth > DEPTH_MAX) throw new Fault(at, 'Expecting value')
  const first = text[at]
  if (first === '"') return string(text, at)
  if (first === '{') return object(text, at, depth)
  if (first === '[') return array(text, at, depth)
  const literal = /^(?:null|true|false|NaN|-?Infinity|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)/
  const found = literal.exec(text.slice(at, at + 400))?.[0]
  if (found === undefined) throw new Fault(at, VALUE)
  return at + found.length
}

function string(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    const character = text[at] ?? ''
    if (character === '"') return at + 1
    if (character < ' ') throw new Fault(at, 'Invalid control character at')
    if (character !== '\\') continue
    const escape = text[at + 1]
    if (escape === 'u') {
      if (!/^[0-9a-fA-F]{4}$/.test(text.slice(at + 2, at + 6))) {
        throw new Fault(at + 1, 'Invalid \\\\uXXXX escape')
      }
    } else if (escape !== undefined && !'"\\/bfnrt'.includes(escape)) {
      throw new Fault(at, 'Invalid \\\\escape')
    }
    at++
  }
  throw new Fault(start, 'Unterminated string starting at')
}

function object(text: string, start: number, depth: number): number {
  let at = space(text, start + 1)
  if (text[at] === '}') return at + 1
  for (;;) {
    if (text[at] !== '"') throw new Fault(at, NAME)
    at = space(text, string(text, at))
    if (text[at] !== ':') throw new Fault(at, "Expecting ':' delimiter")
    at = space(text, value(text, space(text, at + 1), depth + 1))
    if (text[at] === '}') return at + 1
    if (text[at] !== ',') throw new Fault(at, "Expecting ',' delimiter")
    at = space(text, at + 1)
  }
}

function array(text: string, start: number, depth: number): number {
  let at = space(text, start + 1)
  if (text[at] === ']') return at + 1
  for (;;) {
    at = space(text, value(text, at, depth + 1))
    if (text[at] === ']') return at + 1
    if (text[at] !== ',') throw new Fault(at, "Expecting ',' delimiter")
    at = space(text, at + 1)
  }
}
