import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type SimNode, startSimNode } from '../../src/sim/sim_node.ts'
import {
  comparable,
  comparableEvents,
  comparableHeaders,
  type Exchange,
  readExchanges,
  repeat,
} from './recorded.ts'

/** The engines that were recorded, as a simulated node is told to be one. */
const RECORDED = {
  model: 'tiny',
  blockSize: 32,
  blocks: 256,
  maxModelLen: 2048,
  requestIdHeaders: true,
  timeFactor: 0,
  tasks: 'generate',
} as const

let plain: SimNode
let adapted: SimNode
let embedding: SimNode
let keyed: SimNode

beforeAll(async () => {
  plain = await startSimNode(RECORDED)
  adapted = await startSimNode({ ...RECORDED, adapters: ['tiny-lora'], maxNumQueuedReqs: 4 })
  embedding = await startSimNode({ ...RECORDED, tasks: 'embed' })
  keyed = await startSimNode({ ...RECORDED, apiKey: 'sim-key' })
})

afterAll(async () => {
  await Promise.all([plain, adapted, embedding, keyed].map(node => node.close()))
})

/** Names and labels of every line of metrics, without values. */
function seriesOf(text: string): string[] {
  const lines = text.split('\n').filter(line => /^(# TYPE )?vllm:/.test(line))
  return lines.map(line => line.replace(/ [\d.e+-]+(Inf)?$/, '').replaceAll(/="[^"]*"/g, ''))
}

async function compare(
  node: SimNode,
  { request, response }: Exchange,
  form: (body: string) => string = comparable,
): Promise<void> {
  const found = await repeat(node.url, request)
  expect(found.status).toBe(response.status)
  expect(form(found.body)).toBe(form(response.body))
  expect(comparableHeaders(found.headers)).toEqual(comparableHeaders(response.headers))
}

describe('the bytes of a real engine and of the simulated one are equal', () => {
  describe.each(['chat', 'completions', 'tokens', 'errors'])('%s', group => {
    it.each(readExchanges(group))('$name', async exchange => compare(plain, exchange))
  })

  // Answers of these are streamed without the events of empty words.
  describe.each(['responses', 'messages'])('%s', group => {
    it.each(readExchanges(group))('$name', async exchange => {
      await compare(plain, exchange, comparableEvents)
    })
  })

  describe('tools', () => {
    it.each(readExchanges('tools'))('$name', async exchange => {
      await compare(adapted, exchange, comparableEvents)
    })
  })

  describe('embed', () => {
    it.each(readExchanges('embed'))('$name', async exchange => compare(embedding, exchange))
  })

  describe('key', () => {
    it.each(readExchanges('key'))('$name', async exchange => compare(keyed, exchange))
  })

  describe('operations', () => {
    const exchanges = readExchanges('operations').filter(({ name }) => name !== 'metrics')
    it.each(exchanges)('$name', async exchange => compare(plain, exchange))

    it('metrics: every series and label, in order', async () => {
      const metrics = readExchanges('operations').find(({ name }) => name === 'metrics')
      const found = await repeat(plain.url, metrics?.request ?? expect.fail('not recorded'))
      expect(seriesOf(found.body)).toEqual(seriesOf(metrics?.response.body ?? ''))
      expect(comparableHeaders(found.headers)).toEqual(
        comparableHeaders(metrics?.response.headers ?? []),
      )
    })
  })

  it('a full queue', async () => {
    const [exchange] = readExchanges('queue')
    const { request, response } = exchange ?? expect.fail('not recorded')
    const burst = Array.from({ length: 12 }, () => repeat(adapted.url, request))
    const answers = await Promise.all(burst)
    const refused = answers.filter(({ status }) => status === 503)
    expect(refused.length).toBeGreaterThan(0)
    expect(refused[0]?.body).toBe(response.body)
    expect(comparableHeaders(refused[0]?.headers ?? [])).toEqual(
      comparableHeaders(response.headers),
    )
    const metrics = await (await fetch(`${adapted.url}/metrics`)).text()
    expect(metrics).toContain(
      `{model_name="tiny",reason="max_num_queued_reqs"} ${refused.length}.0`,
    )
  })
})

describe('the comparison', () => {
  const [exchange] = readExchanges('chat').filter(({ name }) => name === 'stream with usage')
  const { body } = exchange?.response ?? expect.fail('not recorded')

  // A comparison that forgives everything would pass as well.
  it.each([
    ['a null left out', (text: string) => text.replace('"logprobs":null,', '')],
    ['keys in another order', (text: string) => text.replace('"total_tokens"', '"tokens_total"')],
    ['a space after a colon', (text: string) => text.replace('"usage":', '"usage": ')],
    ['one chunk too many', (text: string) => text.replace(/(data: .*\n\n)/, '$1$1')],
    ['no [DONE]', (text: string) => text.replace('data: [DONE]\n\n', '')],
    ['another line end', (text: string) => text.replace('\n\n', '\r\n\r\n')],
    ['text in the role chunk', (text: string) => text.replace('"content":""', '"content":"a"')],
    ['another finish reason', (text: string) => text.replace('"length"', '"stop"')],
    ['an id of another form', (text: string) => text.replaceAll('chatcmpl-', 'chat-')],
    ['a number as a text', (text: string) => text.replace(/"created":(\d+)/, '"created":"$1"')],
  ])('sees %s', (_, spoil) => {
    expect(spoil(body)).not.toBe(body)
    expect(comparable(spoil(body))).not.toBe(comparable(body))
  })
})
