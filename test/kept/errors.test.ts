/** An error is nobody's to come back to, from its first byte on. */
import type { ServerResponse } from 'node:http'
import { describe, expect, test } from 'vitest'
import { until } from '../gateway/gateway.ts'
import { useScriptedGateway } from './scripted_gateway.ts'

const CHAT = '/v1/chat/completions'
const BODY = '{"error":{"message":"too long","code":400}}'

describe.each([1, 2])('with %i gateway threads', threads => {
  const stage = useScriptedGateway(threads, 1)

  test('an error that is still on its way is not found by its id', async () => {
    let rest: ServerResponse | null = null
    stage.node.stand.onData = (request, response) => {
      request.resume()
      response.writeHead(400, { 'content-type': 'application/json' })
      response.write(BODY.slice(0, 10))
      rest = response
    }
    const headers = { 'content-type': 'application/json', 'x-warmpath-resume': '1' }
    const body = JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'x' }] })
    const reply = await fetch(stage.gateway.url + CHAT, { method: 'POST', headers, body })
    const id = reply.headers.get('x-warmpath-response-id') ?? ''
    expect([reply.status, id]).toEqual([400, expect.stringMatching(/./)])
    expect((await fetch(`${stage.gateway.url}${CHAT}/${id}`)).status).toBe(404)
    rest!.end(BODY.slice(10))
    expect(await reply.text()).toBe(BODY)
    await until(() => stage.gateway.exchanges().length === 1, 'its log line')
    expect(stage.gateway.exchanges()[0]?.reason).toBe('node_error')
  })
})
