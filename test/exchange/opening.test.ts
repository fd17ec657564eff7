/** A stream that ends by `[DONE]` before it has said anything is found, however it was split. */
import { describe, expect, test } from 'vitest'
import { Opening } from '../../src/exchange/opening.ts'

const ROLE = 'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
const DONE = 'data: [DONE]\n\n'

function chunk(choice: object): string {
  return `data: ${JSON.stringify({ choices: [choice] })}\n\n`
}

/** What of a stream is passed on; null: all of it. */
function passed(pieces: readonly string[]): string | null {
  const opening = new Opening()
  let text = ''
  for (const piece of pieces) {
    const end = opening.emptyEnd(Buffer.from(piece))
    if (end >= 0) return text + piece.slice(0, end)
    text += piece
  }
  return null
}

describe('said nothing', () => {
  test.each([
    ['nothing at all', ''],
    ['roles', ROLE + ROLE],
    ['empty texts', chunk({ index: 0, text: '', finish_reason: null })],
    ['the usage', `${ROLE}data: {"choices":[],"usage":{"completion_tokens":0}}\n\n`],
    ['a comment', `: ping\n\n${ROLE}`],
    ['lines that end otherwise', ROLE.replaceAll('\n', '\r\n')],
  ])('%s', (_, said) => {
    const whole = said + DONE
    expect(passed([whole])).toBe(said)
    for (let at = 1; at <= said.length; at++) {
      expect(passed([whole.slice(0, at), whole.slice(at)])).toBe(said)
    }
    // The beginning of its line has gone where the split is inside of it.
    for (let at = said.length + 1; at < whole.length - 2; at++) {
      const begun = at < said.length + 12 ? whole.slice(0, at) : null
      expect(passed([whole.slice(0, at), whole.slice(at)])).toBe(begun)
    }
  })
})

describe('said something', () => {
  test.each([
    ['a token', chunk({ index: 0, delta: { content: 'x' } })],
    ['a token of a completion', chunk({ index: 0, text: 'x' })],
    ['a call', chunk({ index: 0, delta: { tool_calls: [{ index: 0 }] } })],
    ['reasons', chunk({ index: 0, delta: { reasoning_content: 'x' } })],
    ['why it ends', ROLE + chunk({ index: 0, delta: {}, finish_reason: 'stop' })],
    ['an error', 'data: {"error":{"message":"x"}}\n\n'],
    ['what is no chunk', 'data: what\n\n'],
    ['[DONE] in a text', chunk({ index: 0, delta: { content: DONE } })],
    ['much', ROLE.repeat(40)],
  ])('%s', (_, said) => {
    expect(passed([said + DONE])).toBe(null)
    expect(passed(Array.from(said + DONE))).toBe(null)
  })
})
