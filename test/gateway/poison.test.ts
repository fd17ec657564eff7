/** One node and a request that it cannot stand, or answers with nothing: the others do not suffer. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { describe, expect, test } from 'vitest'
import { useScriptedGateway } from '../kept/scripted_gateway.ts'
import { bodyOf } from '../kept/scripted_node.ts'
import { metric, until } from './gateway.ts'

const CHAT = '/v1/chat/completions'
const ROLE = 'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
const DONE = 'data: [DONE]\n\n'
const COMPLETE = 'warmpath_exchanges_total{reason="complete"}'
const TRUNCATED = 'warmpath_exchanges_total{reason="truncated"}'

describe.each([1, 2])('with %i gateway threads', threads => {
  const stage = useScriptedGateway(threads, 1)

  function ask(content: string): Promise<Response> {
    const messages = [{ role: 'user', content }]
    const body = JSON.stringify({ model: 'm', messages, stream: true })
    const headers = { 'content-type': 'application/json' }
    return fetch(stage.gateway.url + CHAT, { method: 'POST', headers, body })
  }

  test('a request that resets its node is asked twice, and the next one is answered', async () => {
    let asked = 0
    const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
      const isPoison = (await bodyOf(request)).includes('poison')
      if (isPoison) {
        asked++
        request.socket.resetAndDestroy()
        return
      }
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      response.end(ROLE.replace('""', '"x"') + DONE)
    }
    stage.node.stand.onData = (request, response) => void answer(request, response)
    const poisoned = await ask('poison')
    expect([poisoned.status, asked]).toEqual([502, 2])
    expect(await poisoned.text()).toContain('"upstream_error"')
    const innocent = await ask('innocent')
    expect([innocent.status, asked]).toEqual([200, 2])
    expect((await innocent.text()).endsWith(DONE)).toBe(true)
    // A turn after the end of the answer; the next test counts on.
    await until(async () => (await metric(stage.gateway, COMPLETE)) === 1, 'the books')
  })

  test('a chat that ends before its first token is no whole answer', async () => {
    const ended = (): Promise<number[]> =>
      Promise.all([COMPLETE, TRUNCATED].map(one => metric(stage.gateway, one)))
    const [whole = 0, cut = 0] = await ended()
    let answer: ServerResponse | null = null
    stage.node.stand.onData = (request, response) => {
      request.resume()
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      response.write(ROLE)
      answer = response
    }
    const reply = await ask('x')
    const reader = reply.body?.getReader()
    const first = await reader?.read()
    expect(Buffer.from(first?.value ?? []).toString()).toBe(ROLE)
    answer!.end(DONE)
    let rest = ''
    for (let one = await reader?.read(); one?.done === false; one = await reader?.read()) {
      rest += Buffer.from(one.value).toString()
    }
    expect(rest).toMatch(/^data: \{"error":.*"upstream_error".*\}\n\n$/)
    await until(async () => (await ended())[1] === cut + 1, 'the books')
    expect(await ended()).toEqual([whole, cut + 1])
  })
})
