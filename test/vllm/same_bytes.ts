/**
 * Bytes through the gateway equal bytes direct from a node: SSE data and JSON bodies, for every
 * API. Each side asks on emptied caches; ids and times of the engine are set aside, nothing else.
 */
import type { EngineBench } from './bench_of_engines.ts'
import { looksEqual } from './equal.ts'
import { check, type Report } from './report.ts'
import { post, type Reply } from './wire.ts'

const CHAT = { messages: [{ role: 'user', content: 'Hello there, 東京 🌍' }], temperature: 0 }
const LENGTH = { max_tokens: 20, ignore_eos: true }
const STREAM = { stream: true }
const TOOLS = [
  {
    type: 'function',
    function: {
      name: 'weather',
      parameters: {
        type: 'object',
        properties: { sunny: { type: 'boolean' } },
        required: ['sunny'],
        additionalProperties: false,
      },
    },
  },
]
const FORCED = { tools: TOOLS, tool_choice: { type: 'function', function: { name: 'weather' } } }
const USAGE = { stream_options: { include_usage: true } }
const ANTHROPIC = { max_tokens: 12, messages: [{ role: 'user', content: 'Hi' }], temperature: 0 }

const CASES: Readonly<Record<string, readonly [path: string, body: object]>> = {
  chat: ['/v1/chat/completions', { ...CHAT, ...LENGTH }],
  'chat streamed': ['/v1/chat/completions', { ...CHAT, ...LENGTH, ...STREAM }],
  'chat streamed, usage': ['/v1/chat/completions', { ...CHAT, ...LENGTH, ...STREAM, ...USAGE }],
  'chat streamed, usage in every chunk': [
    '/v1/chat/completions',
    {
      ...CHAT,
      ...LENGTH,
      ...STREAM,
      stream_options: { include_usage: true, continuous_usage_stats: true },
    },
  ],
  'chat streamed, logprobs and ids': [
    '/v1/chat/completions',
    { ...CHAT, ...LENGTH, ...STREAM, logprobs: true, top_logprobs: 2, return_token_ids: true },
  ],
  'chat with a tool': ['/v1/chat/completions', { ...CHAT, max_tokens: 40, ...FORCED }],
  'chat with a tool, streamed': [
    '/v1/chat/completions',
    { ...CHAT, max_tokens: 40, ...FORCED, ...STREAM },
  ],
  'chat, unknown fields and a 64-bit seed': [
    '/v1/chat/completions',
    { ...CHAT, ...LENGTH, seed: 9007199254740991, some_field: { a: [1.5, null] } },
  ],
  completions: ['/v1/completions', { prompt: 'Once upon', temperature: 0, ...LENGTH }],
  'completions streamed': [
    '/v1/completions',
    { prompt: 'Once upon', temperature: 0, ...LENGTH, ...STREAM, ...USAGE },
  ],
  'chat, n=2': ['/v1/chat/completions', { ...CHAT, ...LENGTH, n: 2, temperature: 1, seed: 7 }],
  'completions of two prompts of ids': [
    '/v1/completions',
    { prompt: [[101, 102], [103]], temperature: 0, ...LENGTH },
  ],
  responses: ['/v1/responses', { input: 'Hi', temperature: 0, max_output_tokens: 12 }],
  'responses streamed': [
    '/v1/responses',
    { input: 'Hi', temperature: 0, max_output_tokens: 12, ...STREAM },
  ],
  messages: ['/v1/messages', ANTHROPIC],
  'messages streamed': ['/v1/messages?beta=true', { ...ANTHROPIC, ...STREAM }],
  'messages, count': ['/v1/messages/count_tokens', { messages: ANTHROPIC.messages }],
  tokenize: ['/tokenize', { messages: CHAT.messages, return_token_strs: true }],
  detokenize: ['/detokenize', { tokens: [101, 102, 103] }],
  'error: no prompt': ['/v1/completions', { max_tokens: 3 }],
  'error: bad stream_options': ['/v1/chat/completions', { ...CHAT, ...USAGE }],
  'error: Anthropic form': ['/v1/messages', { ...ANTHROPIC, max_tokens: -1 }],
  'embeddings of a generating engine': ['/v1/embeddings', { input: 'Hi' }],
  'score of a generating engine': ['/score', { text_1: 'a', text_2: 'b' }],
}

/** What an engine makes up for each reply: ids and times. */
const MADE_UP =
  /("(?:id|item_id|created|created_at|completed_at|request_id)" ?: ?)(?:"[^"]*"|[\d.]+)/g

function comparable({ status, contentType, text }: Reply): string {
  return `${status} ${contentType}\n${text.replaceAll(MADE_UP, '$1"…"')}`
}

export async function checkBytes(report: Report, bench: EngineBench): Promise<void> {
  const { gateway, engines, model } = bench
  const [engine] = engines
  check(engine !== undefined, 'no engine')
  for (const [name, [path, body]] of Object.entries(CASES)) {
    await report.fact(`the same bytes, ${name}`, async () => {
      const text = JSON.stringify({ model, ...body })
      const ask = async (origin: string): Promise<string> => {
        for (const one of engines) await one.reset()
        return comparable(await post(origin, path, text))
      }
      const { text: got, tries } = await looksEqual(
        () => ask(engine.url),
        () => ask(gateway.url),
      )
      const size = `${got.slice(0, 3)}, ${Buffer.byteLength(got)} bytes`
      return tries === 1 ? size : `${size}, at the ${tries}. look`
    })
  }
}
