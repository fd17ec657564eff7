import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { runBench } from '../../src/bench/bench.ts'
import { spread } from '../../src/bench/figures.ts'
import { Prompts } from '../../src/bench/prompts.ts'
import { StreamEvents } from '../../src/bench/stream_events.ts'

const seen: { authorization: string; body: string }[] = []
let mode: 'right' | 'cut' | 'error' | 'busy' | 'reset' = 'right'
const server = createServer((request, response) => void answer(request, response))
let url = ''

const event = (delta: object): string => `data: ${JSON.stringify({ choices: [{ delta }] })}\n\n`
const USAGE = { prompt_tokens: 40, completion_tokens: 3 }

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.url === '/v1/models') {
    response.end(JSON.stringify({ data: [{ id: 'first' }, { id: 'second' }] }))
    return
  }
  let body = ''
  for await (const part of request) body += String(part)
  seen.push({ authorization: request.headers.authorization ?? '', body })
  if (mode === 'reset') {
    response.destroy()
  } else if (mode === 'busy') {
    response.writeHead(503).end('{"error":{"message":"busy"}}')
  } else if (!body.includes('"stream":true')) {
    const details = { prompt_tokens_details: { cached_tokens: 10 } }
    response.end(JSON.stringify({ choices: [{}], usage: { ...USAGE, ...details } }))
  } else {
    response.write(event({ role: 'assistant', content: '' }) + event({ content: 'a' }))
    if (mode === 'error') response.end('data: {"error":{"message":"node died"}}\n\n')
    else if (mode === 'cut') response.end(event({ content: 'b' }))
    else {
      response.write(event({ content: 'b' }) + event({ content: 'c' }))
      response.end(`data: {"choices":[],"usage":${JSON.stringify(USAGE)}}\n\ndata: [DONE]\n\n`)
    }
  }
}

const lastLine = z.object({
  model: z.string(),
  runs: z.array(
    z.looseObject({
      concurrency: z.number(),
      requests: z.number(),
      succeeded: z.number(),
      errors: z.record(z.string(), z.number()),
      output_tokens: z.number(),
      cached_tokens_share: z.number().nullable(),
      ttft_ms: z.looseObject({ p50: z.number() }).nullable(),
    }),
  ),
})

async function bench(line: string) {
  const words = line === '' ? [] : line.split(' ')
  let printed = ''
  let told = ''
  const status = await runBench(words, {
    terminal: { isTerminal: false, hasColour: false, write: text => void (told += text) },
    print: text => void (printed += text),
    onInterrupt: () => () => {},
  })
  const last = printed.trimEnd().split('\n').at(-1) ?? ''
  const result = last.startsWith('{') ? lastLine.parse(JSON.parse(last)) : null
  return { status, printed, told, result, run: result?.runs[0] }
}

beforeAll(async () => {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  url = `http://127.0.0.1:${address.port}`
})

afterAll(() => {
  server.closeAllConnections()
  server.close()
})

describe('warmpath bench', () => {
  test('the model is asked for, streams are counted and timed, the last line is JSON', async () => {
    mode = 'right'
    seen.length = 0
    const { status, result, printed } = await bench(
      `--url ${url}/v1/ --concurrency 1,3 --requests 6 --api-key secret ` +
        '--shared-prefix 20 --prompt-tokens 30',
    )
    expect(status).toBe(0)
    expect(result?.model).toBe('first')
    expect(result?.runs.map(run => [run.concurrency, run.requests, run.succeeded])).toEqual([
      [1, 6, 6],
      [3, 6, 6],
    ])
    expect(result?.runs[0]).toMatchObject({ output_tokens: 18, errors: {} })
    expect(result?.runs[0]?.ttft_ms?.p50).toBeGreaterThan(0)
    expect(printed).not.toContain('secret')
    expect(seen).toHaveLength(12)
    expect(new Set(seen.map(({ body }) => body)).size).toBe(12)
    expect(seen[0]?.authorization).toBe('Bearer secret')
  })

  test('plain answers report the share of cached tokens', async () => {
    mode = 'right'
    const { status, run } = await bench(
      `--url ${url} --model m --requests 2 --concurrency 1 --no-stream`,
    )
    expect(status).toBe(0)
    expect(run).toMatchObject({ cached_tokens_share: 0.25, ttft_ms: null, output_tokens: 6 })
  })

  test.each([
    ['cut', { cut: 2 }],
    ['error', { error_event: 2 }],
    ['busy', { status_503: 2 }],
    ['reset', { reset: 2 }],
  ] as const)('failures are counted by kind: %s', async (kind, errors) => {
    mode = kind
    const { status, run, told } = await bench(`--url ${url} --model m --requests 2 --concurrency 2`)
    expect(status).toBe(1)
    expect(run).toMatchObject({ errors, succeeded: 0 })
    expect(told).toContain('failed: 2 × ')
    if (kind === 'busy') expect(told).toContain('"busy"')
  })

  test.each([
    ['--url nowhere', '--url takes'],
    ['', '--url is missing'],
    ['--url http://h --concurrency 1,x', '--concurrency takes a whole number'],
    ['--url http://h --requests 1 --duration 2', 'exclude each other'],
    ['--url http://h --shared-prefix 200', '--shared-prefix takes'],
    ['--url http://h --bogus', "'--bogus'"],
  ])('wrong arguments are named and end with 2: %s', async (line, message) => {
    const { status, told, printed } = await bench(line)
    expect(status).toBe(2)
    expect(told).toContain(message)
    expect(printed).toBe('')
  })

  test('an endpoint that is not there is said to be so', async () => {
    const { status, told } = await bench('--url http://127.0.0.1:1')
    expect(status).toBe(1)
    expect(told).toContain('cannot ask for the models (refused)')
  })
})

describe('the parts of warmpath bench', () => {
  test('events are the same however the bytes are split', () => {
    const bytes = Buffer.from('data: {"a":"ü"}\r\n\r\n: note\nevent: x\ndata:[DONE]\n\n')
    for (let split = 0; split <= bytes.length; split++) {
      const data: string[] = []
      const events = new StreamEvents(text => data.push(text))
      events.feed(bytes.subarray(0, split))
      events.feed(bytes.subarray(split))
      expect(data, `split at ${split}`).toEqual(['{"a":"ü"}', '[DONE]'])
    }
  })

  test('prompts share their start, differ behind it and repeat with the seed', () => {
    const prompts = new Prompts(60, 40, 7)
    const [first, second] = [prompts.prompt(0), prompts.prompt(1)]
    const shared = first.split(' ').slice(0, 40)
    expect(second.split(' ').slice(0, 40)).toEqual(shared)
    expect(second).not.toBe(first)
    expect(new Prompts(60, 40, 7).prompt(1)).toBe(second)
    expect(new Prompts(60, 40, 8).prompt(1)).not.toBe(second)
  })

  test('percentiles are nearest ranks', () => {
    const values = Array.from({ length: 100 }, (_, i) => 100 - i)
    expect(spread(values)).toEqual({ p50: 50, p90: 90, p99: 99, mean: 50.5 })
    expect(spread([])).toBeNull()
  })
})
