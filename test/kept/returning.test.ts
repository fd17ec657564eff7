/**
 * Coming back to a response, and going on from it, in cases that no well-behaved pair of client and
 * node meets: numbers that are still to come, comments between events, inputs and outputs that are
 * none.
 */
import type { ServerResponse } from 'node:http'
import { describe, expect, test } from 'vitest'
import { metric, until } from '../gateway/gateway.ts'
import { openSocket } from '../gateway/socket_client.ts'
import { useScriptedGateway } from './scripted_gateway.ts'
import { responseEvents } from './scripted_node.ts'

const RESPONSES = '/v1/responses'
const EVENTS = responseEvents('resp_x')
const PING = ': ping\n\n'

function idOf(reply: Response): string {
  return reply.headers.get('x-warmpath-response-id') ?? ''
}

async function textOf(reply: Promise<Response>): Promise<string> {
  return (await reply).text()
}

describe.each([1, 2])('with %i gateway threads', threads => {
  const stage = useScriptedGateway(threads, 1)
  let answer: ServerResponse | null = null

  /** The node sends this and leaves the stream open, or ends a body. */
  function script(text: string, type = 'text/event-stream'): void {
    stage.node.stand.onData = (request, response) => {
      request.resume()
      answer = response
      response.writeHead(200, { 'content-type': type })
      if (type === 'text/event-stream') response.write(text)
      else response.end(text)
    }
  }

  function post(extra: object): Promise<Response> {
    const headers = { 'content-type': 'application/json' }
    const body = JSON.stringify({ model: 'm', ...extra })
    return fetch(stage.gateway.url + RESPONSES, { method: 'POST', headers, body })
  }

  function get(id: string, query: string, headers: Record<string, string> = {}) {
    return fetch(`${stage.gateway.url}${RESPONSES}/${id}?stream=true${query}`, { headers })
  }

  test('after an event that is still to come: what follows it, once it has come', async () => {
    script(EVENTS.slice(0, 4).join(''))
    const first = await post({ input: 'x', stream: true })
    await first.body?.getReader().read()
    const id = idOf(first)
    const resumes = (): Promise<number> => metric(stage.gateway, 'warmpath_resumed_streams_total')
    const before = await resumes()
    const over = get(id, '&starting_after=6')
    const socket = await openSocket(stage.gateway.url + RESPONSES)
    socket.ask({ type: 'warmpath:resume', response_id: id, starting_after: 8, stream_id: 'a' })
    await until(async () => (await resumes()) === before + 2, 'both readers')
    answer!.write(EVENTS.slice(4, 6).join(''))
    answer!.end(EVENTS.slice(6).join(''))
    expect(await textOf(over)).toBe(EVENTS.slice(7).join(''))
    await socket.ended('a')
    expect(socket.lane('a').map(one => one['sequence_number'])).toEqual([9, 10, 11, 12, 13])
    const late = await get(id, '&starting_after=500')
    expect([late.status, await late.text()]).toEqual([200, ''])
    await socket.close()
  })

  test('Last-Event-ID says the same as starting_after, which comes first', async () => {
    script(EVENTS.join(''))
    const id = idOf(await post({ input: 'x', stream: true }))
    expect(await textOf(get(id, '', { 'last-event-id': '5' }))).toBe(EVENTS.slice(6).join(''))
    const both = get(id, '&starting_after=7', { 'last-event-id': '5' })
    expect(await textOf(both)).toBe(EVENTS.slice(8).join(''))
    expect((await get(id, '', { 'last-event-id': 'x' })).status).toBe(400)
  })

  test('comments between events have no number', async () => {
    const whole = EVENTS.map(event => PING + PING + event)
    script(whole.join(''))
    const id = idOf(await post({ input: 'x', stream: true }))
    for (let last = -1; last < EVENTS.length; last++) {
      const rest = await (await get(id, `&starting_after=${last}`)).text()
      expect(rest).toBe(whole.slice(last + 1).join(''))
    }
  })

  test('numbers that begin with 1 are taken as they are', async () => {
    const later = EVENTS.map(event =>
      event.replace(/"sequence_number":(\d+)/, (_, n) => `"sequence_number":${Number(n) + 1}`),
    )
    script(later.join(''))
    const id = idOf(await post({ input: 'x', stream: true }))
    for (const last of [0, 1, 5]) {
      const rest = await (await get(id, `&starting_after=${last}`)).text()
      expect(rest).toBe(later.slice(last).join(''))
    }
  })

  test('without an input nothing is continued, nor run in the background', async () => {
    script('{"output":[]}', 'application/json')
    const previous_response_id = idOf(await post({ input: 'x' }))
    for (const input of [undefined, null, {}, 5]) {
      const before = stage.node.stand.requests.filter(path => path === RESPONSES).length
      for (const more of [{ previous_response_id }, { background: true }]) {
        const reply = await post({ input, ...more })
        expect(reply.status).toBe(400)
        expect(await reply.json()).toMatchObject({ error: { param: 'input' } })
      }
      const asked = stage.node.stand.requests.filter(path => path === RESPONSES).length
      expect(asked).toBe(before)
    }
  })

  test('an output that is no list adds nothing to the conversation', async () => {
    for (const output of ['null', '"text"', '5', '{}']) {
      script(`{"output":${output}}`, 'application/json')
      const first = await post({ input: 'one' })
      const id = idOf(first)
      await first.text()
      let seen = ''
      stage.node.stand.onData = (request, response) => {
        request.on('data', piece => {
          seen += String(piece)
        })
        request.on('end', () => response.end('{}'))
      }
      const next = await post({ input: 'two', previous_response_id: id })
      expect(next.status).toBe(200)
      expect(JSON.parse(seen)).toMatchObject({
        input: [
          { role: 'user', content: 'one' },
          { role: 'user', content: 'two' },
        ],
      })
    }
  })
})
