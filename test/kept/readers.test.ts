/**
 * Readers of another exchange's answer, who came back or whose request was identical, leave a log
 * line and a count each; and nothing in it opens the answer to somebody else.
 */
import { describe, expect, test } from 'vitest'
import { metric, until } from '../gateway/gateway.ts'
import { openSocket } from '../gateway/socket_client.ts'
import { useStage } from '../gateway/stage.ts'

const KEYS = ['first-key-of-a-tenant-0123456789', 'other-key-of-a-tenant-0123456789'] as const
const CHAT = '/v1/chat/completions'
const RESPONSES = '/v1/responses'
/** Tokens of an answer that takes some seconds. */
const LONG = 2000

function idOf(reply: Response): string {
  return reply.headers.get('x-warmpath-response-id') ?? ''
}

type Line = Readonly<Record<string, unknown>>

describe.each([1, 2])('with %i gateway threads', threads => {
  const stage = useStage({ threads, timeFactor: 0.1, apiKeys: KEYS })

  const authorization = `Bearer ${KEYS[0]}`
  const messages = [{ role: 'user', content: 'x' }]

  function readers(): Line[] {
    const lines = stage.gateway.lines.filter(line => line.includes('"msg":"reader"'))
    return lines.map(line => JSON.parse(line) as Line)
  }

  const readerOf = (client: string): Promise<Line> =>
    until(() => readers().find(line => line['client_id'] === client), `the line of ${client}`)
  const exchangeOf = (client: string): Promise<Line> =>
    until(
      () => stage.gateway.exchanges().find(line => line['client_id'] === client),
      `the exchange of ${client}`,
    )

  /** `client` is the name under which the client's line is found. */
  function post(path: string, client: string, body: object, extra = {}): Promise<Response> {
    const headers = { authorization, 'content-type': 'application/json', 'x-request-id': client }
    const text = JSON.stringify({ model: 'sim', stream: true, ...body })
    const init = { method: 'POST', headers: { ...headers, ...extra }, body: text }
    return fetch(stage.gateway.url + path, init)
  }

  function get(target: string, client: string, signal: AbortSignal | null = null) {
    const headers = { authorization, 'x-request-id': client }
    return fetch(stage.gateway.url + target, { headers, signal })
  }

  test('who came back over HTTP: from where, how much, and why it ended', async () => {
    const ends = 'warmpath_readers_total{kind="resumed",reason="complete"}'
    const before = await metric(stage.gateway, ends)
    const sent = await metric(stage.gateway, 'warmpath_reader_events_total')
    const first = await post(RESPONSES, 'maker', { input: 'x', max_output_tokens: 9 })
    const count = (await first.text()).split('\n\n').length - 1
    const id = idOf(first)
    const text = await (
      await get(`${RESPONSES}/${id}?stream=true&starting_after=2`, 'again')
    ).text()
    const made = await exchangeOf('maker')
    expect(await readerOf('again')).toMatchObject({
      tenant: made['tenant'],
      endpoint: 'responses',
      transport: 'http',
      kind: 'resumed',
      response: id.slice(0, 'resp_'.length + 12),
      log: made['log'],
      from: 3,
      events: count - 3,
      bytes: Buffer.byteLength(text),
      reason: 'complete',
    })
    expect(made['log']).toMatch(/^\d+\.\d+$/)
    expect(await metric(stage.gateway, ends)).toBe(before + 1)
    expect(await metric(stage.gateway, 'warmpath_reader_events_total')).toBe(sent + count - 3)
    expect(stage.gateway.lines.join('\n')).not.toContain(id)
  })

  test('who leaves again, and who is told that the work was cancelled', async () => {
    const resumable = { 'x-warmpath-resume': '1' }
    const body = { messages, max_tokens: LONG, min_tokens: LONG }
    const first = await post(CHAT, 'long', body, resumable)
    const id = idOf(first)
    const stop = new AbortController()
    const again = await get(`${CHAT}/${id}`, 'leaver', stop.signal)
    await again.body?.getReader().read()
    stop.abort()
    const left = await readerOf('leaver')
    expect(left).toMatchObject({ kind: 'resumed', endpoint: 'chat', reason: 'client_gone' })
    expect(left['events']).toBeGreaterThan(0)
    expect(left['events']).toBeLessThan(LONG)

    const headers = { authorization, 'x-request-id': 'socket' }
    const socket = await openSocket(stage.gateway.url + CHAT, [], { headers })
    socket.ask({ type: 'warmpath:resume', response_id: id, starting_after: 4, stream_id: 'a' })
    await until(() => socket.texts.length > 3, 'the stream')
    socket.ask({ type: 'warmpath:cancel', response_id: id })
    await socket.ended('a')
    expect(await readerOf('socket')).toMatchObject({
      transport: 'websocket',
      from: 5,
      reason: 'cancelled',
      response: id.slice(0, 'wpr_'.length + 12),
    })
    await socket.close()
    expect(stage.gateway.lines.join('\n')).not.toContain(id)
  })

  test('who reads the answer to an identical request', async () => {
    const body = { messages, max_tokens: 300, min_tokens: 300, temperature: 0 }
    const first = await post(CHAT, 'asker', body)
    const second = await post(CHAT, 'joiner', body)
    const [text] = await Promise.all([second.text(), first.text()])
    const made = await exchangeOf('asker')
    expect(await readerOf('joiner')).toMatchObject({
      endpoint: 'chat',
      kind: 'joined',
      response: null,
      log: made['log'],
      from: 0,
      events: text.split('\n\n').length - 1,
      reason: 'complete',
    })
    // What nobody else can read has no log to tell of.
    await (await post(CHAT, 'private', { messages, max_tokens: 1 })).text()
    expect(await exchangeOf('private')).toMatchObject({ log: null })
  })

  test('who may not read leaves no line of a reader, and no key is in any line', async () => {
    const first = await post(RESPONSES, 'owner', { input: 'x', max_output_tokens: 3 })
    await first.text()
    const before = readers().length
    const headers = { authorization: `Bearer ${KEYS[1]}` }
    const foreign = await fetch(`${stage.gateway.url}${RESPONSES}/${idOf(first)}?stream=true`, {
      headers,
    })
    expect(foreign.status).toBe(404)
    await (await get(`${RESPONSES}/${idOf(first)}?stream=true`, 'owner again')).text()
    await readerOf('owner again')
    expect(readers().length).toBe(before + 1)
    for (const key of KEYS) expect(stage.gateway.lines.join('\n')).not.toContain(key)
  })
})
