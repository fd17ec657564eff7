import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Tail } from '../../src/exchange/usage.ts'

function usageOf(...chunks: string[]): unknown {
  const tail = new Tail()
  for (const chunk of chunks) {
    const read = Buffer.from(chunk)
    tail.push(read)
    // The buffer of a read is used for the next one.
    read.fill('x')
  }
  return tail.usage()
}

describe('token counts are read off the end of a reply', () => {
  test.each([
    ['chat', '{"prompt_tokens":10,"total_tokens":15,"completion_tokens":5}', 10, 5, -1],
    ['chat, cached', '{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":4}}', 9, 0, 4],
    ['chat, no details', '{"prompt_tokens":9,"prompt_tokens_details":null}', 9, 0, -1],
    [
      'chat, no count',
      '{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":null}}',
      9,
      0,
      -1,
    ],
    ['responses', '{"input_tokens": 7, "input_tokens_details": {"cached_tokens": 3}}', 7, 0, 3],
    ['messages', '{"input_tokens":7,"output_tokens":3,"cache_read_input_tokens":2}', 9, 3, 2],
    ['messages, null', '{"input_tokens":7,"cache_read_input_tokens":null}', 7, 0, 0],
    ['deeper', '{"prompt_tokens":1,"a":{"b":{"cached_tokens":5}}}', 1, 0, -1],
  ])('%s', (_, usage, promptTokens, outputTokens, cachedTokens) => {
    const expected = { promptTokens, outputTokens, cachedTokens }
    expect(usageOf(`{"id":"x","usage":${usage}}`)).toEqual(expected)
    expect(usageOf(`data: {"usage":${usage}}\n\ndata: [DONE]\n\n`)).toEqual(expected)
  })

  test('a stream that reports null, none, or is cut reports nothing', () => {
    expect(usageOf('data: {"usage":null}\n\n')).toBeNull()
    expect(usageOf('data: {"choices":[]}\n\n')).toBeNull()
    expect(usageOf('{"usage":{"prompt_tokens":3,"completion')).toBeNull()
    expect(usageOf('{"usage":{"other":3}}')).toBeNull()
  })

  test('split anywhere, with any counts and any order, it is what a parser reads', () => {
    const count = fc.nat({ max: 2 ** 40 })
    const shape = fc.record({ prompt: count, output: count, cached: count, isLast: fc.boolean() })
    fc.assert(
      fc.property(shape, fc.array(fc.nat()), ({ prompt, output, cached, isLast }, cuts) => {
        const details = { prompt_tokens_details: { cached_tokens: cached, audio_tokens: 1 } }
        const usage = { prompt_tokens: prompt, completion_tokens: output }
        const whole = isLast ? { ...usage, ...details } : { ...details, ...usage }
        const text = JSON.stringify({ id: 'a "usage": b', usage: whole })
        const at = cuts.map(cut => cut % (text.length + 1)).toSorted((a, b) => a - b)
        const chunks = [0, ...at].map((from, i) => text.slice(from, at[i] ?? text.length))
        const expected = { promptTokens: prompt, outputTokens: output, cachedTokens: cached }
        expect(usageOf(...chunks)).toEqual(expected)
      }),
    )
  })
})
