import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type SimNode, startSimNode } from '../../src/sim/sim_node.ts'
import { answer, post } from './node_client.ts'

const SPECIAL = ['<unk>', '<|im_start|>', '<|im_end|>']
const WORDS = Array.from({ length: 26 }, (_, n) => `word${String.fromCharCode(97 + n)}`)

/** A vocabulary of words with and without a leading space (Ġ), cut as byte-level models do. */
function tokenizerJson(): string {
  const plain = ['system', 'user', 'assistant', 'Ċ', 'Ġ', ...WORDS]
  const texts = [...SPECIAL, ...plain, ...WORDS.map(word => `Ġ${word}`)]
  const bytes = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true }
  const added = SPECIAL.map((content, id) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  }))
  const vocab = Object.fromEntries(texts.map((text, id) => [text, id]))
  return JSON.stringify({
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: added,
    normalizer: null,
    pre_tokenizer: bytes,
    post_processor: null,
    decoder: bytes,
    model: { type: 'WordLevel', vocab, unk_token: '<unk>' },
  })
}

const TEMPLATE =
  "{% for m in messages %}<|im_start|>{{ m.role + '\\n' + m.content }}<|im_end|>\n{% endfor %}" +
  '{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}'

let folder: string
let node: SimNode

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'warmpath-tokenizer-'))
  writeFileSync(path.join(folder, 'tokenizer.json'), tokenizerJson())
  const config = { chat_template: TEMPLATE, eos_token: '<|im_end|>' }
  writeFileSync(path.join(folder, 'tokenizer_config.json'), JSON.stringify(config))
  node = await startSimNode({ tokenizer: folder, timeFactor: 0, blockSize: 4 })
})

afterAll(async () => {
  await node.close()
  rmSync(folder, { recursive: true })
})

describe('a node with a real tokenizer', () => {
  it('encodes and spells as the vocabulary says', async () => {
    const body = { prompt: 'worda wordb', return_token_strs: true }
    const reply = JSON.parse(await (await post(node, '/tokenize', body)).text())
    expect(reply.token_strs).toEqual(['worda', 'Ġwordb'])
    const text = await (await post(node, '/detokenize', { tokens: reply.tokens })).text()
    expect(text).toBe('{"prompt":"worda wordb"}')
  })

  it('renders the chat template', async () => {
    const messages = [{ role: 'user', content: 'worda' }]
    const body = { messages, return_token_strs: true }
    const reply = JSON.parse(await (await post(node, '/tokenize', body)).text())
    expect(reply.token_strs.join('')).toBe(
      '<|im_start|>userĊworda<|im_end|>Ċ<|im_start|>assistantĊ',
    )
  })

  it('answers in words that come back as the same tokens', async () => {
    const messages = [{ role: 'user', content: 'worda wordb wordc' }]
    const first = await answer(node, { messages, max_tokens: 40 })
    const content = first.choices[0]?.message.content ?? ''
    expect(content).toMatch(/^( word[a-z]){40}$/)
    messages.push({ role: 'assistant', content }, { role: 'user', content: 'wordd' })
    const { prompt_tokens: prompt, prompt_tokens_details: details } = (
      await answer(node, { messages })
    ).usage
    // The newest turn (end, line, start, role, line, word …) and an incomplete block are new.
    expect(details.cached_tokens).toBeGreaterThan(40)
    expect(prompt - details.cached_tokens).toBeLessThan(20)
  })
})
