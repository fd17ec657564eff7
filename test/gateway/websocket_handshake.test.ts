/**
 * Who may open a WebSocket, and what the others are told: everything is refused before the upgrade,
 * as plain HTTP.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { SimNode } from '../../src/sim/sim_node.ts'
import { startSimNode } from '../../src/sim/sim_node.ts'
import { healthy, startGateway, until } from './gateway.ts'
import { openSocket } from './socket_client.ts'

const PATHS = ['/v1/responses', '/v1/chat/completions']
const KEY = 'first-key-of-some-length-0123456789'
const OTHER = 'other-key-of-some-length-0123456789'
const FRAME = { type: 'response.create', model: 'sim', input: 'x', max_output_tokens: 1 }
const INSECURE = `openai-insecure-api-key.${KEY}`

const folder = mkdtempSync(path.join(os.tmpdir(), 'warmpath-websocket-'))
const file = path.join(folder, 'warmpath.yaml')
let node: SimNode

function configured(text: string): string[] {
  writeFileSync(file, `nodes:\n  - url: ${node.url}\n${text}`)
  return ['--config', file]
}

beforeAll(async () => {
  node = await startSimNode({ timeFactor: 0 })
})

afterAll(async () => {
  await node.close()
  rmSync(folder, { recursive: true })
})

function bearer(key: string): { authorization: string } {
  return { authorization: `Bearer ${key}` }
}

/** The answer to a GET, with or without the headers of an upgrade. */
async function refusal(url: string, options: Parameters<typeof openSocket>[2] = {}) {
  const refused: unknown = await openSocket(url, [], options).catch((error: unknown) => error)
  return refused
}

describe.each([1, 2])('with %i gateway threads', threads => {
  const count = ['--threads', String(threads)]

  test('keys: by header, by subprotocol, never in the URL; and a key that goes', async () => {
    const keys = `api_keys: ["${KEY}", "${OTHER}"]\norigins: ["https://app.test"]\n`
    const gateway = await startGateway([], [...configured(keys), ...count])
    await healthy(gateway, 1)
    const url = `${gateway.url}/v1/responses`

    const byHeader = await openSocket(url, [], { headers: bearer(KEY) })
    byHeader.ask(FRAME)
    await byHeader.ended(null)
    const byProtocol = await openSocket(url, ['realtime', INSECURE])
    expect(byProtocol.ws.protocol).toBe('realtime')
    byProtocol.ask(FRAME)
    await byProtocol.ended(null)
    const beta = await openSocket(url, ['openai-beta.responses.v1'], { headers: bearer(OTHER) })
    expect(beta.ws.protocol).toBe('openai-beta.responses.v1')

    expect(await refusal(url)).toMatchObject({ status: 401 })
    expect(await refusal(url, { headers: bearer('wrong') })).toMatchObject({ status: 401 })
    expect(await refusal(`${url}?api_key=${KEY}`, { headers: bearer(KEY) })).toMatchObject({
      status: 401,
      body: expect.stringContaining('invalid_api_key') as string,
    })
    const foreign = { headers: bearer(KEY), origin: 'https://evil.test' }
    expect(await refusal(url, foreign)).toMatchObject({ status: 403 })
    const own = await openSocket(url, [], { headers: bearer(KEY), origin: 'https://app.test' })
    await own.close()
    expect(gateway.lines.join('\n')).not.toContain(KEY)

    // The file without the first key: its sockets are closed, the other's stay.
    configured(`api_keys: ["${OTHER}"]\n`)
    gateway.signal('SIGHUP')
    expect(await byHeader.closed).toMatchObject({ code: 1008 })
    expect(await byProtocol.closed).toMatchObject({ code: 1008 })
    beta.ask(FRAME)
    await beta.ended(null)
    await beta.close()
    expect(await gateway.stop()).toBe(0)
  })

  test('a GET without an upgrade, and every upgrade when switched off, is 426', async () => {
    const gateway = await startGateway([], [...configured(''), ...count])
    for (const at of PATHS) {
      const reply = await fetch(gateway.url + at)
      expect(reply.status).toBe(426)
      expect(reply.headers.get('upgrade')).toBe('websocket')
      expect(await reply.json()).toMatchObject({ error: { code: 'upgrade_required' } })
    }
    expect(await refusal(`${gateway.url}/v1/messages`)).toMatchObject({ status: 405 })
    expect(await refusal(`${gateway.url}/v1/nothing`)).toMatchObject({ status: 404 })
    expect(await gateway.stop()).toBe(0)
    const off = 'websocket:\n  enabled: false\n'
    const without = await startGateway([], [...configured(off), ...count])
    for (const at of PATHS) expect(await refusal(without.url + at)).toMatchObject({ status: 426 })
    expect(await without.stop()).toBe(0)
  })

  test('limits: places, queue, age', async () => {
    const settings = 'websocket:\n  in_flight_max: 2\n  lifetime_ms: 3s\n  ping_ms: 100ms\n'
    const gateway = await startGateway([], [...configured(settings), ...count])
    await healthy(gateway, 1)
    await node.fault({ kind: 'freeze' })
    const client = await openSocket(`${gateway.url}/v1/responses`)
    const before = node.requests.length
    const pings: number[] = []
    client.ws.on('ping', () => pings.push(performance.now()))
    // Two run, 64 wait, one is refused.
    for (let i = 0; i < 67; i++) client.ask({ ...FRAME, stream_id: `l${i % 32}` })
    const full = await client.until(({ type }) => type === 'error', 'the refusal')
    expect(full).toMatchObject({ status: 429, error: { code: 'websocket_queue_full' } })
    const creates = () => node.requests.slice(before).filter(one => one.method === 'POST').length
    await until(() => creates() === 2, 'two requests at the node')
    // Three seconds on: what waits is refused, what runs ends, and then the socket closes.
    const aged = (): number =>
      client.messages.filter(
        ({ error }) =>
          (error as { code?: string } | undefined)?.code === 'websocket_connection_limit_reached',
      ).length
    await until(() => aged() === 64, 'the age limit')
    client.ask(FRAME)
    await until(() => aged() === 65, 'another refusal')
    expect(creates()).toBe(2)
    await node.fault({ kind: 'clear' })
    expect(await client.closed).toMatchObject({ code: 1000 })
    const ends = client.messages.filter(({ type }) => type?.startsWith('response.') ?? false)
    expect(ends.filter(({ type }) => type === 'response.created').length).toBe(2)
    expect(pings.length).toBeGreaterThan(1)
    expect(await gateway.stop()).toBe(0)
  })

  test('SIGTERM: idle sockets are sent away at once, busy ones after their lanes', async () => {
    const slow = await startSimNode({ timeFactor: 0.3 })
    const gateway = await startGateway([slow.url], count)
    await healthy(gateway, 1)
    const idle = await openSocket(`${gateway.url}/v1/responses`)
    const busy = await openSocket(`${gateway.url}/v1/chat/completions`)
    const messages = [{ role: 'user', content: 'x' }]
    const ask = { model: 'sim', messages, max_tokens: 60, min_tokens: 60, stream_id: 'a' }
    busy.ask(ask)
    busy.ask(ask)
    await until(() => busy.texts.length > 2, 'the stream')
    const code = gateway.stop()
    expect(await idle.closed).toMatchObject({ code: 1012 })
    busy.ask(ask)
    expect(await busy.closed).toMatchObject({ code: 1012 })
    const ends = busy.lane('a').filter(({ type }) => type !== undefined)
    expect(ends).toMatchObject([
      { type: 'error', status: 503, error: { code: 'draining' } },
      { type: 'error', status: 503, error: { code: 'draining' } },
      { type: 'warmpath:done' },
    ])
    expect(await code).toBe(0)
    await slow.close()
  })
})

test('SIGTERM with a lane that never ends: 1012 after the grace period, exit 0', async () => {
  const settings = 'timeouts:\n  drain_ms: 1s\n'
  const gateway = await startGateway([], [...configured(settings), '--threads', '2'])
  await healthy(gateway, 1)
  await node.fault({ kind: 'stall' })
  const client = await openSocket(`${gateway.url}/v1/responses`)
  const before = node.requests.length
  client.ask(FRAME)
  await until(() => node.requests.slice(before).some(one => one.method === 'POST'), 'the request')
  const code = gateway.stop()
  expect(await client.closed).toMatchObject({ code: 1012 })
  expect(client.messages).toMatchObject([{ type: 'error', error: { code: 'draining' } }])
  expect(await code).toBe(0)
  await node.fault({ kind: 'clear' })
})
