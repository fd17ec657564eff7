/**
 * Nodes that send what is no stream of a response: it passes to the client as it came, what is kept
 * of it can be read, and it is never taken for a whole answer.
 */
import type { ServerResponse } from 'node:http'
import { describe, expect, test } from 'vitest'
import { leases, metric, until } from '../gateway/gateway.ts'
import { openSocket } from '../gateway/socket_client.ts'
import { useScriptedGateway } from './scripted_gateway.ts'
import { responseEvents } from './scripted_node.ts'

const RESPONSES = '/v1/responses'
const EVENTS = responseEvents('resp_x')
/** All but what ends it. */
const BEGUN = EVENTS.slice(0, -1)
const LAST = EVENTS.at(-1) ?? ''
const DONE = 'data: [DONE]\n\n'
/** Events that are none of a response; the last one is deeper than can be decoded and written. */
const STRANGE = [
  'data: not json\n\n',
  'data: null\n\n',
  'data: 5\n\n',
  'data\n\n',
  ': ping\n\n',
  'data: {"type":"response.output_item.done"}\n\n',
  'data: {"type":"response.output_text.delta","delta":7}\n\n',
  `data: {"response":${'[1,'.repeat(9000)}1${']'.repeat(9000)}}\n\n`,
]

interface Shown {
  readonly status: string
  readonly output: { readonly content?: { readonly text: string }[] }[]
}

function idOf(reply: Response): string {
  return reply.headers.get('x-warmpath-response-id') ?? ''
}

/** The text of a response as it is shown. */
function told(response: Shown): string {
  return response.output.flatMap(({ content }) => (content ?? []).map(one => one.text)).join('')
}

describe.each([1, 2])('with %i gateway threads', threads => {
  const stage = useScriptedGateway(threads, 1)

  /** The node answers every request with this and ends its stream, or leaves it open. */
  function script(text: string, end: 'end' | 'hold', type = 'text/event-stream'): void {
    stage.node.stand.onData = (request, response: ServerResponse) => {
      request.resume()
      response.writeHead(200, { 'content-type': type })
      response.write(text, () => {
        if (end === 'end') response.end()
      })
    }
  }

  function post(extra: object = {}): Promise<Response> {
    const headers = { 'content-type': 'application/json' }
    const body = JSON.stringify({ model: 'm', input: 'x', stream: true, ...extra })
    return fetch(stage.gateway.url + RESPONSES, { method: 'POST', headers, body })
  }

  async function shown(id: string): Promise<Shown> {
    return (await (await fetch(`${stage.gateway.url}${RESPONSES}/${id}`)).json()) as Shown
  }

  const ended = (reason: string): Promise<number> =>
    metric(stage.gateway, `warmpath_exchanges_total{reason="${reason}"}`)

  test('strange events in a stream that is cut short leave a failed response', async () => {
    for (const strange of STRANGE) {
      script(BEGUN.slice(0, 5).join('') + strange + BEGUN.slice(5, 7).join(''), 'end')
      const reply = await post()
      const text = await reply.text()
      expect(text).toContain(strange)
      expect(text).toContain('event: response.failed')
      const response = await shown(idOf(reply))
      expect([response.status, told(response)]).toEqual(['failed', 'päß0 päß1 päß2 päß3 '])
    }
  })

  test('data over several lines, whatever ends them, is read as one', async () => {
    for (const end of ['\n', '\r\n', '\r']) {
      const text = BEGUN.slice(0, 4).join('').replaceAll(',"sequence', ',\ndata: "sequence')
      script(text.replaceAll('\n', end) + EVENTS[4], 'end')
      const reply = await post()
      await reply.text()
      expect(told(await shown(idOf(reply)))).toBe('päß0 päß1 ')
    }
  })

  test('a response with strange events is cancelled like every other', async () => {
    script(BEGUN.slice(0, 5).join('') + STRANGE.join('') + BEGUN[5], 'hold')
    const reply = await post({ background: true })
    const pieces = reply.body?.getReader()
    await pieces?.read()
    const url = `${stage.gateway.url}${RESPONSES}/${idOf(reply)}/cancel`
    const response = (await (await fetch(url, { method: 'POST' })).json()) as Shown
    expect(response.status).toBe('cancelled')
    await until(async () => (await leases(stage.gateway)) === 0, 'the end of the work')
  })

  test('[DONE] does not end a response', async () => {
    const [whole, cut] = [await ended('complete'), await ended('truncated')]
    script(BEGUN.join('') + DONE, 'end')
    const reply = await post()
    expect(await reply.text()).toMatch(/event: response\.failed\n.*\n\nevent: error\n.*\n\n$/)
    expect((await shown(idOf(reply))).status).toBe('failed')
    const alone = await post({ store: false })
    expect(await alone.text()).toMatch(/event: error\n.*\n\n$/)
    const polled = await post({ background: true, stream: false })
    const { id } = (await polled.json()) as { id: string }
    await until(async () => (await shown(id)).status === 'failed', 'the end of the poll')
    await until(async () => (await ended('truncated')) === cut + 3, 'the books')
    expect(await ended('complete')).toBe(whole)
  })

  test('[DONE] behind the last event hides no response', async () => {
    const before = await ended('complete')
    script(BEGUN.join('') + LAST + DONE, 'hold')
    const reply = await post()
    await reply.text()
    expect((await shown(idOf(reply))).status).toBe('completed')
    await until(async () => (await ended('complete')) === before + 1, 'the books')
  })

  test('a last event that holds no response, and a body that is none, have failed', async () => {
    script(`${BEGUN.join('')}event: response.completed\ndata: null\n\n`, 'end')
    const stream = await post()
    await stream.text()
    expect((await shown(idOf(stream))).status).toBe('failed')
    script(EVENTS.join(''), 'end')
    const plain = await post({ stream: false })
    await plain.text()
    expect((await shown(idOf(plain))).status).toBe('failed')
    script('{"id":"resp_1"', 'end', 'application/json')
    const cut = await post({ stream: false })
    await cut.text()
    expect((await shown(idOf(cut))).status).toBe('failed')
  })

  test('an error, or a reply to a warm-up, that is nested too deeply passes as text', async () => {
    const deep = `{"error":${'['.repeat(9000)}${']'.repeat(9000)}}`
    const socket = await openSocket(stage.gateway.url + RESPONSES)
    stage.node.stand.onData = (request, response) => {
      request.resume()
      response.writeHead(400, { 'content-type': 'application/json' })
      response.end(deep)
    }
    socket.ask({ type: 'response.create', model: 'm', input: 'x', stream_id: 'a' })
    await socket.until(({ stream_id: lane }) => lane === 'a', 'the refusal')
    script(deep, 'end', 'application/json')
    const warm = { type: 'response.create', model: 'm', input: 'x', generate: false }
    socket.ask({ ...warm, stream_id: 'b' })
    await socket.until(({ stream_id: lane }) => lane === 'b', 'the refusal')
    expect(socket.messages).toMatchObject([
      { status: 400, error: { type: 'upstream_error', message: deep.slice(0, 1000) } },
      { status: 502, error: { code: 'upstream_error' } },
    ])
    await socket.close()
  })
})
