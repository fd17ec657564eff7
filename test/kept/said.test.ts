/**
 * A response whose node has said all and has not ended its stream: for whoever has read the last
 * byte it is finished, on every thread.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { describe, expect, test } from 'vitest'
import { until } from '../gateway/gateway.ts'
import { useScriptedGateway } from './scripted_gateway.ts'
import { bodyOf, responseEvents } from './scripted_node.ts'

const STREAM = { 'content-type': 'text/event-stream' }
const JSON_TYPE = { 'content-type': 'application/json' }
/** More than enough to meet both threads: which one a connection gets is the kernel's choice. */
const CONNECTIONS = 12

interface Held {
  id: string
  end(): void
}

function whole(id: string): string {
  return JSON.stringify({ id, object: 'response', status: 'completed', output: [] })
}

describe.each([1, 2])('with %i gateway threads', threads => {
  const stage = useScriptedGateway(threads, 1)

  function ask(path: string, body?: object): Promise<Response> {
    const method = body === undefined ? 'GET' : 'POST'
    // A connection each.
    const headers = { ...JSON_TYPE, connection: 'close' }
    const init = { method, headers, ...(body && { body: JSON.stringify(body) }) }
    return fetch(`${stage.gateway.url}/v1/responses${path}`, init)
  }

  /** A node that says `text` to the first request and holds its stream; later ones are answered. */
  function holdFirst(headers: object, text: (id: string) => string): Held {
    const first: Held = { id: '', end: () => {} }
    const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
      const id = /"request_id":"(\w+)"/.exec(await bodyOf(request))?.[1] ?? ''
      if (first.id !== '') {
        response.writeHead(200, JSON_TYPE).end(whole(id))
        return
      }
      response.writeHead(200, { ...headers }).write(text(id))
      first.end = () => response.end()
      first.id = id
    }
    stage.node.stand.onData = (request, response) => void answer(request, response)
    return first
  }

  async function goesOn(id: string): Promise<void> {
    for (let i = 0; i < CONNECTIONS; i++) {
      expect(await (await ask(`/${id}`)).json()).toMatchObject({ id, status: 'completed' })
      const next = await ask('', { model: 'm', input: `${i}`, previous_response_id: id })
      expect(next.status).toBe(200)
      await next.body?.cancel()
    }
  }

  test('a stream is finished with its last event', async () => {
    const first = holdFirst(STREAM, id => responseEvents(id).join(''))
    const reply = await ask('', { model: 'm', input: 'x', stream: true })
    const reader = reply.body?.getReader()
    let text = ''
    while (!text.includes('response.completed')) {
      text += Buffer.from((await reader?.read())?.value ?? []).toString()
    }
    await goesOn(first.id)
    first.end()
    expect((await reader?.read())?.done).toBe(true)
  })

  test('a body is finished with its last byte', async () => {
    const first = holdFirst(JSON_TYPE, whole)
    const asked = ask('', { model: 'm', input: 'x' })
    const status = async (): Promise<string> =>
      ((await (await ask(`/${first.id}`)).json()) as { status: string }).status
    await until(async () => first.id !== '' && (await status()) === 'completed', 'the body')
    await goesOn(first.id)
    first.end()
    expect(await (await asked).json()).toMatchObject({ id: first.id, status: 'completed' })
  })
})
