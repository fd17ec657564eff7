import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  TOY_END_ID,
  TOY_VOCABULARY_SIZE,
  ToyTokenizer,
  wordId,
} from '../../src/prompt/toy_tokenizer.ts'

const toy = new ToyTokenizer()
const user = (content: string) => ({ role: 'user', content })

function concat(a: Uint32Array, b: Uint32Array): Uint32Array {
  return Uint32Array.from([...a, ...b])
}

describe('the toy tokenizer', () => {
  it('gives the same ids in every process and release', () => {
    expect([...toy.encodeText('Hello the cat')]).toEqual([
      toy.encodeText('Hell')[0],
      toy.encodeText('o')[0],
      28222,
      16563,
    ])
    expect(toy.encodeChat([user('hi')])[0]).toBe(4)
    expect(toy.encodeChat([user('hi')]).at(-1)).toBe(5)
    expect([...toy.encodeChat([user('hi')], null, false)].at(-1)).toBe(TOY_END_ID)
  })

  it('stays inside its vocabulary for any text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), text => {
        for (const id of toy.encodeText(text)) expect(id).toBeLessThan(TOY_VOCABULARY_SIZE)
      }),
    )
  })

  it('cuts exactly in front of a special token', () => {
    const part = fc.oneof(fc.string(), fc.constantFrom('<|user|>', '<|end|>', '<|', '<|us', ' a b'))
    const text = fc.array(part).map(parts => parts.join(''))
    fc.assert(
      fc.property(text, text, fc.constantFrom(...toy.boundaries), (before, after, token) => {
        const whole = toy.encodeText(`${before}${token}${after}`)
        expect(whole).toEqual(concat(toy.encodeText(before), toy.encodeText(`${token}${after}`)))
      }),
    )
  })

  it('extends a conversation: the next turn keeps every id of the one before', () => {
    const reply = toy.decode(Uint32Array.from({ length: 40 }, (_, n) => wordId(n * 7919)))
    const first = [user('What is the weather in Paris?')]
    const before = toy.encodeChat(first)
    const after = toy.encodeChat([...first, { role: 'assistant', content: reply }, user('And?')])
    expect(after.subarray(0, before.length)).toEqual(before)
  })

  it('decodes generated words to a text that encodes to the same ids', () => {
    const ids = Uint32Array.from({ length: 2000 }, (_, n) => wordId(n))
    expect(toy.encodeText(toy.decode(ids))).toEqual(ids)
  })

  it('tells chats apart that differ in a tool, a role or a tool call only', () => {
    const texts = [
      toy.encodeChat([user('hi')]),
      toy.encodeChat([{ role: 'system', content: 'hi' }]),
      toy.encodeChat([{ role: 'critic', content: 'hi' }]),
      toy.encodeChat([user('hi')], [{ name: 'a' }]),
      toy.encodeChat([user('hi')], [{ name: 'b' }]),
      toy.encodeChat([{ role: 'assistant', content: 'hi', tool_calls: [{ id: '1' }] }]),
    ].map(ids => ids.join(' '))
    expect(new Set(texts).size).toBe(texts.length)
  })
})
