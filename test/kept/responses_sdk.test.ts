/**
 * The openai SDK on nodes that keep nothing: the gateway stores, continues, resumes, cancels and
 * runs responses in the background, with one gateway thread and with two.
 */
import OpenAI from 'openai'
import type { Response, ResponseStreamEvent } from 'openai/resources/responses/responses'
import { beforeAll, describe, expect, test } from 'vitest'
import { metric, until } from '../gateway/gateway.ts'
import { openSocket } from '../gateway/socket_client.ts'
import { useStage } from '../gateway/stage.ts'
import { checkEvents } from './event_rules.ts'

const LONG = 4000

async function collect(stream: AsyncIterable<ResponseStreamEvent>): Promise<ResponseStreamEvent[]> {
  const events: ResponseStreamEvent[] = []
  for await (const event of stream) events.push(event)
  return events
}

function idIn(events: readonly ResponseStreamEvent[]): string {
  const [first] = events
  if (first?.type !== 'response.created') throw new Error(`it began with ${first?.type}`)
  return first.response.id
}

describe.each([1, 2])('with %i gateway threads', threads => {
  const stage = useStage({ threads, timeFactor: 0.1 })
  let client: OpenAI

  beforeAll(() => {
    client = new OpenAI({ baseURL: `${stage.gateway.url}/v1`, apiKey: 'none', maxRetries: 0 })
  })

  const lastPost = () => stage.posts.at(-1)
  const aborted = (): number => stage.node.aborts.length
  const ended = (id: string): Promise<Response> =>
    until(async () => {
      const now = await client.responses.retrieve(id)
      return now.status === 'queued' || now.status === 'in_progress' ? null : now
    }, `the end of ${id}`)

  test('a plain response is retrieved as it was, and deleted', async () => {
    const made = await client.responses.create({ model: 'sim', input: 'plain' })
    expect(made.id).toMatch(/^resp_[0-9a-f]{32}$/)
    const got = await client.responses.retrieve(made.id)
    expect(got).toEqual({ ...made, output_text: got.output_text })
    await client.responses.delete(made.id)
    const gone = client.responses.retrieve(made.id)
    await expect(gone).rejects.toMatchObject({ status: 404, code: 'response_not_found' })
    await expect(client.responses.delete(made.id)).rejects.toMatchObject({ status: 404 })
  })

  test('store false keeps nothing', async () => {
    const made = await client.responses.create({ model: 'sim', input: 'fleeting', store: false })
    await expect(client.responses.retrieve(made.id)).rejects.toMatchObject({ status: 404 })
  })

  test('a stream is retrieved whole, and from any event on', async () => {
    const stream = await client.responses.create({ model: 'sim', input: 'flow', stream: true })
    const events = await collect(stream)
    checkEvents(events)
    const id = idIn(events)
    const last = events.at(-1)
    const got = await client.responses.retrieve(id)
    expect(last?.type === 'response.completed' && last.response.output).toEqual(got.output)
    for (let after = -1; after < events.length; after++) {
      const query = { stream: true as const, starting_after: after }
      const again = await collect(await client.responses.retrieve(id, query))
      expect(again).toEqual(events.slice(after + 1))
    }
    expect(await collect(await client.responses.retrieve(id, { stream: true }))).toEqual(events)
  })

  test('the helper of the SDK puts a resumed stream together', async () => {
    const stream = await client.responses.create({ model: 'sim', input: 'helper', stream: true })
    const id = idIn(await collect(stream))
    const helper = client.responses.stream({ response_id: id, starting_after: 3 })
    const final = await helper.finalResponse()
    expect(final.output_text.length).toBeGreaterThan(0)
  })

  test('a conversation goes on by previous_response_id on a node that knows nothing', async () => {
    const first = await client.responses.create({ model: 'sim', input: 'one, "quoted" ünï' })
    const second = await client.responses.create({
      model: 'sim',
      previous_response_id: first.id,
      input: [{ role: 'user', content: 'two' }],
      stream: true,
    })
    const id = idIn(await collect(second))
    const third = await client.responses.create({
      model: 'sim',
      input: 'three',
      previous_response_id: id,
      store: false,
    })
    expect(third.status).toBe('completed')
    const seen = JSON.parse(lastPost()?.body.toString() ?? '') as {
      input: { role: string; content: unknown }[]
      previous_response_id: null
    }
    expect(seen.previous_response_id).toBe(null)
    const roles = seen.input.map(item => item.role)
    expect(roles).toEqual(['user', 'assistant', 'user', 'assistant', 'user'])
    expect(seen.input[0]?.content).toBe('one, "quoted" ünï')
    expect((await client.responses.retrieve(id)).previous_response_id).toBe(first.id)
    // An id that the gateway does not know is answered by the gateway: no node is asked.
    const before = stage.posts.length
    const unknown = client.responses.create({
      model: 'sim',
      input: 'x',
      previous_response_id: `resp_${'0'.repeat(32)}`,
    })
    await expect(unknown).rejects.toMatchObject({
      status: 400,
      code: 'previous_response_not_found',
      param: 'previous_response_id',
    })
    expect(stage.posts.length).toBe(before)
  })

  test('a plain response is no stream, as in the API, neither running nor done', async () => {
    const refusal = {
      status: 400,
      type: 'invalid_request_error',
      param: 'stream',
      message: expect.stringContaining('it was not created with stream=true') as string,
    }
    const before = stage.posts.length
    const running = client.responses.create({ model: 'sim', input: 'x', max_output_tokens: LONG })
    await until(() => stage.posts.length > before, 'the request at the node')
    const asked = lastPost()?.body.toString() ?? ''
    const id = /"request_id":"(\w+)"/.exec(asked)?.[1] ?? ''
    const query = { stream: true as const }
    await expect(client.responses.retrieve(id, query)).rejects.toMatchObject(refusal)
    await client.responses.cancel(id)
    await running
    await expect(client.responses.retrieve(id, query)).rejects.toMatchObject(refusal)
    const made = await client.responses.create({ model: 'sim', input: 'x' })
    await expect(client.responses.retrieve(made.id, query)).rejects.toMatchObject(refusal)
    const socket = await openSocket(`${stage.gateway.url}/v1/responses`)
    socket.ask({ type: 'warmpath:resume', response_id: made.id, stream_id: 'a' })
    const said = await socket.until(({ type }) => type === 'error', 'the refusal')
    expect(said).toMatchObject({ status: 400, stream_id: 'a', error: { param: 'stream' } })
    await socket.close()
  })

  test('the bytes of the client stay in an expanded request', async () => {
    const first = await client.responses.create({ model: 'sim', input: 'bytes' })
    const own = '{"role":"user",  "content":"x", "big":12345678901234567890, "f":1.0}'
    const body = `{"model":"sim", "input":[ ${own} ],"previous_response_id":"${first.id}"}`
    const headers = { 'content-type': 'application/json' }
    const reply = await fetch(`${stage.gateway.url}/v1/responses`, {
      method: 'POST',
      headers,
      body,
    })
    const { id } = (await reply.json()) as { id: string }
    const seen = lastPost()?.body.toString() ?? ''
    const output = JSON.stringify(first.output)
    expect(seen).toContain(`"input":[{"role":"user","content":"bytes"},`)
    expect(seen.endsWith(`,${own}],"previous_response_id":null,"request_id":"${id}"}`)).toBe(true)
    expect(seen).toContain(output.slice(1, 40))
  })

  test('input items come in pages', async () => {
    const input = Array.from({ length: 45 }, (_, n) => ({
      role: 'user' as const,
      content: `item ${n}`,
    }))
    const made = await client.responses.create({ model: 'sim', input })
    for (const order of ['asc', 'desc'] as const) {
      const texts: string[] = []
      for await (const item of client.responses.inputItems.list(made.id, { limit: 7, order })) {
        const [part] = 'content' in item && Array.isArray(item.content) ? item.content : []
        texts.push(part?.type === 'input_text' ? part.text : '')
      }
      const wanted = input.map(item => item.content)
      expect(texts).toEqual(order === 'asc' ? wanted : wanted.toReversed())
    }
    const wrong = client.responses.inputItems.list(made.id, { limit: 101 })
    await expect(wrong).rejects.toMatchObject({ status: 400, param: 'limit' })
  })

  test('a background response is polled to its end', async () => {
    const { data: job, response } = await client.responses
      .create({ model: 'sim', input: 'later', background: true })
      .withResponse()
    expect(job.status).toBe('queued')
    expect(response.headers.get('x-warmpath-durability')).toBe('memory')
    const done = await ended(job.id)
    expect(done).toMatchObject({ status: 'completed', background: true, id: job.id })
    const events = await collect(await client.responses.retrieve(job.id, { stream: true }))
    checkEvents(events)
  })

  test('a background stream goes on without its client', async () => {
    const stream = await client.responses.create({
      model: 'sim',
      input: 'leaving',
      max_output_tokens: 60,
      background: true,
      stream: true,
    })
    const seen: ResponseStreamEvent[] = []
    for await (const event of stream) {
      seen.push(event)
      if (seen.length === 6) break
    }
    const id = idIn(seen)
    const query = { stream: true as const, starting_after: seen.length - 1 }
    const rest = await collect(await client.responses.retrieve(id, query))
    checkEvents([...seen, ...rest])
    // It ran to the length that was asked for.
    expect((await client.responses.retrieve(id)).status).toBe('incomplete')
  })

  test('a background response that its node refuses is failed, not lost', async () => {
    const refused = { kind: 'status', status: 400, message: 'not like that', times: 1 } as const
    await stage.node.fault(refused)
    const job = await client.responses.create({ model: 'sim', input: 'no', background: true })
    const done = await ended(job.id)
    expect(done).toMatchObject({ status: 'failed', error: { message: 'not like that' } })
  })

  test('cancel ends a background response, and its readers hear of it', async () => {
    const job = await client.responses.create({
      model: 'sim',
      input: 'endless',
      max_output_tokens: LONG,
      background: true,
    })
    const following = await client.responses.retrieve(job.id, { stream: true })
    const events = collect(following)
    const before = aborted()
    const cancelled = await client.responses.cancel(job.id)
    expect(cancelled).toMatchObject({ status: 'cancelled', id: job.id })
    await until(() => aborted() > before, 'the node to see the abort')
    const heard = await events
    checkEvents(heard)
    const last = heard.at(-1)
    expect(last?.type).toBe('response.incomplete')
    expect(await client.responses.cancel(job.id)).toMatchObject({ status: 'cancelled' })
    expect(await client.responses.retrieve(job.id)).toMatchObject({ status: 'cancelled' })
  })

  test('cancel reaches a request that waits for its first token', async () => {
    await stage.node.fault({ kind: 'slow_first_byte', ms: 60_000, times: 1 })
    const job = await client.responses.create({ model: 'sim', input: 'stuck', background: true })
    expect((await client.responses.retrieve(job.id)).status).toBe('queued')
    const cancelled = await client.responses.cancel(job.id)
    expect(cancelled.status).toBe('cancelled')
    const events = await collect(await client.responses.retrieve(job.id, { stream: true }))
    expect(events.map(event => event.type)).toEqual(['response.created', 'response.incomplete'])
    checkEvents(events)
  })

  test('a foreground plain response is cancelled from another connection', async () => {
    const before = stage.node.requests.length
    const input = 'foreground'
    const pending = client.responses.create({ model: 'sim', input, max_output_tokens: LONG })
    const seen = await until(() => {
      const post = stage.node.requests.slice(before).find(one => one.body.includes('foreground'))
      return /"request_id":"(\w+)"/.exec(post?.body.toString() ?? '')?.[1]
    }, 'the request at the node')
    const cancelled = await client.responses.cancel(seen)
    expect(cancelled.status).toBe('cancelled')
    expect((await pending).status).toBe('cancelled')
  })

  test('a stored response is cancelled when its client leaves, and says so', async () => {
    const stream = await client.responses.create({
      model: 'sim',
      input: 'left alone',
      max_output_tokens: LONG,
      stream: true,
    })
    const seen: ResponseStreamEvent[] = []
    for await (const event of stream) {
      seen.push(event)
      if (seen.length === 6) break
    }
    const done = await ended(idIn(seen))
    expect(done.status).toBe('cancelled')
  })

  test('wishes that contradict each other are refused as the API refuses them', async () => {
    const base = { model: 'sim', input: 'x' }
    const both = client.responses.create({ ...base, background: true, store: false })
    await expect(both).rejects.toMatchObject({ status: 400, param: 'background' })
    const nobody = client.responses.create({ model: 'nobody', input: 'x', background: true })
    await expect(nobody).rejects.toMatchObject({ status: 404, code: 'model_not_found' })
  })

  test('a node that breaks off leaves a failed response', async () => {
    await stage.node.fault({ kind: 'die', events: 6, times: 1 })
    const stream = await client.responses.create({ model: 'sim', input: 'broken', stream: true })
    const seen = await collect(stream)
    expect(seen.at(-1)).toMatchObject({ type: 'error', code: 'upstream_error' })
    checkEvents(seen.slice(0, -1))
    expect(seen.at(-2)?.type).toBe('response.failed')
    const got = await client.responses.retrieve(idIn(seen))
    expect(got).toMatchObject({ status: 'failed', error: { code: 'server_error' } })
    expect(await metric(stage.gateway, 'warmpath_exchanges_total{reason="truncated"}')).toBe(1)
  })
})
