import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import * as fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import { HfTokenizer } from '../../src/prompt/hf_tokenizer.ts'
import { SegmentMemo } from '../../src/prompt/segment_memo.ts'
import { plainChat } from '../../src/prompt/tokenizer.ts'
import { TokenizerError } from '../../src/prompt/tokenizer_files.ts'
import { ToyTokenizer } from '../../src/prompt/toy_tokenizer.ts'
import { ADDED, tokenizerFolder } from './tokenizer_fixture.ts'

let tokenizer: HfTokenizer

function turn(n: number): string {
  return `<|user|>${`${n}`.repeat(40)}`
}

beforeAll(async () => {
  tokenizer = await HfTokenizer.load(tokenizerFolder())
})

const piece = fc.constantFrom(
  ...ADDED.map(token => token.content),
  ' ',
  '  ',
  '\n',
  'hello',
  ' hello world',
  '<|im_',
  'x',
  'é東🌍',
  'ababab',
  '|>',
)
const text = fc.array(fc.oneof(piece, fc.string({ maxLength: 5 })), { maxLength: 12 })

describe('the tokenizer of a directory', () => {
  it('cuts only in front of tokens that nothing else can swallow', () => {
    // "<|im_end|>" begins "<|im_end|>x", "<think>" is not special, "<mask>" takes spaces.
    expect(tokenizer.boundaries).toEqual(['<|bos|>', '<|im_start|>', '<|im_end|>x'])
  })

  it('gives the same ids from memory as at once, for any text', async () => {
    const memo = new SegmentMemo(tokenizer, 10_000)
    await fc.assert(
      fc.asyncProperty(text, async parts => {
        const whole = parts.join('')
        expect([...(await memo.encode(whole))]).toEqual([...(await tokenizer.encode(whole, false))])
        expect(memo.bytes).toBeLessThanOrEqual(10_000)
      }),
      { numRuns: 400, interruptAfterTimeLimit: 10_000 },
    )
  })

  it('makes only the tokens of the new turn of a growing conversation', async () => {
    const memo = new SegmentMemo(tokenizer, 1_000_000)
    const messages = Array.from({ length: 20 }, (_, n) => ({
      role: n % 2 === 0 ? 'user' : 'assistant',
      content: `turn ${n} ${'hello world '.repeat(50)}`,
    }))
    await memo.encode(tokenizer.renderChat(plainChat(messages)))
    const before = memo.tokensMade
    const grown = [...messages, { role: 'user', content: 'one more' }]
    const ids = await memo.encode(tokenizer.renderChat(plainChat(grown)))
    expect(memo.tokensMade - before).toBeLessThan(60)
    expect(ids.length).toBeGreaterThan(2000)
  })

  it('does not let the file cut prompts short', async () => {
    expect((await tokenizer.encode('hello '.repeat(50), false)).length).toBeGreaterThan(50)
  })

  it('says which file is missing or broken, and what to do', async () => {
    const empty = mkdtempSync(path.join(tmpdir(), 'warmpath-tokenizer-'))
    await expect(HfTokenizer.load(empty)).rejects.toThrow(/tokenizer\.json does not exist: name a/)
    writeFileSync(path.join(empty, 'tokenizer.json'), '{"version":"1.0"}')
    await expect(HfTokenizer.load(empty)).rejects.toThrow(TokenizerError)
    const broken = tokenizerFolder('{% if %}')
    await expect(HfTokenizer.load(broken)).rejects.toThrow(/chat template in .* cannot be compiled/)
    writeFileSync(path.join(broken, 'tokenizer_config.json'), '{')
    await expect(HfTokenizer.load(broken)).rejects.toThrow(/tokenizer_config\.json is no JSON/)
  })

  it('serves completions without a chat template', async () => {
    const bare = await HfTokenizer.load(tokenizerFolder(null))
    expect([...(await bare.encode('hello', true))]).toHaveLength(2)
    expect(() => bare.renderChat(plainChat([{ role: 'user', content: 'hi' }]))).toThrow('template')
  })

  it('prefers a template file, and the tool template when there are tools', async () => {
    const folder = tokenizerFolder()
    const templates = [
      { name: 'default', template: 'default {{ messages[0].content }}' },
      { name: 'tool_use', template: 'tools {{ bos_token }}' },
    ]
    const config = JSON.stringify({ bos_token: '<s>', chat_template: templates })
    writeFileSync(path.join(folder, 'tokenizer_config.json'), config)
    const named = await HfTokenizer.load(folder)
    const messages = [{ role: 'user', content: 'hi' }]
    expect(named.renderChat(plainChat(messages))).toBe('default hi')
    const tool = { type: 'function', function: { name: 'f' } }
    expect(named.renderChat(plainChat(messages, [tool]))).toBe('tools <s>')
    writeFileSync(path.join(folder, 'chat_template.jinja'), 'file')
    expect((await HfTokenizer.load(folder)).renderChat(plainChat(messages, [tool]))).toBe('file')
  })
})

describe('the memory of pieces', () => {
  it('serves the toy tokenizer exactly as well', async () => {
    const toy = new ToyTokenizer()
    const memo = new SegmentMemo(toy, 4000)
    const part = fc.constantFrom(...toy.boundaries, 'hello', ' a', '<|', '<|us', '\n')
    await fc.assert(
      fc.asyncProperty(fc.array(part), async parts => {
        const whole = parts.join('')
        expect([...(await memo.encode(whole))]).toEqual([...toy.encodeText(whole)])
      }),
    )
  })

  it('keeps what was used last when its bytes are spent', async () => {
    const toy = new ToyTokenizer()
    const memo = new SegmentMemo(toy, 1000)
    for (const n of [1, 2, 1, 3]) await memo.encode(turn(n))
    const made = memo.tokensMade
    await memo.encode(turn(1))
    expect(memo.tokensMade).toBe(made)
    await memo.encode('x'.repeat(5000))
    expect(memo.bytes).toBeLessThanOrEqual(1000)
  })
})
