/** How readers hear of an answer that did not come to its own end, and of a head that is too long. */
import { get as httpGet, request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { describe, expect, test } from 'vitest'
import { until } from '../gateway/gateway.ts'
import { openSocket } from '../gateway/socket_client.ts'
import { useScriptedGateway } from './scripted_gateway.ts'
import { CHAT_EVENTS, responseEvents } from './scripted_node.ts'

const CHAT = '/v1/chat/completions'
const RESPONSES = '/v1/responses'
const EVENTS = responseEvents('resp_x')
const JSON_TYPE = { 'content-type': 'application/json' }
/** Bytes of heads that the test's own client takes. */
const HEAD_BYTES_MAX = 262_144

interface Reply {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
}

describe.each([1, 2])('with %i gateway threads', threads => {
  const stage = useScriptedGateway(threads, 1)

  function script(text: string, isOver: boolean, headers: Record<string, string> = {}): void {
    stage.node.stand.onData = (request, response) => {
      request.resume()
      response.writeHead(200, { 'content-type': 'text/event-stream', ...headers })
      if (isOver) response.end(text)
      else if (text === '') response.flushHeaders()
      else response.write(text)
    }
  }

  /** A request whose answer may have a long head. */
  function call(path: string, body: object | null, headers = {}): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const make = body === null ? httpGet : httpRequest
      const method = body === null ? 'GET' : 'POST'
      const options = {
        method,
        maxHeaderSize: HEAD_BYTES_MAX,
        headers: { ...JSON_TYPE, ...headers },
      }
      const asked = make(stage.gateway.url + path, options, reply => {
        let text = ''
        reply.on('data', piece => {
          text += String(piece)
        })
        reply.on('error', reject)
        reply.on('end', () =>
          resolve({ status: reply.statusCode ?? 0, headers: reply.headers, text }),
        )
      })
      asked.on('error', reject)
      asked.end(body === null ? undefined : JSON.stringify(body))
    })
  }

  test('the last message of a response that was cut short is response.failed', async () => {
    stage.node.stand.onData = (request, response) => {
      let body = ''
      request.on('data', piece => {
        body += String(piece)
      })
      request.on('end', () => {
        const { request_id } = JSON.parse(body) as { request_id: string }
        response.writeHead(200, { 'content-type': 'text/event-stream' })
        response.end(responseEvents(request_id).slice(0, 6).join(''))
      })
    }
    const socket = await openSocket(stage.gateway.url + RESPONSES)
    socket.ask({ type: 'response.create', model: 'm', input: 'x', stream_id: 'a' })
    const failed = await socket.until(({ type }) => type === 'response.failed', 'the end')
    const { id } = failed['response'] as { id: string }
    socket.ask({ type: 'warmpath:resume', response_id: id, stream_id: 'a', starting_after: 4 })
    await socket.ended('a', 2)
    // Answered in its own turn, so nothing came behind the end before it.
    socket.ask({ type: 'warmpath:resume', response_id: 'resp_none', stream_id: 'a' })
    await socket.until(({ type }) => type === 'error', 'an answer')
    const types = socket.lane('a').map(({ type }) => type)
    const first = types.slice(0, 7)
    expect(first.at(-1)).toBe('response.failed')
    expect(types.slice(7)).toEqual([first[5], 'response.failed', 'error'])
    await socket.close()
  })

  test.each(['', CHAT_EVENTS.slice(0, 3).join('')])(
    'whoever reads a chat that is cancelled hears of it (after %j)',
    async text => {
      script(text, false)
      const socket = await openSocket(stage.gateway.url + CHAT)
      socket.ask({ model: 'm', messages: [], 'warmpath:resume': true })
      const made = await socket.until(({ type }) => type === 'warmpath:created', 'its id')
      const id = String(made['response_id'])
      const reader = call(`${CHAT}/${id}`, null)
      const readers = (): number =>
        stage.gateway.lines.filter(line => line.includes('"msg":"reader"')).length
      const before = readers()
      if (text !== '') await until(() => socket.texts.length > 2, 'what came')
      socket.ask({ type: 'warmpath:cancel', response_id: id })
      const reply = await reader
      if (reply.status === 200)
        expect(reply.text).toMatch(/\nid: 3\ndata: \{"error":.*"cancelled".*\n\n$/)
      else expect([reply.status, reply.text]).toEqual([499, expect.stringContaining('"cancelled"')])
      await until(() => readers() > before, 'the line of the reader')
      await socket.close()
    },
  )

  test('what names no lane is answered while the default lane runs', async () => {
    script(CHAT_EVENTS.slice(0, 3).join(''), false)
    const socket = await openSocket(stage.gateway.url + CHAT)
    socket.ask({ model: 'm', messages: [] })
    await until(() => socket.texts.length > 2, 'what came')
    for (const noise of ['{', '[]', '{"stream_id":""}']) {
      const before = socket.texts.length
      socket.ws.send(noise)
      await until(() => socket.texts.length > before, 'an answer')
      expect(socket.messages.at(-1)).toMatchObject({ type: 'error', status: 400 })
    }
    // A frame of the lane itself waits for its turn.
    const before = socket.texts.length
    socket.ask({ model: 'm', messages: [], stream: false })
    socket.ws.send('{')
    await until(() => socket.texts.length > before, 'an answer')
    expect(socket.messages.slice(before).map(({ error }) => error)).toMatchObject([{ param: null }])
    await socket.close()
  })

  test('of a head that is too long to be kept the long headers are left out', async () => {
    const long = Object.fromEntries(
      ['a', 'b', 'c', 'd'].map(name => [`x-${name}`, '"'.repeat(9000 + name.charCodeAt(0))]),
    )
    script(EVENTS.join(''), true, { ...long, 'x-short': 'kept' })
    const first = await call(RESPONSES, { model: 'm', input: 'x', stream: true })
    expect([first.status, first.text]).toEqual([200, EVENTS.join('')])
    expect(first.headers).toMatchObject({ 'x-d': long['x-d'], 'x-short': 'kept' })
    const id = String(first.headers['x-warmpath-response-id'])
    const again = await call(`${RESPONSES}/${id}?stream=true`, null)
    expect([again.status, again.text]).toEqual([200, EVENTS.join('')])
    expect(again.headers['x-short']).toBe('kept')
    expect(again.headers['x-d']).toBe(undefined)
  })
})
