/**
 * Identical deterministic requests in flight are one request to a node, whichever threads their
 * clients came to; and nothing else is.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { SimNode } from '../../src/sim/sim_node.ts'
import { startSimNode } from '../../src/sim/sim_node.ts'
import type { Gateway } from '../gateway/gateway.ts'
import { healthy, metric, startGateway, until } from '../gateway/gateway.ts'

const CHAT = '/v1/chat/completions'
const KEYS = ['first-key-of-a-tenant-0123456789', 'other-key-of-a-tenant-0123456789'] as const
const FACTOR = 0.2
const CLIENTS = 6

type Fields = Readonly<Record<string, unknown>>

/** Deterministic and long enough to be met in flight. */
function body(content: string, extra: Fields = {}): string {
  const messages = [{ role: 'user', content }]
  const base = { model: 'sim', messages, max_tokens: 300, stream: true, temperature: 0 }
  return JSON.stringify({ ...base, ...extra })
}

describe.each([1, 2])('with %i gateway threads', threads => {
  let nodes: SimNode[] = []
  let gateway: Gateway

  async function start(args: readonly string[] = []): Promise<void> {
    nodes = await Promise.all([0, 1].map(() => startSimNode({ timeFactor: FACTOR })))
    const urls = nodes.map(node => node.url)
    gateway = await startGateway(urls, ['--threads', String(threads), ...args])
    await healthy(gateway, 2)
  }

  beforeEach(() => start())

  afterEach(async () => {
    expect(await gateway.stop()).toBe(0)
    await Promise.all(nodes.map(node => node.close()))
  })

  const posts = (): number =>
    nodes.flatMap(node => node.requests.filter(one => one.method === 'POST')).length
  const aborts = (): number => nodes.reduce((sum, node) => sum + node.aborts.length, 0)

  /** Each on a connection of its own, so that the kernel spreads them over the threads. */
  function post(text: string, headers: Record<string, string> = {}): Promise<Response> {
    const all = { 'content-type': 'application/json', connection: 'close', ...headers }
    return fetch(gateway.url + CHAT, { method: 'POST', headers: all, body: text })
  }

  const all = (text: string, headers: Record<string, string> = {}): Promise<string[]> =>
    Promise.all(Array.from({ length: CLIENTS }, async () => (await post(text, headers)).text()))

  test.each([
    ['streamed', {}],
    ['plain', { stream: false }],
    ['by a seed', { temperature: 0.7, seed: 3 }],
  ])('%s: one request, the same bytes for all', async (name, extra) => {
    const texts = await all(body(name, extra))
    expect(new Set(texts).size).toBe(1)
    expect(texts[0]?.length).toBeGreaterThan(100)
    expect(posts()).toBe(1)
    expect(await metric(gateway, 'warmpath_collapsed_requests_total')).toBe(CLIENTS - 1)
  })

  test('who joins late reads from the start, and is told', async () => {
    const first = await post(body('late', { max_tokens: 1000 }))
    const reader = first.body?.getReader()
    let begun = ''
    while (begun.split('\n\n').length < 5) {
      const piece = await reader?.read()
      begun += Buffer.from(piece?.value ?? []).toString()
    }
    const second = await post(body('late', { max_tokens: 1000 }))
    expect(second.headers.get('cache-status')).toBe('warmpath; fwd=miss; collapsed')
    expect(first.headers.get('cache-status')).toBe(null)
    for (let piece = await reader?.read(); !piece?.done; piece = await reader?.read()) {
      begun += Buffer.from(piece?.value ?? []).toString()
    }
    expect(await second.text()).toBe(begun)
    expect(posts()).toBe(1)
  })

  test('if the first leaves, the others keep the work alive; the last one ends it', async () => {
    const stops = Array.from({ length: 3 }, () => new AbortController())
    const text = body('leaving', { max_tokens: 3000 })
    const replies: Response[] = []
    for (const { signal } of stops) {
      const headers = { 'content-type': 'application/json' }
      replies.push(await fetch(gateway.url + CHAT, { method: 'POST', headers, body: text, signal }))
    }
    const readers = replies.map(reply => reply.body?.getReader())
    stops[0]?.abort()
    stops[1]?.abort()
    let bytes = 0
    while (bytes < 4000) bytes += (await readers[2]?.read())?.value?.length ?? 0
    expect(posts()).toBe(1)
    expect(aborts()).toBe(0)
    stops[2]?.abort()
    await until(() => aborts() === 1, 'the abort at the node')
    await until(() => gateway.exchanges().length === 1, 'the one exchange')
    expect(gateway.exchanges()[0]?.reason).toBe('client_gone')
    // What comes now is a request of its own.
    expect((await post(body('leaving', { max_tokens: 3 }))).status).toBe(200)
    expect(posts()).toBe(2)
  })

  test('a node that fails before the first byte: one retry serves all', async () => {
    for (const node of nodes) await node.fault({ kind: 'slow_first_byte', ms: 100, times: 1 })
    const failing = { kind: 'die', events: 0, times: 1 } as const
    await nodes[0]?.fault(failing)
    await nodes[1]?.fault(failing)
    const texts = await all(body('retried'))
    expect(new Set(texts).size).toBe(1)
    expect(posts()).toBeLessThanOrEqual(3)
    expect(posts()).toBeGreaterThan(0)
  })

  test('a refusal is the same for all', async () => {
    await Promise.all(nodes.map(node => node.fault({ kind: 'stall' })))
    const replies = Array.from({ length: CLIENTS }, () => post(body('refused')))
    await until(() => posts() === 1, 'the request at a node')
    await Promise.all(nodes.map(node => node.fault({ kind: 'refuse' })))
    const answers = await Promise.all(
      replies.map(async reply => [(await reply).status, await (await reply).text()] as const),
    )
    expect(new Set(answers.map(([status]) => status))).toEqual(new Set([502]))
    expect(new Set(answers.map(([, text]) => text)).size).toBe(1)
    expect(answers[0]?.[1]).toContain('"code":"upstream_error"')
  })

  test('not shared: other bytes, chance, a wish, a finished answer', async () => {
    const replies = [
      post(body('one')),
      post(body('two')),
      post(body('one', { temperature: 0.5 })),
      post(body('one', { temperature: 0.5 })),
      post(body('one'), { 'x-warmpath-collapse': '0' }),
      post(body('one'), { 'x-session-id': 'mine' }),
    ]
    await Promise.all(replies.map(async reply => (await reply).text()))
    expect(posts()).toBe(6)
    await (await post(body('one'))).text()
    expect(posts()).toBe(7)
    expect(await metric(gateway, 'warmpath_collapsed_requests_total')).toBe(0)
  })

  test('a wish shares what is left to chance', async () => {
    const texts = await all(body('wish', { temperature: 1 }), { 'x-warmpath-collapse': '1' })
    expect(new Set(texts).size).toBe(1)
    expect(posts()).toBe(1)
  })

  test('never across tenants', async () => {
    await gateway.stop()
    await Promise.all(nodes.map(node => node.close()))
    await start(KEYS.flatMap(key => ['--api-key', key]))
    const shared = body('shared')
    await Promise.all(KEYS.map(key => all(shared, { authorization: `Bearer ${key}` })))
    expect(posts()).toBe(2)
    expect(await metric(gateway, 'warmpath_collapsed_requests_total')).toBe(2 * CLIENTS - 2)
    // A tenant is the same by whichever header it comes.
    const mixed = body('mixed')
    await Promise.all([
      all(mixed, { authorization: `Bearer ${KEYS[0]}` }),
      all(mixed, { 'x-api-key': KEYS[0] }),
    ])
    expect(posts()).toBe(3)
  })
})
