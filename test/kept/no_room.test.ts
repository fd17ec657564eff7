/** Where there is no room to keep an answer, no id is given that nobody could come back with. */
import { describe, expect, test } from 'vitest'
import { useStage } from '../gateway/stage.ts'

const RESPONSES = '/v1/responses'
const CONFIG = 'responses:\n  store_bytes_max: 1MiB\n'

describe.each([1, 2])('with %i gateway threads', threads => {
  const stage = useStage({ threads, timeFactor: 0, config: CONFIG })

  function post(extra: object): Promise<Response> {
    const headers = { 'content-type': 'application/json' }
    const item = { role: 'user', content: 'x'.repeat(3 * 2 ** 20) }
    const body = JSON.stringify({ model: 'sim', input: [item], max_output_tokens: 1, ...extra })
    return fetch(stage.gateway.url + RESPONSES, { method: 'POST', headers, body })
  }

  test('a background response is refused', async () => {
    for (const stream of [false, true]) {
      const reply = await post({ background: true, stream })
      expect(reply.status).toBe(503)
      expect(reply.headers.get('x-warmpath-response-id')).toBe(null)
      expect(await reply.json()).toMatchObject({ error: { code: 'server_is_overloaded' } })
    }
    expect(stage.posts.length).toBe(0)
  })

  test('any other is answered, and names no id', async () => {
    const reply = await post({})
    expect(reply.headers.get('x-warmpath-response-id')).toBe(null)
    const asked = stage.posts.length
    expect(asked).toBe(1)
    const { id } = (await reply.json()) as { id: string }
    expect((await fetch(`${stage.gateway.url}${RESPONSES}/${id}`)).status).toBe(404)
  })
})
