/**
 * The WebSocket endpoints: the events of the SSE stream as messages, in lanes, on one socket. Each
 * fact holds with one gateway thread and with two.
 */
import OpenAI from 'openai'
import { ResponsesWS } from 'openai/resources/responses/ws'
import { describe, expect, test } from 'vitest'
import type { Gateway } from './gateway.ts'
import { metric, until } from './gateway.ts'
import { eventData, openSocket } from './socket_client.ts'
import { useStage } from './stage.ts'

const RESPONSES = '/v1/responses'
const CHAT = '/v1/chat/completions'

function chat(content: string, extra: Record<string, unknown> = {}): Record<string, unknown> {
  return { model: 'sim', messages: [{ role: 'user', content }], max_tokens: 12, ...extra }
}

function create(input: string, extra: Record<string, unknown> = {}): Record<string, unknown> {
  return { type: 'response.create', model: 'sim', input, max_output_tokens: 8, ...extra }
}

function isLast({ type }: { type?: string }): boolean {
  return type === 'response.incomplete' || type === 'response.completed'
}

/** What may differ between two runs: ids, times, and what the node has cached by then. */
function normalised(text: string): string {
  return text
    .replaceAll(/"(chatcmpl|resp|msg)[-_][^"]*"/g, '"$1"')
    .replaceAll(/"(created|created_at|cached_tokens)":[0-9.]+/g, '"$1":0')
}

async function sse(gateway: Gateway, path: string, body: object): Promise<string[]> {
  const reply = await fetch(gateway.url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ ...body, stream: true }),
  })
  return eventData(normalised(await reply.text()))
}

describe.each([1, 2])('with %i gateway threads', threads => {
  const stage = useStage({ threads, timeFactor: 0.02 })

  test('responses: every event of the SSE stream is one message, in order', async () => {
    const client = await openSocket(stage.gateway.url + RESPONSES)
    client.ask(create('Say hello.'))
    await client.ended(null)
    const { type: _, ...body } = create('Say hello.')
    expect(client.texts.map(normalised)).toEqual(await sse(stage.gateway, RESPONSES, body))
    expect(client.messages.map(({ sequence_number: n }) => n)).toEqual(
      client.texts.map((__, i) => i),
    )
    expect(await client.close()).toMatchObject({ code: 1005 })
  })

  test('chat: every event of the SSE stream is one message, [DONE] included', async () => {
    const client = await openSocket(stage.gateway.url + CHAT)
    client.ask(chat('Say hello.', { stream_options: { include_usage: true } }))
    await client.ended(null)
    const body = chat('Say hello.', { stream_options: { include_usage: true } })
    expect(client.texts.map(normalised)).toEqual(await sse(stage.gateway, CHAT, body))
    client.ask(chat('Say hello.', { stream_id: 'a', stream: true }))
    await client.ended('a')
    const named = client.texts.slice(client.texts.indexOf('[DONE]') + 1)
    const wanted = (await sse(stage.gateway, CHAT, chat('Say hello.'))).slice(0, -1)
    expect(named.map(normalised)).toEqual([
      ...wanted.map(text => text.replace('{', '{"stream_id":"a",')),
      '{"type":"warmpath:done","stream_id":"a"}',
    ])
    client.ws.terminate()
  })

  test('warmpath.msgpack: [stream_id, n, bin], with the very bytes of the event', async () => {
    const client = await openSocket(stage.gateway.url + RESPONSES, ['warmpath.msgpack'])
    expect(client.ws.protocol).toBe('warmpath.msgpack')
    client.ask(create('Say hello.', { stream_id: 'a' }))
    await until(() => client.binary.some(([, , data]) => data.includes('"completed"')), 'the end')
    expect(client.binary.map(([lane, n]) => [lane, n])).toEqual(
      client.binary.map((_, i) => ['a', i]),
    )
    const { type: __, ...body } = create('Say hello.')
    const texts = client.binary.map(([, , data]) => normalised(data.toString('utf8')))
    expect(texts).toEqual(await sse(stage.gateway, RESPONSES, body))
    expect(client.texts).toEqual([])
    // A request may be binary as well; errors are outside the numbering.
    const { pack } = await import('msgpackr')
    client.binary.length = 0
    client.ws.send(pack([null, 0, Buffer.from(JSON.stringify(create('x', { model: 'nobody' })))]))
    const [lane, n, data] = await until(() => client.binary[0], 'an error')
    expect([lane, n]).toEqual([null, null])
    expect(JSON.parse(data.toString('utf8'))).toMatchObject({
      type: 'error',
      status: 404,
      error: { code: 'model_not_found' },
    })
    client.ws.terminate()
  })

  test('the node gets the body of the POST, byte for byte', async () => {
    const client = await openSocket(`${stage.gateway.url}${CHAT}?trace=1`, [], {
      headers: { 'x-mine': 'kept', 'x-request-id': 'mine', 'Content-Type': 'text/plain' },
    })
    const before = stage.node.requests.length
    client.ws.send(
      '{ "stream_id":"a", "model":"sim",\n "messages":[{"role":"user","content":"x","n":1.0}],' +
        '"seed":12345678901234567890,"custom":{"a":1e400000, "a":2}, "max_tokens":1}',
    )
    await client.ended('a')
    const seen = stage.node.requests.slice(before).find(one => one.method === 'POST')
    expect(seen?.body.toString()).toBe(
      '{"model":"sim","messages":[{"role":"user","content":"x","n":1.0}],' +
        '"seed":12345678901234567890,"custom":{"a":1e400000, "a":2},"max_tokens":1,"stream":true}',
    )
    expect(seen?.url).toBe(`${CHAT}?trace=1`)
    const headers = seen?.rawHeaders.join('\n').toLowerCase() ?? ''
    expect(headers).toContain('x-mine\nkept')
    expect(headers.match(/content-type\n.*/g)).toEqual(['content-type\napplication/json'])
    for (const name of ['sec-websocket', 'upgrade']) expect(headers).not.toContain(name)
    const line = await until(
      () => stage.gateway.exchanges().find(one => one['client_id'] === 'mine'),
      'the log line',
    )
    expect(line).toMatchObject({ endpoint: 'chat', reason: 'complete', stream: true })
    client.ws.terminate()
  })

  test('a lane runs one response after the other, lanes run side by side', async () => {
    const client = await openSocket(stage.gateway.url + RESPONSES)
    client.ask(create('long', { stream_id: 'long', max_output_tokens: 4000 }))
    for (const lane of ['a', 'b']) {
      client.ask(create('one', { stream_id: lane, max_output_tokens: 40 }))
      client.ask(create('two', { stream_id: lane, max_output_tokens: 40 }))
    }
    client.ask(create('three', { max_output_tokens: 40 }))
    await Promise.all([client.ended('a', 2), client.ended('b', 2), client.ended(null)])
    for (const lane of ['a', 'b']) {
      const numbers = client.lane(lane).map(({ sequence_number: n }) => Number(n))
      const half = numbers.length / 2
      const whole = Array.from({ length: half }, (_, i) => i)
      expect(numbers).toEqual([...whole, ...whole])
    }
    // Side by side: the long one runs on while the others begin and end.
    expect(client.lane('long').length).toBeGreaterThan(0)
    expect(client.lane('long').some(isLast)).toBe(false)
    client.ws.terminate()
  })

  test('what cannot be understood is answered, and the socket stays', async () => {
    const client = await openSocket(stage.gateway.url + RESPONSES)
    const rows: [string | Buffer, Record<string, unknown>, string?][] = [
      ['{', { code: 'invalid_request' }],
      ['[]', { code: 'invalid_request' }],
      [Buffer.from('{"type":"response.create"}'), { code: 'invalid_request' }],
      ['{"type":"response.steer"}', { code: 'invalid_request', param: 'type' }],
      ['{"type":"response.inject","stream_id":"a"}', { param: 'type' }, 'a'],
      ['{"model":"sim","input":"x"}', { param: 'type' }],
      [JSON.stringify(create('x', { stream: true })), { param: 'stream' }],
      [JSON.stringify(create('x', { background: true })), { param: 'background' }],
      [JSON.stringify(create('x', { stream_id: '' })), { code: 'invalid_stream_id' }],
      [JSON.stringify(create('x', { stream_id: 'a b' })), { code: 'invalid_stream_id' }],
      [JSON.stringify(create('x', { stream_id: 3 })), { param: 'stream_id' }],
      [JSON.stringify(create('x', { stream_id: 'a'.repeat(257) })), { param: 'stream_id' }],
      [JSON.stringify(create('x', { model: 3 })), { param: 'model' }],
    ]
    for (const [frame, error, lane] of rows) {
      const before = client.texts.length
      client.ws.send(frame)
      await until(() => client.texts.length > before, `an answer to ${String(frame)}`)
      expect(client.messages.at(-1)).toMatchObject({
        type: 'error',
        status: 400,
        error: { type: 'invalid_request_error', ...error },
      })
      expect(client.messages.at(-1)?.['stream_id']).toBe(lane)
    }
    // A node's own refusal, in the lane it belongs to; the lane goes on.
    client.ask(create('x', { stream_id: 'a', max_output_tokens: 1e7 }))
    client.ask(create('x', { stream_id: 'a', max_output_tokens: 1 }))
    await client.ended('a', 3)
    expect(client.lane('a')[1]).toMatchObject({ type: 'error', status: 400, stream_id: 'a' })
    expect(client.lane('a').at(-1)?.type).toMatch(/^response\.(completed|incomplete)$/)
    client.ws.terminate()
  })

  test('at most 32 named lanes, the default lane not counted', async () => {
    const client = await openSocket(stage.gateway.url + RESPONSES)
    for (let i = 0; i < 33; i++) client.ask(create('x', { stream_id: `l${i}`, model: 'nobody' }))
    client.ask(create('x', { model: 'nobody' }))
    await until(() => client.texts.length === 34, 'the answers')
    const refused = client.messages.filter(
      message => (message['error'] as { code: string }).code !== 'model_not_found',
    )
    expect(refused).toMatchObject([
      {
        stream_id: 'l32',
        status: 400,
        error: { code: 'websocket_stream_limit_reached', param: 'stream_id' },
      },
    ])
    client.ws.terminate()
  })

  test('a client that goes away takes its work with it', async () => {
    const client = await openSocket(stage.gateway.url + RESPONSES)
    client.ask(create('long', { stream_id: 'a', max_output_tokens: 4000 }))
    client.ask(create('long', { stream_id: 'b', max_output_tokens: 4000 }))
    await until(() => client.lane('a').length > 4 && client.lane('b').length > 4, 'both streams')
    const before = stage.node.aborts.length
    client.ws.terminate()
    await until(() => stage.node.aborts.length === before + 2, 'two aborts at the node')
    const gone = 'warmpath_exchanges_total{reason="client_gone"}'
    await until(async () => (await metric(stage.gateway, gone)) >= 2, 'the count')
  })

  test('a node that dies in mid-stream ends the turn by an error, not the lane', async () => {
    const client = await openSocket(stage.gateway.url + CHAT)
    await stage.node.fault({ kind: 'die', events: 3, times: 1 })
    client.ask(chat('x', { stream_id: 'a' }))
    client.ask(chat('y', { stream_id: 'a', max_tokens: 1 }))
    await client.ended('a', 2)
    const ends = client.lane('a').filter(({ type }) => type !== undefined)
    expect(ends).toMatchObject([
      { type: 'error', status: 502, stream_id: 'a', error: { code: 'upstream_error' } },
      { type: 'warmpath:done' },
    ])
    client.ws.terminate()
  })

  test('the openai SDK: the events come as they do over HTTP', async () => {
    const openai = new OpenAI({ baseURL: `${stage.gateway.url}/v1`, apiKey: 'none', maxRetries: 0 })
    const ws = new ResponsesWS(openai)
    const types: string[] = []
    let text = ''
    for await (const event of ws) {
      if (event.type === 'open') {
        ws.send({ type: 'response.create', model: 'sim', input: 'hi', max_output_tokens: 5 })
      }
      if (event.type !== 'message') continue
      types.push(event.message.type)
      if (event.message.type === 'response.output_text.done') ({ text } = event.message)
      if (/^response\.(completed|incomplete)$/.test(event.message.type)) ws.close()
    }
    expect(types.slice(0, 2)).toEqual(['response.created', 'response.in_progress'])
    expect(types).toContain('response.output_text.delta')
    expect(text.length).toBeGreaterThan(0)
  })

  test('open and closed sockets are counted', async () => {
    await until(async () => (await metric(stage.gateway, 'warmpath_websockets')) === 0, 'none open')
    const client = await openSocket(stage.gateway.url + CHAT)
    await until(async () => (await metric(stage.gateway, 'warmpath_websockets')) === 1, 'one open')
    const closes = 'warmpath_websocket_closes_total{reason="client"}'
    const before = await metric(stage.gateway, closes)
    await client.close()
    await until(async () => (await metric(stage.gateway, closes)) > before, 'the close')
    expect(await metric(stage.gateway, 'warmpath_connections')).toBeLessThan(20)
  })
})
