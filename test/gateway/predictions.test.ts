/**
 * What the index says of a request is what the node reports: the gateway makes the very tokens of
 * the node, for every form in which a prompt may come.
 */
import { describe, expect, it } from 'vitest'
import { metric, until } from './gateway.ts'
import { useStage } from './stage.ts'

const TEXT = 'The quick brown fox jumps over the lazy dog. '.repeat(20)
const HELD = 'warmpath_index_held_blocks{model="sim",block_size="16"}'

function user(content: string): object {
  return { messages: [{ role: 'user', content }], max_tokens: 2 }
}

/** No two prompts begin alike, nor do their tools, which come first. */
function toolNamed(name: string): object {
  return { name, description: 'looks', parameters: { type: 'object' } }
}

function chatTool(name: string): object {
  return { type: 'function', function: toolNamed(name) }
}

const RESPONSE = { store: false, max_output_tokens: 2 }

describe('a prompt that is sent again', () => {
  const stage = useStage({
    threads: 1,
    timeFactor: 0,
    config: 'models:\n  - name: sim\n    tokenizer: toy\n',
  })

  async function ask(path: string, body: object): Promise<Record<string, unknown>> {
    const { gateway } = stage
    const before = gateway.exchanges().length
    const reply = await fetch(`${gateway.url}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    expect([reply.status, await reply.text()]).toMatchObject([200, expect.any(String)])
    return until(() => gateway.exchanges()[before], 'the log line')
  }

  it.each([
    ['chat', '/v1/chat/completions', user(`a ${TEXT}`)],
    ['chat with tools', '/v1/chat/completions', { ...user(`b ${TEXT}`), tools: [chatTool('b')] }],
    [
      'chat with tools that must not be called',
      '/v1/chat/completions',
      { ...user(`c ${TEXT}`), tools: [chatTool('c')], tool_choice: 'none' },
    ],
    [
      'chat with special tokens',
      '/v1/chat/completions',
      { ...user(`d ${TEXT}`), add_special_tokens: true },
    ],
    ['a completion', '/v1/completions', { prompt: `e ${TEXT}`, max_tokens: 2 }],
    ['a response', '/v1/responses', { input: `f ${TEXT}`, ...RESPONSE }],
    [
      'a response with tools',
      '/v1/responses',
      { input: `g ${TEXT}`, tools: [{ type: 'function', ...toolNamed('g') }], ...RESPONSE },
    ],
    [
      'a chat that names no model',
      '/v1/chat/completions',
      { ...user(`h ${TEXT}`), model: undefined },
    ],
  ])('%s: the node reuses what the index says', async (_name, path, body) => {
    const asked = { model: 'sim', ...body }
    const before = await metric(stage.gateway, HELD)
    expect(await ask(path, asked)).toMatchObject({ index_cached: 0, reported_cached: 0 })
    await until(async () => (await metric(stage.gateway, HELD)) > before, 'the blocks')
    const again = await ask(path, asked)
    expect(again['reported_cached']).toBeGreaterThan(200)
    expect(again['index_cached']).toBe(again['reported_cached'])
  })
})
