/**
 * Sessions over WebSocket: come back to a response, end one, go on from one, stored or not. Each
 * fact holds with one gateway thread and with two.
 */
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { until } from './gateway.ts'
import type { Message, SocketClient } from './socket_client.ts'
import { openSocket } from './socket_client.ts'
import { useStage } from './stage.ts'

const KEYS = ['first-key-of-some-length-0123456789', 'second-key-of-some-length-012345678']
const RESPONSES = '/v1/responses'
const CHAT = '/v1/chat/completions'

function create(input: string, extra: Record<string, unknown> = {}): Record<string, unknown> {
  return { type: 'response.create', model: 'sim', input, max_output_tokens: 8, ...extra }
}

function idOf(message: Message | undefined): string {
  return (message?.['response'] as { id: string } | undefined)?.id ?? ''
}

function isLast({ type = '' }: Message): boolean {
  return ['error', 'response.completed', 'response.incomplete'].includes(type)
}

function codeOf(message: Message): string {
  return (message['error'] as { code: string }).code
}

describe.each([1, 2])('with %i gateway threads', threads => {
  const stage = useStage({ threads, timeFactor: 0.05, apiKeys: KEYS })

  function open(path: string, key = KEYS[0]): Promise<SocketClient> {
    return openSocket(stage.gateway.url + path, [], { headers: { authorization: `Bearer ${key}` } })
  }

  function inputs(): unknown[] {
    return stage.node.requests
      .filter(one => one.method === 'POST')
      .map(one => (JSON.parse(one.body.toString('utf8')) as { input: unknown }).input)
  }

  test('resume: from any connection, from any event, the same texts', async () => {
    const first = await open(RESPONSES)
    first.ask(create('Say hello.', { 'warmpath:resume': true, max_output_tokens: 600 }))
    await until(() => first.texts.length > 5, 'the stream')
    const id = idOf(first.messages[0])
    first.ws.terminate()
    const seed = Date.now()
    let whole: string[] = []
    await fc.assert(
      fc.asyncProperty(fc.nat(6), fc.boolean(), async (after, isNamed) => {
        const again = await open(RESPONSES)
        const lane = isNamed ? { stream_id: 'a' } : {}
        const frame = { type: 'warmpath:resume', response_id: id, starting_after: after - 1 }
        again.ask({ ...frame, ...lane })
        await again.ended(isNamed ? 'a' : null)
        const texts = again.texts.map(text => text.replace('"stream_id":"a",', ''))
        if (whole.length === 0 && after === 0) whole = texts
        expect(again.messages.map(({ sequence_number: n }) => n)).toEqual(
          texts.map((_, i) => i + after),
        )
        if (whole.length > 0) expect(texts).toEqual(whole.slice(after))
        again.ws.terminate()
      }),
      { numRuns: 25, seed, endOnFailure: true },
    )
    // Behind the end of a finished response there is nothing, and the lane is free again.
    const late = await open(RESPONSES)
    late.ask({ type: 'warmpath:resume', response_id: id, starting_after: 10_000 })
    late.ask(create('Say hello.', { model: 'nobody' }))
    expect(codeOf(await late.until(({ type }) => type === 'error', 'the next turn'))).toBe(
      'model_not_found',
    )
    late.ws.terminate()
  })

  test('resume: chat, opened as resumable, and one that was asked over HTTP', async () => {
    const first = await open(CHAT)
    const messages = [{ role: 'user', content: 'Say hello.' }]
    const body = { model: 'sim', messages, max_tokens: 400, min_tokens: 400 }
    first.ask({ ...body, 'warmpath:resume': true })
    const made = await first.until(({ type }) => type === 'warmpath:created', 'the id')
    await until(() => first.texts.length > 6, 'the stream')
    const seen = first.texts.slice(1)
    first.ws.terminate()
    const again = await open(CHAT)
    const frame = { type: 'warmpath:resume', response_id: made['response_id'] }
    again.ask({ ...frame, starting_after: seen.length - 1 })
    again.ask(frame)
    await again.ended(null, 2)
    const rest = again.texts.slice(0, again.texts.indexOf('[DONE]') + 1)
    const whole = again.texts.slice(rest.length)
    expect([...seen, ...rest]).toEqual(whole)
    // The socket on which it is read changes nothing, not even its end.
    const elsewhere = await open(RESPONSES)
    elsewhere.ask(frame)
    await elsewhere.ended(null)
    expect(elsewhere.texts).toEqual(whole)
    elsewhere.ws.terminate()

    const reply = await fetch(stage.gateway.url + RESPONSES, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${KEYS[0]}` },
      body: JSON.stringify({ model: 'sim', input: 'x', max_output_tokens: 3, stream: true }),
    })
    const text = await reply.text()
    const id = reply.headers.get('x-warmpath-response-id')
    const http = await open(RESPONSES)
    http.ask({ type: 'warmpath:resume', response_id: id, stream_id: 'a' })
    await http.ended('a')
    for (const one of http.texts) expect(text).toContain(one.replace('"stream_id":"a",', ''))
    again.ws.terminate()
    http.ws.terminate()
  })

  test("another tenant's response and an unknown one are the same: 404", async () => {
    const first = await open(RESPONSES)
    first.ask(create('Say hello.'))
    await first.ended(null)
    const id = idOf(first.messages[0])
    const other = await open(RESPONSES, KEYS[1])
    const ids = [id, `resp_${'0'.repeat(32)}`, `wpr_${'0'.repeat(32)}`, 'x'.repeat(300)]
    for (const response_id of ids) {
      for (const type of ['warmpath:resume', 'warmpath:cancel']) {
        other.forget()
        other.ask({ type, response_id, stream_id: 'a' })
        const said = await other.until(message => message.type === 'error', 'an answer')
        const text = JSON.stringify(said).replace(response_id, 'ID')
        expect(text).toBe(
          '{"type":"error","status":404,"stream_id":"a","error":{"type":"invalid_request_error",' +
            '"code":"response_not_found","message":"Response with id \'ID\' not found.",' +
            '"param":"id"}}',
        )
      }
    }
    other.ask(create('x', { previous_response_id: id }))
    const said = await other.until(message => codeOf(message).startsWith('prev'), 'an answer')
    expect(said).toMatchObject({
      status: 400,
      error: { code: 'previous_response_not_found', param: 'previous_response_id' },
    })
    first.ws.terminate()
    other.ws.terminate()
  })

  test('cancel: the lane hears of it, the node too, and the lane goes on', async () => {
    const client = await open(RESPONSES)
    const other = await open(RESPONSES)
    client.ask(create('long', { stream_id: 'a', max_output_tokens: 4000 }))
    client.ask(create('next', { stream_id: 'a', max_output_tokens: 2 }))
    await until(() => client.texts.length > 4, 'the stream')
    const before = stage.node.aborts.length
    const frame = { type: 'warmpath:cancel', response_id: idOf(client.messages[0]) }
    other.ask(frame)
    other.ask(frame)
    await client.ended('a', 2)
    const ends = client.lane('a').filter(({ type }) => type === 'response.incomplete')
    expect(ends[0]).toMatchObject({
      stream_id: 'a',
      response: { status: 'cancelled', incomplete_details: { reason: 'cancelled' } },
    })
    const numbers = client.lane('a').map(({ sequence_number: n }) => Number(n))
    const first = numbers.slice(0, numbers.indexOf(0, 1))
    expect(first).toEqual(first.map((_, i) => i))
    await until(() => stage.node.aborts.length > before, 'the abort at the node')
    other.ask(frame)
    other.ask(create('x', { model: 'nobody' }))
    await other.ended(null)
    expect(other.messages.map(codeOf)).toEqual(['model_not_found'])
    client.ws.terminate()
    other.ws.terminate()
  })

  test('store: false is remembered by its connection, for the latest of each lane', async () => {
    const client = await open(RESPONSES)
    const turn = async (lane: string, input: string, previous?: string): Promise<Message> => {
      const before = client.lane(lane).length
      const link = previous === undefined ? {} : { previous_response_id: previous }
      client.ask(create(input, { stream_id: lane, store: false, ...link }))
      return until(() => client.lane(lane).slice(before).find(isLast), `the end of ${input}`)
    }
    const one = idOf(await turn('a', 'one'))
    const two = idOf(await turn('a', 'two', one))
    expect(inputs().at(-1)).toMatchObject([
      { role: 'user', content: 'one' },
      { role: 'assistant' },
      { role: 'user', content: 'two' },
    ])
    // The lane has moved on; a fork from its latest works, and leaves it where it was.
    expect(codeOf(await turn('b', 'fork', one))).toBe('previous_response_not_found')
    const fork = idOf(await turn('b', 'fork', two))
    expect(inputs().at(-1)).toHaveLength(5)
    expect(fork).not.toBe(two)
    const three = idOf(await turn('a', 'three', two))
    expect(inputs().at(-1)).toHaveLength(5)
    // A fork that fails leaves its parent, a turn of the lane itself takes it along.
    await stage.node.fault({ kind: 'status', status: 400, times: 2 })
    expect((await turn('b', 'broken fork', three)).type).toBe('error')
    expect((await turn('a', 'broken', three)).type).toBe('error')
    expect(codeOf(await turn('a', 'gone', three))).toBe('previous_response_not_found')
    // Nobody else finds what is not stored, neither by HTTP nor on another connection.
    const headers = { authorization: `Bearer ${KEYS[0]}` }
    const reply = await fetch(`${stage.gateway.url}${RESPONSES}/${fork}`, { headers })
    expect(reply.status).toBe(404)
    const other = await open(RESPONSES)
    other.ask(create('x', { previous_response_id: fork }))
    await other.ended(null)
    expect(other.messages.map(codeOf)).toEqual(['previous_response_not_found'])
    client.ws.terminate()
    other.ws.terminate()
  })

  test('generate: false warms a prompt: no output, and a response to go on from', async () => {
    const client = await open(RESPONSES)
    for (const store of [true, false]) {
      client.forget()
      client.ask(create('You are terse.', { generate: false, store }))
      await client.ended(null)
      expect(client.messages.map(({ type, sequence_number: n }) => [type, n])).toEqual([
        ['response.created', 0],
        ['response.in_progress', 1],
        ['response.completed', 2],
      ])
      expect(client.messages[2]).toMatchObject({ response: { status: 'completed', output: [] } })
      const seen = stage.node.requests.filter(one => one.method === 'POST').at(-1)
      expect(JSON.parse(String(seen?.body))).toMatchObject({ max_output_tokens: 1 })
      const id = idOf(client.messages[0])
      client.ask(create('Go on.', { previous_response_id: id, store }))
      await client.ended(null, 2)
      expect(inputs().at(-1)).toEqual([
        { role: 'user', content: 'You are terse.' },
        { role: 'user', content: 'Go on.' },
      ])
    }
    client.forget()
    client.ask(create('x', { generate: false, max_output_tokens: 3, model: 'nobody' }))
    await client.ended(null)
    expect(client.messages.map(codeOf)).toEqual(['model_not_found'])
    client.ws.terminate()
  })

  test('identical deterministic requests share one, also over both transports', async () => {
    const client = await open(CHAT)
    const messages = [{ role: 'user', content: `shared ${Date.now()}` }]
    const body = { model: 'sim', messages, max_tokens: 300, min_tokens: 300, temperature: 0 }
    const before = stage.node.requests.length
    client.ask({ ...body, stream_id: 'a' })
    await until(() => client.lane('a').length > 1, 'the first')
    client.ask({ ...body, stream_id: 'b' })
    await Promise.all([client.ended('a'), client.ended('b')])
    const [a, b] = ['a', 'b'].map(lane =>
      client.lane(lane).map(message => JSON.stringify({ ...message, stream_id: null })),
    )
    expect(b).toEqual(a)
    const posts = stage.node.requests.slice(before).filter(one => one.method === 'POST')
    expect(posts.length).toBe(1)
    client.ws.terminate()
  })
})
