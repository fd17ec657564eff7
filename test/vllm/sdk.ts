/**
 * The openai SDK through the gateway and direct to a node: the same calls give the same objects,
 * the same chunks and the same errors. Only what an engine makes up anew for each reply (ids and
 * times) is set aside.
 */
import OpenAI, { APIError } from 'openai'
import type { EngineBench } from './bench_of_engines.ts'
import { looksEqual } from './equal.ts'
import { check, type Report } from './report.ts'

type Call = (client: OpenAI, model: string) => Promise<unknown>

/** Fields of vLLM that the SDK does not know arrive as they are. */
const EXTRA: object = { ignore_eos: true }
const USER = { role: 'user' as const, content: 'Tell me about block sizes, in a few words.' }
const TOOL = {
  type: 'function' as const,
  function: {
    name: 'weather',
    parameters: {
      type: 'object',
      properties: { sunny: { type: 'boolean' } },
      required: ['sunny'],
      additionalProperties: false,
    },
  },
}

const CHAT = { messages: [USER], temperature: 0, max_tokens: 12, ...EXTRA }
const FORCED = {
  messages: [USER],
  temperature: 0,
  max_tokens: 40,
  tools: [TOOL],
  tool_choice: { type: 'function' as const, function: { name: 'weather' } },
}
const TEXT = { temperature: 0, max_tokens: 12, ...EXTRA }
/** Aborts that may come too late. */
const ABORTS_MAX = 5
/** Tokens of an answer that no client waits for. */
const LONG = 1900
const RESPONSE = { input: 'Hello', temperature: 0, max_output_tokens: 10 }
const STREAM = { stream: true as const }
const USAGE = { stream_options: { include_usage: true } }
/** Two answers need a temperature, and a seed to be the same twice. */
const TWICE = { n: 2, temperature: 1, seed: 7 }
const LOGPROBS = { logprobs: true, top_logprobs: 3 }

const CALLS: Readonly<Record<string, Call>> = {
  'models.list': client => client.models.list().then(page => page.data),
  'chat plain': ({ chat }, model) => chat.completions.create({ model, ...CHAT }),
  'chat streamed': ({ chat }, model) =>
    collect(chat.completions.create({ model, ...CHAT, ...STREAM })),
  'chat streamed with usage': ({ chat }, model) =>
    collect(chat.completions.create({ model, ...CHAT, ...STREAM, ...USAGE })),
  'chat with logprobs': ({ chat }, model) =>
    chat.completions.create({ model, ...CHAT, ...LOGPROBS }),
  'chat with a forced tool': ({ chat }, model) => chat.completions.create({ model, ...FORCED }),
  'chat with a forced tool, streamed': ({ chat }, model) =>
    collect(chat.completions.create({ model, ...FORCED, ...STREAM })),
  'chat n=2': ({ chat }, model) => chat.completions.create({ model, ...CHAT, ...TWICE }),
  'completions plain': ({ completions }, model) =>
    completions.create({ model, prompt: 'Once upon a time', ...TEXT, logprobs: 2 }),
  'completions streamed': ({ completions }, model) =>
    collect(completions.create({ model, prompt: [101, 102, 103], ...TEXT, ...STREAM })),
  'completions of two prompts': ({ completions }, model) =>
    completions.create({ model, prompt: ['One', 'Two'], ...TEXT, echo: true }),
  'responses plain': ({ responses }, model) => responses.create({ model, ...RESPONSE }),
  'responses streamed': ({ responses }, model) =>
    collect(responses.create({ model, ...RESPONSE, ...STREAM })),
  'error: wrong type': ({ chat }, model) =>
    chat.completions.create({ model, ...CHAT, temperature: wrong('hot') }),
  'error: no messages': ({ chat }, model) =>
    chat.completions.create({ model, messages: wrong(null) }),
  'error: too long': ({ completions }, model) =>
    completions.create({ model, prompt: 'a b c d e f '.repeat(2000), max_tokens: 5 }),
  'embeddings of a generating engine': ({ embeddings }, model) =>
    embeddings.create({ model, input: 'Hello', encoding_format: 'float' }),
}

/** A value that the types of the SDK forbid, to see what the node says about it. */
function wrong(value: unknown): never {
  // The lie is the point of the test.
  return value as never
}

async function collect<T>(stream: PromiseLike<AsyncIterable<T>>): Promise<T[]> {
  const chunks: T[] = []
  for await (const chunk of await stream) chunks.push(chunk)
  return chunks
}

/** Keys whose values an engine makes up for each reply. */
const MADE_UP = /("(?:id|item_id|created|created_at|completed_at|expires_at)"):(?:"[^"]*"|[\d.]+)/g

/** The outcome of a call as text: its result, or all that the SDK says about the error. */
async function outcome(call: Call, client: OpenAI, model: string): Promise<string> {
  const value = await call(client, model).catch((error: unknown) => {
    if (!(error instanceof APIError)) throw error
    const { status, message, error: body, type, code, param } = error
    return { status, message, body, type, code, param }
  })
  return JSON.stringify(value).replaceAll(MADE_UP, '$1:0')
}

export async function checkSdk(report: Report, bench: EngineBench): Promise<void> {
  const { gateway, engines, model } = bench
  const options = { apiKey: 'none', maxRetries: 0 }
  const through = new OpenAI({ ...options, baseURL: `${gateway.url}/v1` })
  const [engine] = engines
  check(engine !== undefined, 'no engine')
  const direct = new OpenAI({ ...options, baseURL: `${engine.url}/v1` })
  const ask = async (call: Call, client: OpenAI): Promise<string> => {
    for (const one of engines) await one.reset()
    return outcome(call, client, model)
  }
  for (const [name, call] of Object.entries(CALLS)) {
    await report.fact(`openai SDK, ${name}: as direct to the node`, async () => {
      const { text, tries } = await looksEqual(
        () => ask(call, direct),
        () => ask(call, through),
      )
      const status = /^\{"status":(\d+)/.exec(text)?.[1]
      const size = status === undefined ? `${text.length} characters` : `status ${status}`
      return tries === 1 ? `${size} equal` : `${size} equal, at the ${tries}. look`
    })
  }
  await report.fact('openai SDK, models.retrieve: answered for the fleet', async () => {
    const { id } = await through.models.retrieve(model)
    check(id === model, id)
    return id
  })
  await report.fact('openai SDK, unknown model: refused by the gateway', async () => {
    const got = await outcome(
      ({ chat }, name) => chat.completions.create({ model: name, ...CHAT }),
      through,
      'no-such-model',
    )
    check(got.startsWith('{"status":404') && got.includes('"code":"model_not_found"'), got)
    return 'status 404, code model_not_found'
  })
  await report.fact('openai SDK, an abort ends the iteration and the exchange', async () => {
    for (let tries = 1; ; tries++) {
      const id = bench.prompts.name('sdk')
      const stream = await through.chat.completions.create(
        { model, ...CHAT, ...STREAM, max_tokens: LONG },
        { headers: { 'x-request-id': id } },
      )
      let chunks = 0
      for await (const _ of stream) if (++chunks === 3) stream.controller.abort()
      const { reason } = await gateway.exchange(id)
      // A client that had to wait for a busy machine leaves when the engine has long ended.
      if (reason === 'complete' && tries < ABORTS_MAX) continue
      check(reason === 'client_gone' || reason === 'slow_reader', `it ended as ${reason}`)
      return `after ${chunks} chunks of ${LONG}, and the exchange ends as ${reason}`
    }
  })
}
