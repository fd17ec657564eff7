/**
 * Bad input gets the documented error, in the client's dialect, and never a crash or a hang; keys,
 * limits and the wait queue answer as documented too.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { SimNode } from '../../src/sim/sim_node.ts'
import { startSimNode } from '../../src/sim/sim_node.ts'
import type { Gateway } from './gateway.ts'
import { healthy, metric, startGateway, until } from './gateway.ts'

const CHAT = '/v1/chat/completions'
const GOOD = '{"model":"sim","messages":[{"role":"user","content":"x"}],"max_tokens":2}'
const KEYS = ['first-key-of-some-length-0123456789', 'second-key-of-some-length-012345678']
const ADMIN = 'admin-key-of-some-length-0123456789'

/** A good body of that many megabytes. */
function big(mb: number): string {
  return GOOD.replace('"x"', JSON.stringify('y'.repeat(mb * 1_000_000)))
}

interface Row {
  readonly name: string
  readonly method?: string
  readonly path?: string
  readonly body?: string
  readonly status: number
  readonly code: string
  readonly param?: string
}

const ROWS: readonly Row[] = [
  { name: 'no JSON', body: '{"model":', status: 400, code: 'invalid_request' },
  { name: 'an empty body', body: '', status: 400, code: 'invalid_request' },
  { name: 'an array', body: '[1]', status: 400, code: 'invalid_request' },
  {
    name: 'bytes that are no UTF-8',
    body: '{"a":"\ud800"}x',
    status: 400,
    code: 'invalid_request',
  },
  { name: 'deep nesting', body: '['.repeat(50_000), status: 400, code: 'invalid_request' },
  {
    name: 'a model that is a number',
    body: '{"model":3}',
    status: 400,
    code: 'invalid_request',
    param: 'model',
  },
  {
    name: 'messages that are a string',
    body: '{"model":"sim","messages":"hi"}',
    status: 400,
    code: 'invalid_request',
    param: 'messages',
  },
  {
    name: 'a stream flag that is a string',
    body: '{"model":"sim","messages":[],"stream":"yes"}',
    status: 400,
    code: 'invalid_request',
    param: 'stream',
  },
  {
    name: 'an unknown model',
    body: GOOD.replace('"sim"', '"nobody"'),
    status: 404,
    code: 'model_not_found',
    param: 'model',
  },
  { name: 'an unknown route', path: '/v1/nothing', body: '{}', status: 404, code: 'unknown_url' },
  { name: 'the wrong method', method: 'PUT', body: '{}', status: 405, code: 'method_not_allowed' },
  {
    name: 'GET where POST is meant',
    method: 'GET',
    path: '/v1/completions',
    status: 405,
    code: 'method_not_allowed',
  },
  {
    name: 'POST to the models',
    path: '/v1/models',
    body: '{}',
    status: 405,
    code: 'method_not_allowed',
  },
  {
    name: 'a model that nobody knows, by path',
    method: 'GET',
    path: '/v1/models/nobody',
    status: 404,
    code: 'model_not_found',
  },
  {
    name: 'an upload without a model',
    path: '/v1/audio/transcriptions',
    body: 'x',
    status: 400,
    code: 'invalid_request',
    param: 'model',
  },
]

function ask(gateway: Gateway, row: Partial<Row>, key?: string): Promise<Response> {
  const method = row.method ?? 'POST'
  const headers: Record<string, string> = { 'content-type': 'application/json' }
  if (key !== undefined) headers['authorization'] = `Bearer ${key}`
  const body = method === 'GET' ? null : (row.body ?? GOOD)
  return fetch(gateway.url + (row.path ?? CHAT), { method, headers, body })
}

describe.each([1, 2])('with %i gateway threads', threads => {
  let node: SimNode
  let gateway: Gateway

  beforeAll(async () => {
    node = await startSimNode({ timeFactor: 0 })
    const flags = [...KEYS.flatMap(key => ['--api-key', key]), '--admin-key', ADMIN]
    gateway = await startGateway(
      [`${node.url},in_flight_max=1`],
      ['--threads', String(threads), ...flags],
    )
    await until(async () => (await ask(gateway, {}, KEYS[0])).status === 200, 'a first answer')
  })

  afterAll(async () => {
    expect(await gateway.stop()).toBe(0)
    // The keys are secrets: no line that was ever written holds one.
    for (const key of [...KEYS, ADMIN]) expect(gateway.lines.join('\n')).not.toContain(key)
    await node.close()
  })

  test.each(ROWS)('$name: $status $code', async row => {
    const reply = await ask(gateway, row, KEYS[0])
    const text = await reply.text()
    expect(reply.status).toBe(row.status)
    const { error } = JSON.parse(text) as { error: { code: string; param: string | null } }
    expect(error.code).toBe(row.code)
    if (row.param !== undefined) expect(error.param).toBe(row.param)
    if (row.status === 405) expect(reply.headers.get('allow')).not.toBeNull()
  })

  test('the error of an Anthropic path has the shape of Anthropic', async () => {
    const reply = await ask(gateway, { path: '/v1/messages', body: '{' }, KEYS[0])
    expect(reply.status).toBe(400)
    const id = reply.headers.get('request-id')
    expect(id).toMatch(/./)
    const error = { type: 'invalid_request_error' }
    expect(await reply.json()).toMatchObject({ type: 'error', error, request_id: id })
  })

  test.each([
    ['an unknown model', '{"model":"none","messages":[]}', KEYS[0], 'not_found_error'],
    ['no key', '{}', undefined, 'authentication_error'],
  ] as const)("%s: the type of the error is Anthropic's own", async (_, body, key, type) => {
    const reply = await ask(gateway, { path: '/v1/messages', body }, key)
    expect(await reply.json()).toMatchObject({ type: 'error', error: { type } })
  })

  test('a body of 31 MB passes, one of 33 MB is refused with 413', async () => {
    const passed = await ask(gateway, { body: big(31) }, KEYS[0])
    // The simulated node finds such a prompt too long: its own answer came through.
    expect([200, 400]).toContain(passed.status)
    await passed.text()
    const refused = await ask(gateway, { body: big(34) }, KEYS[0])
    expect(refused.status).toBe(413)
    expect(await refused.json()).toMatchObject({ error: { code: 'request_too_large' } })
    // The simulated node shares this process and was deaf while it read 31 MB.
    await until(async () => (await ask(gateway, {}, KEYS[0])).status === 200, 'the node to be back')
  })

  test.each([
    ['without a key', CHAT, undefined, 401],
    ['at an unknown URL', '/v1/nothing', KEYS[0], 404],
    ['at a path that takes GET', '/v1/models', KEYS[0], 405],
  ])('a client that sends 8 MB %s reads its answer', async (_, path, key, status) => {
    const reply = await ask(gateway, { path, body: big(8) }, key)
    expect(reply.status).toBe(status)
    expect(reply.headers.get('x-request-id')).toMatch(/./)
    await reply.text()
  })

  test('a key is needed, not taken from the URL, and names are hidden from tenants', async () => {
    expect((await ask(gateway, {})).status).toBe(401)
    expect((await ask(gateway, {}, 'wrong')).status).toBe(401)
    expect((await ask(gateway, { path: `${CHAT}?api_key=${KEYS[0]}` }, KEYS[0])).status).toBe(401)
    const plain = await ask(gateway, {}, KEYS[0])
    expect(plain.headers.get('x-warmpath-node')).toBeNull()
    const admin = await ask(gateway, {}, ADMIN)
    expect(admin.headers.get('x-warmpath-node')).toBe(node.id)
    expect((await fetch(`${gateway.url}/metrics`)).status).toBe(404)
    expect((await fetch(`${gateway.admin}/metrics`)).status).toBe(401)
  })

  test('tenants do not share cached prefixes, and one tenant does with itself', async () => {
    const content = JSON.stringify('a long shared prompt '.repeat(40))
    const body = GOOD.replace('"x"', content)
    const cached = async (key: string | undefined): Promise<number> => {
      const reply = (await (await ask(gateway, { body }, key)).json()) as {
        usage: { prompt_tokens_details: { cached_tokens: number } | null }
      }
      return reply.usage.prompt_tokens_details?.cached_tokens ?? 0
    }
    expect(await cached(KEYS[0])).toBe(0)
    expect(await cached(KEYS[0])).toBeGreaterThan(0)
    expect(await cached(KEYS[1])).toBe(0)
  })

  test('sessions of tenants have different names at the node, in body and header', async () => {
    const body = GOOD.replace('{', '{"session_id":"s",')
    const seen: string[] = []
    for (const key of KEYS) {
      const headers = {
        authorization: `Bearer ${key}`,
        'content-type': 'application/json',
        'x-session-id': 's',
      }
      await (await fetch(`${gateway.url}${CHAT}`, { method: 'POST', body, headers })).text()
      const last = node.requests.findLast(({ method }) => method === 'POST')
      const named = (JSON.parse(last?.body.toString() ?? '{}') as { session_id: string }).session_id
      const at = last?.rawHeaders.findIndex(name => name.toLowerCase() === 'x-session-id') ?? -1
      expect(last?.rawHeaders[at + 1]).toBe(named)
      seen.push(named)
    }
    expect(new Set(seen).size).toBe(KEYS.length)
  })

  test('requests over the limit of a node wait and are answered, in order of arrival', async () => {
    const replies = await Promise.all(Array.from({ length: 20 }, () => ask(gateway, {}, KEYS[0])))
    expect(replies.map(reply => reply.status)).toEqual(Array.from({ length: 20 }, () => 200))
    await Promise.all(replies.map(reply => reply.text()))
  })
})

test('a full wait queue answers 429, a wait too long 503, both with Retry-After', async () => {
  const node = await startSimNode({ timeFactor: 0 })
  const { mkdtemp, rm, writeFile } = await import('node:fs/promises')
  const folder = await mkdtemp(`${process.env['TMPDIR'] ?? '/tmp'}/warmpath-`)
  const file = `${folder}/warmpath.yaml`
  const lines = [
    'nodes:',
    `  - url: ${node.url}`,
    '    in_flight_max: 1',
    'routing:',
    '  waiting_items_max: 1',
    '  wait_ms_max: 500',
  ]
  await writeFile(file, `${lines.join('\n')}\n`)
  const gateway = await startGateway([], ['--config', file, '--threads', '1'])
  await healthy(gateway, 1)
  await node.fault({ kind: 'freeze' })
  const first = ask(gateway, {})
  await until(() => node.activeSequences === 1, 'the first request')
  const second = ask(gateway, {})
  const third = await until(async () => {
    const reply = await ask(gateway, {})
    await reply.text()
    return reply.status === 429 ? reply : null
  }, 'a full queue')
  expect(Number(third.headers.get('retry-after'))).toBeGreaterThan(0)
  const expired = await second
  expect(expired.status).toBe(503)
  expect(Number(expired.headers.get('retry-after'))).toBeGreaterThan(0)
  await node.fault({ kind: 'clear' })
  expect((await first).status).toBe(200)
  expect(await metric(gateway, 'warmpath_exchanges_total{reason="queue_timeout"}')).toBe(1)
  expect(await gateway.stop()).toBe(0)
  await node.close()
  await rm(folder, { recursive: true })
})
