/**
 * The contract of a drop-in gateway: what a client gets through Warmpath is what it gets from the
 * node, byte for byte, and what the node gets is what the client sent.
 */
import OpenAI from 'openai'
import { beforeEach, describe, expect, test } from 'vitest'
import { until } from './gateway.ts'
import { useStage } from './stage.ts'

const MESSAGES = [
  { role: 'system', content: 'You are terse.' },
  { role: 'user', content: 'Name three colours, ünïcödé included.' },
]
const TOOL = {
  type: 'function',
  function: {
    name: 'paint',
    parameters: { type: 'object', properties: { c: { type: 'string' } } },
  },
}

interface Case {
  readonly name: string
  readonly path: string
  readonly body: Record<string, unknown>
}

const chat = (extra: Record<string, unknown>): Record<string, unknown> => ({
  model: 'sim',
  messages: MESSAGES,
  max_tokens: 12,
  ...extra,
})

const CASES: readonly Case[] = [
  { name: 'a plain chat', path: '/v1/chat/completions', body: chat({}) },
  { name: 'a streamed chat', path: '/v1/chat/completions', body: chat({ stream: true }) },
  {
    name: 'a stream with usage',
    path: '/v1/chat/completions',
    body: chat({ stream: true, stream_options: { include_usage: true } }),
  },
  {
    name: 'usage on every chunk',
    path: '/v1/chat/completions',
    body: chat({
      stream: true,
      stream_options: { include_usage: true, continuous_usage_stats: true },
    }),
  },
  {
    name: 'log probabilities',
    path: '/v1/chat/completions',
    body: chat({ logprobs: true, top_logprobs: 2 }),
  },
  {
    name: 'streamed tool calls',
    path: '/v1/chat/completions',
    body: chat({ stream: true, tools: [TOOL], tool_choice: 'required' }),
  },
  { name: 'two choices', path: '/v1/chat/completions', body: chat({ n: 2, stream: true }) },
  {
    name: 'completions',
    path: '/v1/completions',
    body: { model: 'sim', prompt: 'Once upon a time', max_tokens: 9 },
  },
  {
    name: 'streamed completions',
    path: '/v1/completions',
    body: { model: 'sim', prompt: 'Once upon a time', max_tokens: 9, stream: true },
  },
  { name: 'embeddings', path: '/v1/embeddings', body: { model: 'sim', input: 'some text' } },
  { name: 'responses', path: '/v1/responses', body: { model: 'sim', input: 'Say hello.' } },
  {
    name: 'streamed responses',
    path: '/v1/responses',
    body: { model: 'sim', input: 'Say hello.', stream: true },
  },
  {
    name: 'messages',
    path: '/v1/messages?beta=true',
    body: { model: 'sim', max_tokens: 9, messages: [{ role: 'user', content: 'hi' }] },
  },
  {
    name: 'streamed messages',
    path: '/v1/messages',
    body: {
      model: 'sim',
      max_tokens: 9,
      stream: true,
      messages: [{ role: 'user', content: 'hi' }],
    },
  },
  { name: 'tokenize', path: '/tokenize', body: { model: 'sim', prompt: 'some words' } },
  {
    name: 'rerank',
    path: '/v1/rerank',
    body: { model: 'sim', query: 'a', documents: ['b', 'c'] },
  },
  {
    name: 'a context that is too long',
    path: '/v1/chat/completions',
    body: chat({ max_tokens: 1e7 }),
  },
  { name: 'a body the node refuses', path: '/v1/chat/completions', body: { model: 'sim' } },
  {
    name: 'a field of the wrong type',
    path: '/v1/chat/completions',
    body: chat({ temperature: 'hot' }),
  },
]

/** What may differ between two runs: ids and times. */
function normalised(text: string): string {
  return text
    .replaceAll(
      /"(chatcmpl|cmpl|embd|resp|msg|rs|call|chatcmpl-tool|score|rerank)[-_][^"]*"/g,
      '"$1"',
    )
    .replaceAll(/"(created|created_at|completed_at)":[0-9.]+/g, '"$1":0')
}

async function ask(
  origin: string,
  one: Case,
): Promise<{ status: number; type: string; text: string }> {
  const response = await fetch(origin + one.path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(one.body),
  })
  const type = response.headers.get('content-type') ?? ''
  return { status: response.status, type, text: normalised(await response.text()) }
}

describe.each([1, 2])('with %i gateway threads', threads => {
  const stage = useStage({ threads, timeFactor: 0 })

  beforeEach(async () => {
    await fetch(`${stage.node.url}/reset_prefix_cache`, { method: 'POST' })
  })

  test.each(CASES)('$name is the same as direct', async one => {
    const direct = await ask(stage.node.url, one)
    await fetch(`${stage.node.url}/reset_prefix_cache`, { method: 'POST' })
    const through = await ask(stage.gateway.url, one)
    expect(through.text).toBe(direct.text)
    expect(through.status).toBe(direct.status)
    // The gateway names the charset of every stream.
    expect(through.type.replace('; charset=utf-8', '')).toBe(
      direct.type.replace('; charset=utf-8', ''),
    )
  })

  test('unknown fields, large integers and duplicates reach the node byte for byte', async () => {
    const body =
      '{ "model":"sim",\n "messages":[{"role":"user","content":"x","extra":1.0}],' +
      '"seed":12345678901234567890,' +
      '"vllm_xargs":{"mine":[1]}, "custom":{"a":1e400000, "a":2}, "max_tokens":1 }'
    const before = stage.node.requests.length
    const reply = await fetch(`${stage.gateway.url}/v1/chat/completions?trace=a%20b&x=1`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-my-header': 'kept' },
      body,
    })
    await reply.text()
    const seen = stage.node.requests.slice(before).find(one => one.method === 'POST')
    expect(seen?.body.toString()).toBe(body)
    expect(seen?.url).toBe('/v1/chat/completions?trace=a%20b&x=1')
    expect(seen?.rawHeaders.join('\n')).toContain('x-my-header\nkept')
  })

  test('fields that steer an engine are stripped, all else stays', async () => {
    const body =
      '{"kv_transfer_params":{"remote_host":"evil"},"model":"sim","request_id":"mine",' +
      '"messages":[{"role":"user","content":"x"}],"kv_transfer\\u005fparams":{},"max_tokens":1}'
    const reply = await fetch(`${stage.gateway.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-data-parallel-rank': '7' },
      body,
    })
    expect(reply.status).toBe(200)
    await reply.text()
    const seen = stage.node.requests.at(-1)
    expect(seen?.body.toString()).toBe(
      '{"model":"sim","messages":[{"role":"user","content":"x"}],"max_tokens":1}',
    )
    expect(seen?.rawHeaders.map(one => one.toLowerCase())).not.toContain('x-data-parallel-rank')
  })

  function send(path: string, body: object): Promise<Response> {
    return fetch(stage.gateway.url + path, { method: 'POST', body: JSON.stringify(body) })
  }

  async function loggedAs(id: string, body: object): Promise<Record<string, unknown>> {
    const reply = await fetch(`${stage.gateway.url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-request-id': id },
      body: JSON.stringify({ model: 'sim', max_tokens: 1, ...body }),
    })
    await reply.text()
    return until(
      () => stage.gateway.exchanges().find(line => line.client_id === id),
      `line of ${id}`,
    )
  }

  test('the log line has the request id of the client', async () => {
    const { id } = await loggedAs('from the client', { prompt: 'x' })
    expect(id).not.toBe('from the client')
  })

  test('an answer says how long it waited and what the gateway took', async () => {
    const plain = await send('/v1/chat/completions', chat({}))
    expect(plain.headers.get('x-warmpath-queue-ms')).toBe('0.00')
    expect(Number(plain.headers.get('x-warmpath-overhead-ms'))).toBeGreaterThan(0)
    expect(plain.headers.get('request-id')).toBeNull()
    const messages = [{ role: 'user', content: 'hi' }]
    const asked = { model: 'sim', max_tokens: 9, messages }
    const message = await send('/v1/messages', asked)
    expect(message.headers.get('request-id')).toBe(message.headers.get('x-request-id'))
    expect(message.headers.get('request-id')).not.toBeNull()
    const refused = await send('/v1/messages', { ...asked, model: 'no' })
    expect(refused.headers.get('request-id')).toBe(refused.headers.get('x-request-id'))
    for (const answer of [plain, message, refused]) await answer.text()
  })

  test('a hit is predicted only where the engine looks for one', async () => {
    const prompt = 'the engine computes what it must tell the probabilities of '.repeat(20)
    expect((await loggedAs('first', { prompt })).predicted_cached).toBe(0)
    expect((await loggedAs('again', { prompt })).predicted_cached).toBeGreaterThan(0)
    const telling = await loggedAs('telling', { prompt, prompt_logprobs: 1 })
    expect(telling.predicted_cached).toBe(0)
  })

  test('the openai SDK: stream, tools, errors, models', async () => {
    const client = new OpenAI({ baseURL: `${stage.gateway.url}/v1`, apiKey: 'none', maxRetries: 0 })
    const models = await client.models.list()
    expect(models.data.map(model => model.id)).toEqual(['sim'])
    const stream = await client.chat.completions.create({
      model: 'sim',
      messages: [{ role: 'user', content: 'hello there' }],
      max_tokens: 8,
      stream: true,
      stream_options: { include_usage: true },
    })
    let text = ''
    let tokens = 0
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? ''
      tokens = chunk.usage?.completion_tokens ?? tokens
    }
    expect(text.length).toBeGreaterThan(0)
    expect(tokens).toBe(8)
    const wrong = client.chat.completions.create({
      model: 'nobody',
      messages: [{ role: 'user', content: 'x' }],
    })
    await expect(wrong).rejects.toMatchObject({ status: 404, code: 'model_not_found' })
    const plain = await client.completions.create({ model: 'sim', prompt: 'one', max_tokens: 3 })
    expect(plain.usage?.completion_tokens).toBe(3)
  })

  test('control paths are unknown, however they are spelled', async () => {
    const paths = ['/sleep', '/reset_prefix_cache', '/collective_rpc', '/v1/load_lora_adapter']
    const spellings = paths.flatMap(path => [
      path,
      `${path}/`,
      `/${path}`,
      path.toUpperCase(),
      `/v1/..${path}`,
      path.replace('s', '%73'),
      `${path}?x=1`,
    ])
    const before = stage.posts.length
    for (const path of [...spellings, '/kv_event_sources', '/docs', '/server_info', '/pause']) {
      const reply = await fetch(stage.gateway.url + path, { method: 'POST', body: '{}' })
      expect([path, reply.status]).toEqual([path, 404])
    }
    expect(stage.posts.length).toBe(before)
  })
})
