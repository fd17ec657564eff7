/**
 * What a client may say to end the process for everybody: ids and items that are none. Each is
 * answered, and the gateway goes on (it must exit with 0 at the end of the block).
 */
import { once } from 'node:events'
import { connect } from 'node:net'
import { describe, expect, test } from 'vitest'
import { openSocket } from '../gateway/socket_client.ts'
import { useScriptedGateway } from './scripted_gateway.ts'

const CHAT = '/v1/chat/completions'
const RESPONSES = '/v1/responses'
/** As many characters as an id may have bytes, and twice as many bytes. */
const WIDE = ['é'.repeat(59), 'é'.repeat(60)] as const

describe.each([1, 2])('with %i gateway threads', threads => {
  const stage = useScriptedGateway(threads, 1)

  async function ask(method: string, target: string, body: object | null = null) {
    const headers = { 'content-type': 'application/json' }
    const init = { method, headers, body: body === null ? null : JSON.stringify(body) }
    const reply = await fetch(stage.gateway.url + target, init)
    return { status: reply.status, text: await reply.text() }
  }

  test('an id beyond ASCII is as unknown as every other', async () => {
    const response_id = `resp_${WIDE[0]}`
    const body = { model: 'm', input: 'x', previous_response_id: response_id }
    const reply = await ask('POST', RESPONSES, body)
    expect([reply.status, reply.text]).toEqual([
      400,
      expect.stringContaining('previous_response_not_found'),
    ])
    for (const path of [RESPONSES, CHAT]) {
      const socket = await openSocket(stage.gateway.url + path)
      for (const id of [response_id, `wpr_${WIDE[1]}`]) {
        for (const type of ['warmpath:resume', 'warmpath:cancel']) {
          socket.texts.length = 0
          socket.ask({ type, response_id: id, stream_id: 'a' })
          const said = await socket.until(message => message.type === 'error', 'an answer')
          expect(said).toMatchObject({ status: 404, error: { code: 'response_not_found' } })
        }
      }
      await socket.close()
    }
  })

  test('an id beyond ASCII in the request line is as unknown as every other', async () => {
    for (const target of [`${RESPONSES}/resp_${WIDE[0]}`, `${CHAT}/wpr_${WIDE[1]}`]) {
      const socket = connect(Number(new URL(stage.gateway.url).port), '127.0.0.1')
      socket.write(`GET ${target} HTTP/1.1\r\nHost: x\r\n\r\n`)
      const [bytes] = (await once(socket, 'data')) as [Buffer]
      expect(bytes.toString()).toMatch(/^HTTP\/1\.1 40[04] /)
      socket.destroy()
    }
  })

  test('an input of things that are no items has none', async () => {
    const input = [null, 'text', 5, [1], { role: 'user', content: 'x' }]
    const reply = await ask('POST', RESPONSES, { model: 'm', input, background: true })
    const { id } = JSON.parse(reply.text) as { id: string }
    const items = await ask('GET', `${RESPONSES}/${id}/input_items`)
    expect(items.status).toBe(200)
    expect(JSON.parse(items.text)).toMatchObject({ data: [{ type: 'message', role: 'user' }] })
  })
})
