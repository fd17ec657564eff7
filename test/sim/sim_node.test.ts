import { once } from 'node:events'
import { connect } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import type { SimNodeOptions } from '../../src/sim/config.ts'
import { type SimNode, startSimNode } from '../../src/sim/sim_node.ts'
import { ReplayClient } from './event_client.ts'
import { answer, chat, post, until } from './node_client.ts'

const nodes: SimNode[] = []

async function start(options: SimNodeOptions = {}): Promise<SimNode> {
  const node = await startSimNode({ timeFactor: 0, ...options })
  nodes.push(node)
  return node
}

afterEach(async () => {
  await Promise.all(nodes.splice(0).map(node => node.close()))
})

describe('a simulated node', () => {
  it('answers a chat with as many tokens as asked for', async () => {
    const node = await start()
    const reply = await chat(node)
    expect(reply.status).toBe(200)
    expect(await reply.json()).toMatchObject({
      choices: [{ finish_reason: 'length' }],
      usage: { completion_tokens: 4 },
    })
    expect(node.requestsSeen).toBe(1)
    expect(node.requests[0]?.path).toBe('/v1/chat/completions')
  })

  it('reuses the blocks of an earlier prompt, at most all but the last token', async () => {
    const node = await start({ blockSize: 4 })
    const cached: number[] = []
    for (let n = 0; n < 2; n++) {
      const body = await answer(node)
      cached.push(body.usage.prompt_tokens_details.cached_tokens)
      expect(body.usage.prompt_tokens).toBeGreaterThan(8)
      const most = Math.floor((body.usage.prompt_tokens - 1) / 4) * 4
      expect(cached[n]).toBe(n === 0 ? 0 : most)
    }
  })

  it('gives equal answers to equal prompts, and grows prefixes token for token', async () => {
    const node = await start({ blockSize: 4 })
    const messages = [{ role: 'user', content: 'hello there my friend' }]
    const text = async (): Promise<string> => {
      const body = await answer(node, { messages, max_tokens: 40 })
      expect(body.usage.prompt_tokens_details.cached_tokens).toBeGreaterThanOrEqual(seen)
      return body.choices[0]?.message.content ?? ''
    }
    let seen = 0
    const first = await text()
    expect(await text()).toBe(first)
    messages.push({ role: 'assistant', content: first }, { role: 'user', content: 'go on' })
    // Prompt and answer of the first turn, but for the incomplete last block.
    seen = 40
    await text()
  })

  it('publishes the blocks it stores, in order, and again on replay', async () => {
    const node = await start({ blockSize: 4 })
    const client = new ReplayClient(node.kvReplay[0] ?? '')
    await (await chat(node, { stream: true, max_tokens: 12 })).text()
    const batches = node.batchesPublished()
    expect(batches).toBeGreaterThan(2)
    const replay = await client.batches(0)
    expect(replay.map(({ seq }) => seq)).toEqual(Array.from({ length: batches }, (_, n) => n))
    expect(replay[0]?.events[0]).toMatchObject({ type: 'BlockStored', parent_block_hash: null })
    client.close()
  })

  it('frees a sequence at once when its client leaves during prefill', async () => {
    const node = await start({ timeFactor: 1000 })
    const controller = new AbortController()
    const pending = chat(node, { stream: true }, { signal: controller.signal })
    await until(() => node.activeSequences === 1 && node.engine().runningCount === 1)
    expect(node.engine().cache.usedCount).toBeGreaterThan(0)
    controller.abort()
    await pending.then(reply => reply.text()).catch(() => undefined)
    await until(() => node.abortsSeen === 1)
    expect(node.aborts[0]?.phase).toBe('prefill')
    expect(node.activeSequences).toBe(0)
    expect(node.engine().cache.usedCount).toBe(0)
  })

  it('refuses connections and comes back on the same port', async () => {
    const node = await start()
    await node.fault({ kind: 'refuse' })
    await expect(fetch(`${node.url}/health`)).rejects.toThrow()
    await node.fault({ kind: 'clear' })
    expect((await fetch(`${node.url}/health`)).status).toBe(200)
  })

  it.each(['rst', 'fin'] as const)(
    'dies mid-stream by %s after the events asked for',
    async how => {
      const node = await start()
      await node.fault({ kind: 'die', events: 3, how, times: 1 })
      const reply = await chat(node, { stream: true })
      let text = ''
      const decoder = new TextDecoder()
      const read = async (): Promise<void> => {
        for await (const chunk of reply.body ?? []) text += decoder.decode(chunk)
      }
      await expect(read()).rejects.toThrow()
      expect(text.match(/^data: /gm)).toHaveLength(3)
      expect(text).not.toContain('[DONE]')
      expect(node.activeSequences).toBe(0)
      expect((await chat(node)).status).toBe(200)
    },
  )

  it('stalls until the fault is cleared', async () => {
    const node = await start()
    await node.fault({ kind: 'stall', times: 1 })
    const stalled = chat(node, {}, { signal: AbortSignal.timeout(100) })
    await expect(stalled).rejects.toThrow()
    expect((await chat(node)).status).toBe(200)
  })

  it('closes an idle connection after the time that uvicorn takes', async () => {
    const node = await start({ keepAliveMs: 50 })
    const socket = connect(Number(new URL(node.url).port), '127.0.0.1')
    const closed = new Promise(resolve => socket.once('end', resolve))
    socket.write('GET /health HTTP/1.1\r\nhost: x\r\n\r\n')
    const [head] = await once(socket, 'data')
    expect(String(head)).toContain('HTTP/1.1 200 OK')
    expect(node.openSockets).toBe(1)
    await closed
  })

  it('keeps what it was sent, byte for byte', async () => {
    const node = await start()
    const body = '{"model" : "sim","messages":[{"role":"user","content":"\\u0041"}],"x":1.0,"x":2}'
    const headers = { 'content-type': 'application/json', 'X-Mine': 'a' }
    await fetch(`${node.url}/v1/chat/completions?a=b`, { method: 'POST', headers, body })
    const [seen] = node.requests
    expect(seen?.body.toString()).toBe(body)
    expect(seen?.url).toBe('/v1/chat/completions?a=b')
    expect(seen?.rawHeaders).toContain('a')
  })

  it('asks for its key under /v1 only', async () => {
    const node = await start({ apiKey: 'secret' })
    expect((await chat(node)).status).toBe(401)
    expect((await chat(node, {}, { headers: { authorization: 'Bearer secret' } })).status).toBe(200)
    expect((await fetch(`${node.url}/health`)).status).toBe(200)
  })

  it('computes a prompt whole to tell its probabilities', async () => {
    const node = await start({ blockSize: 4 })
    const cached = async (more: object): Promise<unknown> => {
      const prompt = 'hello there my good old friend'
      const reply = await post(node, '/v1/completions', { prompt, max_tokens: 2, ...more })
      const { usage } = JSON.parse(await reply.text())
      return usage.prompt_tokens_details?.cached_tokens ?? 0
    }
    await cached({})
    expect(await cached({ echo: true })).toBeGreaterThan(0)
    expect(await cached({ logprobs: 1 })).toBeGreaterThan(0)
    expect(await cached({ echo: true, logprobs: 1 })).toBe(0)
    expect(await cached({ prompt_logprobs: 0 })).toBe(0)
  })

  it('keeps no responses unless told to, and refuses the background mode', async () => {
    const node = await start()
    const input = 'hello'
    const first = await post(node, '/v1/responses', { input })
    const { id } = (await first.json()) as { id: string }
    const again = await post(node, '/v1/responses', { input, previous_response_id: id })
    expect(again.status).toBe(404)
    const later = await post(node, '/v1/responses', { input, background: true })
    expect(later.status).toBe(400)
    expect(await later.json()).toMatchObject({ error: { param: 'background', code: 400 } })
  })

  it('continues a conversation that it remembers', async () => {
    const node = await start({ blockSize: 4, responseStore: true })
    const input = 'hello there my good old friend'
    const ask = async (extra: object): Promise<{ id: string; usage: ResponseUsage }> =>
      JSON.parse(await (await post(node, '/v1/responses', { input, ...extra })).text())
    const first = await ask({ max_output_tokens: 20 })
    const again = await ask({ previous_response_id: first.id, max_output_tokens: 20 })
    expect(again.usage.input_tokens_details.cached_tokens).toBeGreaterThan(first.usage.input_tokens)
    expect((await fetch(`${node.url}/v1/responses/${first.id}`)).status).toBe(200)
  })
})

interface ResponseUsage {
  readonly input_tokens: number
  readonly input_tokens_details: { readonly cached_tokens: number }
}
