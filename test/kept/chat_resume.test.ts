/**
 * Resumable chats beyond the bytes (reconnects.test.ts): what goes on without a reader and for how
 * long, what is refused, and what happens at the end of the process.
 */
import OpenAI from 'openai'
import { describe, expect, test } from 'vitest'
import { until } from '../gateway/gateway.ts'
import { useStage } from '../gateway/stage.ts'

const CHAT = '/v1/chat/completions'
/** Long enough that who comes back at once is in time on a busy machine, too. */
const GRACE_MS = 900
const CONFIG = `
responses:
  grace_ms: ${GRACE_MS}ms
timeouts:
  drain_ms: 20s
`
const RESUMABLE = { 'content-type': 'application/json', 'x-warmpath-resume': '1' }
/** Tokens of an answer that takes some seconds. */
const LONG = 6000

function idOf(reply: Response): string {
  return reply.headers.get('x-warmpath-response-id') ?? ''
}

describe.each([1, 2])('with %i gateway threads', threads => {
  const stage = useStage({ threads, timeFactor: 0.1, config: CONFIG, isFresh: true })

  function ask(content: string, extra: object = {}, signal?: AbortSignal): Promise<Response> {
    const messages = [{ role: 'user', content }]
    const body = JSON.stringify({ model: 'sim', messages, stream: true, max_tokens: 20, ...extra })
    const init = { method: 'POST', headers: RESUMABLE, body }
    return fetch(stage.gateway.url + CHAT, signal === undefined ? init : { ...init, signal })
  }

  const resume = (id: string, headers: Record<string, string> = {}): Promise<Response> =>
    fetch(`${stage.gateway.url}${CHAT}/${id}`, { headers })

  /** Asks, reads a little and goes away; returns the id. */
  async function leave(content: string, extra: object): Promise<string> {
    const stop = new AbortController()
    const reply = await ask(content, extra, stop.signal)
    await reply.body?.getReader().read()
    stop.abort()
    return idOf(reply)
  }

  test('without a reader it goes on for the grace period and is then cancelled', async () => {
    const id = await leave('left', { max_tokens: LONG })
    const leftMs = performance.now()
    await until(() => stage.node.aborts.length === 1, 'the abort at the node')
    expect(performance.now() - leftMs).toBeGreaterThan(GRACE_MS * 0.8)
    await until(() => stage.gateway.exchanges().length === 1, 'its log line')
    expect(stage.gateway.exchanges()[0]?.reason).toBe('client_gone')
    // What came until then can be read, and it is no whole answer.
    const rest = await (await resume(id)).text()
    expect(rest).not.toContain('[DONE]')
    expect(rest).toMatch(/\n\nid: \d+\ndata: \{"error":\{.*"code":"cancelled"\}\}\n\n$/)
  })

  test('who comes back in time keeps it alive, and its leaving begins another grace', async () => {
    const id = await leave('back', { max_tokens: 1200 })
    const stop = new AbortController()
    const again = await fetch(`${stage.gateway.url}${CHAT}/${id}`, { signal: stop.signal })
    const reader = again.body?.getReader()
    const untilMs = performance.now() + 2 * GRACE_MS
    while (performance.now() < untilMs) await reader?.read()
    expect(stage.node.aborts).toEqual([])
    stop.abort()
    const whole = await (await resume(id)).text()
    expect(whole.endsWith('data: [DONE]\n\n')).toBe(true)
    expect(stage.node.aborts).toEqual([])
  })

  test('the grace period begins with the last leaving', async () => {
    const id = await leave('twice', { max_tokens: LONG })
    const firstMs = performance.now()
    await until(() => performance.now() - firstMs > GRACE_MS / 2, 'half of the first grace period')
    const stop = new AbortController()
    const again = await fetch(`${stage.gateway.url}${CHAT}/${id}`, { signal: stop.signal })
    await again.body?.getReader().read()
    expect(stage.node.aborts).toEqual([])
    stop.abort()
    const leftMs = performance.now()
    await until(() => stage.node.aborts.length === 1, 'the abort at the node')
    expect(performance.now() - leftMs).toBeGreaterThan(GRACE_MS * 0.8)
  })

  test('the SDK reads a resumable stream like every other', async () => {
    const client = new OpenAI({ baseURL: `${stage.gateway.url}/v1`, apiKey: 'none', maxRetries: 0 })
    const messages = [{ role: 'user' as const, content: 'sdk' }]
    const body = { model: 'sim', messages, stream: true as const, max_tokens: 9 }
    const options = { headers: { 'x-warmpath-resume': '1' } }
    let chunks = 0
    for await (const chunk of await client.chat.completions.create(body, options)) {
      expect(chunk.object).toBe('chat.completion.chunk')
      chunks++
    }
    expect(chunks).toBeGreaterThanOrEqual(9)
  })

  test('a plain answer is kept as it is, without numbers', async () => {
    const reply = await ask('plain', { stream: false })
    const text = await reply.text()
    expect(JSON.parse(text)).toMatchObject({ object: 'chat.completion' })
    expect(await (await resume(idOf(reply))).text()).toBe(text)
  })

  test('the node sees neither the wish nor the place', async () => {
    await (await ask('secret')).text()
    const seen = stage.node.requests.find(one => one.method === 'POST')?.rawHeaders.join('\n') ?? ''
    expect(seen).not.toContain('x-warmpath')
    expect(seen.length).toBeGreaterThan(0)
  })

  test('an error of the node passes and leaves nothing', async () => {
    const reply = await ask('too long', { max_tokens: 1e7 })
    expect(reply.status).toBe(400)
    expect(await reply.json()).toMatchObject({ error: { code: 400 } })
    expect((await resume(idOf(reply))).status).toBe(404)
    await until(() => stage.gateway.exchanges().length === 1, 'its log line')
    expect(stage.gateway.exchanges()[0]?.reason).toBe('node_error')
  })

  test('a place that is no number is refused, one beyond the end ends at once', async () => {
    const reply = await ask('places')
    await reply.text()
    expect((await resume(idOf(reply), { 'last-event-id': 'x' })).status).toBe(400)
    const beyond = await resume(idOf(reply), { 'last-event-id': '9999' })
    expect([beyond.status, await beyond.text()]).toEqual([200, ''])
    expect(beyond.headers.get('content-type')).toContain('text/event-stream')
    const wrong = await fetch(`${stage.gateway.url}${CHAT}/${idOf(reply)}`, { method: 'DELETE' })
    expect([wrong.status, wrong.headers.get('allow')]).toEqual([405, 'GET'])
  })

  test('a drain lets what runs finish, also for those who came back', async () => {
    const id = await leave('drain', { max_tokens: 300 })
    const again = await resume(id)
    stage.gateway.signal('SIGTERM')
    expect((await again.text()).endsWith('data: [DONE]\n\n')).toBe(true)
    expect(await stage.gateway.exited).toBe(0)
    expect(stage.posts.length).toBe(1)
  })
})
