/**
 * A client can neither read another tenant's answer nor find out that it exists: on every route
 * that takes an id, and as `previous_response_id`, a foreign id is answered like one that was never
 * given. And what is kept is bounded: per answer, per tenant and in time.
 */
import { describe, expect, test } from 'vitest'
import { metric, until } from '../gateway/gateway.ts'
import { openSocket } from '../gateway/socket_client.ts'
import { useStage } from '../gateway/stage.ts'

const KEYS = ['first-key-of-a-tenant-0123456789', 'other-key-of-a-tenant-0123456789'] as const
/** Small enough to be reached at once; a response of a few words has about 8 KB of events. */
const CONFIG = `
responses:
  kept_bytes_max: 65536
  tenant_items_max: 4
  retention_ms: 4s
`

interface Answer {
  readonly status: number
  readonly text: string
  readonly id: string
}

/** An id of the same form that was never given. */
function never(id: string): string {
  return id.replace(/[0-9a-f]{32}/, '0'.repeat(32))
}

describe.each([1, 2])('with %i gateway threads', threads => {
  const stage = useStage({ threads, timeFactor: 0, apiKeys: KEYS, config: CONFIG })

  async function ask(
    tenant: 0 | 1,
    method: string,
    target: string,
    body: object | null = null,
    extra: Record<string, string> = {},
  ): Promise<Answer> {
    const authorization = `Bearer ${KEYS[tenant]}`
    const headers = { authorization, 'content-type': 'application/json', ...extra }
    const init =
      body === null ? { method, headers } : { method, headers, body: JSON.stringify(body) }
    const reply = await fetch(stage.gateway.url + target, init)
    const id = reply.headers.get('x-warmpath-response-id') ?? ''
    return { status: reply.status, text: await reply.text(), id }
  }

  async function atRest(): Promise<void> {
    const counts = ['warmpath_response_logs', 'warmpath_response_logs_idle']
    await until(async () => {
      const [alive, idle] = await Promise.all(counts.map(one => metric(stage.gateway, one)))
      return alive === idle
    }, 'every log to be idle')
  }

  const respond = (extra: object = {}): Promise<Answer> =>
    ask(0, 'POST', '/v1/responses', { model: 'sim', input: 'mine', ...extra })

  test('a foreign id is as unknown as one that was never given', async () => {
    const response = (await respond({ stream: true })).id
    const messages = [{ role: 'user', content: 'mine' }]
    const chat = { model: 'sim', messages, stream: true }
    const resumable = { 'x-warmpath-resume': '1' }
    const { id: stream } = await ask(0, 'POST', '/v1/chat/completions', chat, resumable)
    expect([response.slice(0, 5), stream.slice(0, 4)]).toEqual(['resp_', 'wpr_'])
    const routes: readonly (readonly [string, string, string])[] = [
      ['GET', '/v1/responses/ID', response],
      ['GET', '/v1/responses/ID?stream=true', response],
      ['GET', '/v1/responses/ID?stream=true&starting_after=2', response],
      ['GET', '/v1/responses/ID/input_items', response],
      ['POST', '/v1/responses/ID/cancel', response],
      ['DELETE', '/v1/responses/ID', response],
      ['GET', '/v1/chat/completions/ID', stream],
    ]
    for (const [method, route, id] of routes) {
      const foreign = await ask(1, method, route.replace('ID', id))
      const unknown = await ask(1, method, route.replace('ID', never(id)))
      expect([method, route, foreign.status]).toEqual([method, route, 404])
      expect(foreign.text.replace(id, 'ID')).toBe(unknown.text.replace(never(id), 'ID'))
    }
    const next = { model: 'sim', input: 'x' }
    const ids = [response, never(response)]
    const [foreign, unknown] = await Promise.all(
      ids.map(id => ask(1, 'POST', '/v1/responses', { ...next, previous_response_id: id })),
    )
    expect(foreign?.status).toBe(400)
    expect(foreign?.text.replace(response, 'ID')).toBe(unknown?.text.replace(ids[1] ?? '', 'ID'))
    // All of that changed nothing for its owner.
    expect((await ask(0, 'GET', `/v1/responses/${response}`)).status).toBe(200)
    expect((await ask(0, 'GET', `/v1/chat/completions/${stream}`)).status).toBe(200)
  })

  test('ids of one kind open nothing of the other, nor do digests', async () => {
    const { id } = await respond()
    expect((await ask(0, 'GET', `/v1/chat/completions/${id}`)).status).toBe(404)
    expect((await ask(0, 'GET', `/v1/responses/${'a'.repeat(64)}`)).status).toBe(404)
    expect((await ask(0, 'GET', `/v1/responses/${'a'.repeat(5000)}`)).status).toBe(404)
    expect((await ask(0, 'GET', '/v1/responses/%2e%2e%2fx')).status).toBe(404)
  })

  /** Over WebSocket, a frame about a response that is held no more. */
  async function expectExpired(frame: object): Promise<void> {
    const headers = { authorization: `Bearer ${KEYS[0]}` }
    const socket = await openSocket(`${stage.gateway.url}/v1/responses`, [], { headers })
    socket.ask(frame)
    const said = await socket.until(({ type }) => type === 'error', 'the refusal')
    expect(said).toMatchObject({ status: 410, error: { code: 'warmpath:stream_expired' } })
    await socket.close()
  }

  test('an answer that is too large reaches its client, but nobody comes back to it', async () => {
    const { id, status, text } = await respond({ stream: true, max_output_tokens: 900 })
    expect(status).toBe(200)
    expect(text).toContain('event: response.completed')
    expect(text.length).toBeGreaterThan(65_536)
    for (const route of [`/v1/responses/${id}`, `/v1/responses/${id}?stream=true`]) {
      const late = await ask(0, 'GET', route)
      expect(late.status).toBe(410)
      expect(late.text).toContain('"code":"warmpath:stream_expired"')
    }
    await expectExpired({ type: 'warmpath:resume', response_id: id, stream_id: 'a' })
  })

  test('a tenant that keeps too many loses its own oldest', async () => {
    const other = await ask(1, 'POST', '/v1/responses', { model: 'sim', input: 'other' })
    const ids: string[] = []
    for (let n = 0; n < 6; n++) {
      ids.push((await respond({ input: `number ${n}` })).id)
      // The oldest is the one longest idle, and a thread lets go of an answer after it sent it.
      await atRest()
    }
    const looks = ids.map(id => ask(0, 'GET', `/v1/responses/${id}`))
    const found = await Promise.all(looks)
    expect(found.map(one => one.status)).toEqual([410, 410, 200, 200, 200, 200])
    expect((await ask(1, 'GET', `/v1/responses/${other.id}`)).status).toBe(200)
  })

  test('what is kept is gone when its time is over', async () => {
    const { id } = await respond()
    expect((await ask(0, 'GET', `/v1/responses/${id}`)).status).toBe(200)
    await until(async () => {
      return (await ask(0, 'GET', `/v1/responses/${id}`)).status === 410
    }, 'the end of the retention')
    const events = await ask(0, 'GET', `/v1/responses/${id}?stream=true`)
    expect(events.text).toContain('"code":"warmpath:stream_expired"')
    await expectExpired({ type: 'warmpath:resume', response_id: id, stream_id: 'a' })
    await expectExpired({ type: 'warmpath:cancel', response_id: id })
    const foreign = await ask(1, 'GET', `/v1/responses/${id}`)
    const unknown = await ask(1, 'GET', `/v1/responses/resp_${'0'.repeat(32)}`)
    expect([foreign.status, unknown.status]).toEqual([404, 404])
    expect(foreign.text.replace(id, '')).toBe(unknown.text.replace(`resp_${'0'.repeat(32)}`, ''))
  })
})
