import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { textKeys } from '../../src/native/chain_hash.ts'
import {
  CHUNK_BYTES_MAX,
  canonicalKeys,
  MEMBERS_MAX,
  numberCount,
  PROMPT_KINDS,
  type PromptKind,
  SPAN_WORDS,
  STATE_DIGEST,
  STATE_TEXT_BYTES,
  scanJson,
} from '../../src/native/json_scan.ts'

const spans = new Uint32Array(MEMBERS_MAX * SPAN_WORDS)

function keys(
  json: string,
  {
    kind = 'chat',
    root = 7n,
    chunk = 8,
    max = 4096,
  }: {
    kind?: PromptKind
    root?: bigint
    chunk?: number
    max?: number
  } = {},
): { keys: bigint[]; digest: bigint; bytes: number } {
  const body = Buffer.from(json)
  const count = scanJson(body, spans)
  if (count < 0) throw new Error(`not JSON: ${json}`)
  const state = BigUint64Array.of(root, 0n, 0n)
  const out = new BigUint64Array(max)
  const index = PROMPT_KINDS.indexOf(kind)
  const found = canonicalKeys(body, spans, count, index, state, chunk, out)
  return {
    keys: [...out.subarray(0, found)],
    digest: state[STATE_DIGEST] ?? 0n,
    bytes: Number(state[STATE_TEXT_BYTES]),
  }
}

const chat = (messages: unknown[], more: object = {}): string =>
  JSON.stringify({ ...more, messages })
const message = fc.record({ role: fc.constantFrom('user', 'system'), content: fc.string() })

describe('the canonical text of a prompt', () => {
  it('has one key for each whole chunk', () => {
    // 0"messages":[{"role":"user","content":"hi"}
    const { keys: found, bytes } = keys(chat([{ role: 'user', content: 'hi' }]))
    expect(bytes).toBe(43)
    expect(found).toHaveLength(5)
    expect(new Set(found).size).toBe(5)
  })

  it('is chained by the very function that all other keys are made with', () => {
    fc.assert(
      fc.property(fc.array(fc.jsonValue()), fc.integer({ min: 1, max: 99 }), (values, chunk) => {
        const body = { tools: [{ a: 1 }], messages: values, model: 'm' }
        const canonical = `0"tools":[{"a":1}],"messages":${JSON.stringify(values).slice(0, -1)}`
        const bytes = Buffer.from(canonical)
        const wanted = new BigUint64Array(Math.floor(bytes.length / chunk))
        textKeys(BigUint64Array.of(7n), bytes, 0, bytes.length, chunk, wanted)
        const found = keys(JSON.stringify(body, null, 1), { chunk })
        expect(found.keys).toEqual([...wanted])
        expect(found.bytes).toBe(bytes.length)
      }),
    )
  })

  it('does not depend on whitespace between tokens or on fields that make no prompt', () => {
    fc.assert(
      fc.property(fc.array(fc.jsonValue()), fc.integer({ max: 9 }), (values, indent) => {
        const plain = keys(JSON.stringify({ messages: values }))
        const body = { model: 'm', messages: values, temperature: 0.5, other: [1] }
        expect(keys(JSON.stringify(body, null, indent))).toEqual(plain)
        expect(keys(JSON.stringify({ messages: values }, null, '\t\r\n'))).toEqual(plain)
      }),
    )
  })

  it('is extended by the next turn of a conversation', () => {
    const turns = fc.array(message, { minLength: 1, maxLength: 6 })
    fc.assert(
      fc.property(turns, turns, (first, next) => {
        const before = keys(chat(first))
        const after = keys(chat([...first, ...next]))
        expect(after.keys.slice(0, before.keys.length)).toEqual(before.keys)
        expect(after.digest).not.toBe(before.digest)
      }),
    )
    const short = keys('{"prompt":"The quick brown "}', { kind: 'completion' })
    const long = keys('{"prompt":"The quick brown fox"}', { kind: 'completion' })
    expect(short.keys).toHaveLength(3)
    expect(long.keys.slice(0, 3)).toEqual(short.keys)
  })

  it('tells apart what a chat template would tell apart, from the first key on', () => {
    const user = [{ role: 'user', content: 'What is the weather like in Paris today?' }]
    const bodies = [
      chat(user),
      chat([{ role: 'tool', content: 'What is the weather like in Paris today?' }]),
      chat(user, { tools: [{ name: 'a' }] }),
      chat(user, { tools: [{ name: 'b' }] }),
      chat(user, { chat_template_kwargs: { enable_thinking: false } }),
      chat(user, { documents: [{ text: 'x' }] }),
      chat(user, { system: 'You are kind.' }),
      chat(user, { instructions: 'You are kind.' }),
    ]
    const found = bodies.map(body => keys(body, { chunk: 64 }).keys[0])
    expect(new Set(found).size).toBe(bodies.length)
    expect(keys(chat(user), { kind: 'messages' }).keys[0]).not.toBe(keys(chat(user)).keys[0])
    expect(keys(chat(user), { root: 8n }).keys[0]).not.toBe(keys(chat(user)).keys[0])
  })

  it('names options in the digest, which leaves the keys alone', () => {
    const plain = keys(chat([{ role: 'user', content: 'hi' }]))
    for (const option of ['echo', 'add_generation_prompt', 'truncate_prompt_tokens', 'n']) {
      const other = keys(chat([{ role: 'user', content: 'hi' }], { [option]: 1 }))
      expect(other.keys).toEqual(plain.keys)
      expect(other.digest).not.toBe(plain.digest)
    }
    const closed = keys('{"prompt":"ab"}', { kind: 'completion' })
    expect(keys('{"prompt":"abc"}', { kind: 'completion' }).digest).not.toBe(closed.digest)
  })

  it('takes the last duplicate, and null as absent', () => {
    const plain = keys('{"messages":[1,2,3,4,5,6,7]}')
    expect(keys('{"messages":[9],"tools":[1],"tools":null,"messages":[1,2,3,4,5,6,7]}')).toEqual(
      plain,
    )
  })

  it('keys token arrays by content', () => {
    const a = keys('{"prompt":[1,2,3,4,5,6,7,8,9]}', { kind: 'completion' })
    const b = keys('{"prompt":[1,2,3,4,5,6,7,8,8]}', { kind: 'completion', chunk: 4 })
    expect(a.digest).not.toBe(b.digest)
  })

  it('reaches the limit of keys without writing past it', () => {
    const body = chat([{ role: 'user', content: 'x'.repeat(5000) }])
    const all = keys(body)
    const some = keys(body, { max: 3 })
    expect(some.keys).toEqual(all.keys.slice(0, 3))
    expect([some.digest, some.bytes]).toEqual([all.digest, all.bytes])
    expect(keys(body, { max: 0 }).keys).toEqual([])
  })

  it('chains the same however the text comes in runs', () => {
    const odd = fc.string({
      unit: fc.constantFrom('a', '"', '\\', 'é', '漢', ' ', '\n'),
      maxLength: 90,
    })
    fc.assert(
      fc.property(odd, fc.integer({ min: 1, max: CHUNK_BYTES_MAX }), (text, chunk) => {
        const list = [text, { [text]: text }]
        const minified = JSON.stringify({ messages: list })
        const spaced = JSON.stringify({ messages: list }, null, 3)
        expect(keys(spaced, { chunk })).toEqual(keys(minified, { chunk }))
      }),
    )
  })

  it('throws a TypeError for arguments that are none', () => {
    const body = Buffer.from('{}')
    const state = new BigUint64Array(3)
    const out = new BigUint64Array(1)
    expect(() => canonicalKeys(body, spans, MEMBERS_MAX + 1, 0, state, 64, out)).toThrow(TypeError)
    expect(() => canonicalKeys(body, spans, 0, 5, state, 64, out)).toThrow('kind')
    expect(() => canonicalKeys(body, spans, 0, 0, new BigUint64Array(2), 64, out)).toThrow('state')
    expect(() => canonicalKeys(body, spans, 0, 0, state, 0, out)).toThrow('chunkBytes')
  })
})

describe('the numbers of several prompts', () => {
  it.each([
    ['[[1,22,333],[4]]', 4],
    ['[ [ 10 , 20 ] , [ ] , [30]]', 3],
    ['[[]]', 0],
    ['[[4294967295]]', 1],
  ])('%s', (json, count) => {
    const body = Buffer.from(`{"prompt":${json}}`)
    expect(numberCount(body, 10, body.length - 1)).toBe(count)
    expect(() => numberCount(body, 9, body.length)).toThrow(TypeError)
  })
})
