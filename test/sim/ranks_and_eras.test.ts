import { unpack } from 'msgpackr'
import { afterEach, describe, expect, it } from 'vitest'
import type { SimNodeOptions } from '../../src/sim/config.ts'
import { type SimNode, startSimNode } from '../../src/sim/sim_node.ts'
import { ReplayClient } from './event_client.ts'
import { answer, cachedTokens, chat, complete, post, type Sent, tokenIds } from './node_client.ts'

const open: { close(): void | Promise<void> }[] = []

async function start(options: SimNodeOptions = {}): Promise<SimNode> {
  const node = await startSimNode({ timeFactor: 0, blockSize: 4, ...options })
  open.push(node)
  return node
}

async function frames(node: SimNode, rank = 0): Promise<Buffer[][]> {
  const replay = new ReplayClient(node.kvReplay[rank] ?? '')
  open.push(replay)
  return await replay.frames(0)
}

function onRank(rank: string): Sent {
  return { headers: { 'x-data-parallel-rank': rank } }
}

afterEach(async () => {
  for (const thing of open.splice(0).toReversed()) await thing.close()
})

describe('ranks', () => {
  it('have caches, event ports and counts of their own', async () => {
    const node = await start({ ranks: 3 })
    const ports = node.kvEvents.map(endpoint => Number(endpoint.split(':').at(-1)))
    const [port = 0] = ports
    expect(ports).toEqual([port, port + 1, port + 2])
    expect(await cachedTokens(node, {}, onRank('1'))).toBe(0)
    expect(await cachedTokens(node, {}, onRank('1'))).toBeGreaterThan(0)
    expect(await cachedTokens(node, {}, onRank('2'))).toBe(0)
    expect((await chat(node, {}, onRank('3'))).status).toBe(400)
    expect((await chat(node, {}, onRank('x'))).status).toBe(200)
    expect(await frames(node, 2)).not.toHaveLength(0)
    const metrics = await (await fetch(`${node.url}/metrics`)).text()
    const hits = /vllm:prefix_cache_hits_total{engine="(\d)",model_name="sim"} ([1-9])/.exec(
      metrics,
    )
    expect(hits?.[1]).toBe('1')
    const sources: Record<string, { endpoint: string }> = JSON.parse(
      await (await fetch(`${node.url}/kv_event_sources`)).text(),
    )
    expect(Object.keys(sources)).toEqual(['0', '1', '2'])
    expect(sources['2']?.endpoint).toBe(node.kvEvents[2])
  })
})

describe('eras', () => {
  it('E7: positional events, replay without topic, no /kv_event_sources', async () => {
    const node = await start({ era: 'E7' })
    await complete(node, tokenIds(100, 9))
    const [first] = await frames(node)
    expect(first).toHaveLength(2)
    const [, [event]]: [number, unknown[][], number] = unpack(first?.[1] ?? Buffer.alloc(0))
    expect(event?.[0]).toBe('BlockStored')
    expect(event).toHaveLength(12)
    expect((await fetch(`${node.url}/kv_event_sources`)).status).toBe(404)
    expect(await (await fetch(`${node.url}/version`)).text()).toBe('{"version":"0.23.0"}')
  })

  it('E10: map events, replay with the topic', async () => {
    const node = await start({ topic: 'kv@node' })
    await complete(node, tokenIds(100, 9))
    const [first] = await frames(node)
    expect(first?.[0]?.toString()).toBe('kv@node')
    expect(first).toHaveLength(3)
  })

  it('E11: a block is announced when the tokens after it are known', async () => {
    const node = await start({ era: 'E11', lookahead: 2 })
    await complete(node, tokenIds(100, 9))
    const [first] = await frames(node)
    const payload = first?.[2] ?? Buffer.alloc(0)
    expect(payload.includes(Buffer.from('de000c', 'hex'))).toBe(true)
    const [, [event]]: [number, { lookahead_token_ids: number[][] }[]] = unpack(payload)
    // Nine tokens are two whole blocks, but of the second only one of two tokens after it is known.
    expect(event?.lookahead_token_ids).toEqual([[104, 105]])
    // A prompt that differs right behind a block does not find it.
    const reply = await post(node, '/v1/completions', {
      model: 'sim',
      prompt: [100, 101, 102, 103, 1, 2],
      max_tokens: 1,
    })
    expect(await reply.text()).toContain('"cached_tokens":0')
  })

  it('bytes instead of integers as hashes', async () => {
    const node = await start({ hashForm: 'bytes' })
    await complete(node, tokenIds(100, 5))
    const [first] = await frames(node)
    const [, [event]]: [number, { block_hashes: Buffer[] }[]] = unpack(
      first?.[2] ?? Buffer.alloc(0),
    )
    expect(event?.block_hashes[0]).toHaveLength(32)
  })
})

describe('the cache', () => {
  it('keeps salts and adapters apart', async () => {
    const node = await start({ adapters: ['lora'] })
    const scopes = [{}, { cache_salt: 'a' }, { cache_salt: 'b' }, { model: 'lora' }]
    for (const scope of scopes) expect(await cachedTokens(node, scope)).toBe(0)
    for (const scope of scopes) expect(await cachedTokens(node, scope)).toBeGreaterThan(0)
  })

  it('is not read for prompt log probabilities', async () => {
    const node = await start()
    await chat(node)
    expect(await cachedTokens(node, { prompt_logprobs: 0 })).toBe(0)
    expect(await cachedTokens(node)).toBeGreaterThan(0)
  })

  it('forgets when told, and says so with the next batch', async () => {
    const node = await start()
    await complete(node, tokenIds(100, 9))
    const before = node.batchesPublished()
    expect(await (await post(node, '/reset_prefix_cache', {})).text()).toBe('{"success":true}')
    expect(node.batchesPublished()).toBe(before)
    await complete(node, tokenIds(100, 9))
    const replay = new ReplayClient(node.kvReplay[0] ?? '')
    open.push(replay)
    const [batch] = await replay.batches(before)
    expect(batch?.events.map(({ type }) => type)).toEqual(['AllBlocksCleared', 'BlockStored'])
  })
})

describe('an answer', () => {
  it('ends in front of a stop string, streamed and plain', async () => {
    const node = await start()
    const whole = (await answer(node, { max_tokens: 20 })).choices[0]?.message.content ?? ''
    const stop = whole.slice(10, 15)
    const cut = await answer(node, { max_tokens: 20, stop: [stop] })
    expect(cut.choices[0]).toMatchObject({ finish_reason: 'stop', stop_reason: stop })
    expect(cut.choices[0]?.message.content).toBe(whole.slice(0, whole.indexOf(stop)))
    const text = await (await chat(node, { max_tokens: 20, stop: [stop], stream: true })).text()
    const pieces = [...text.matchAll(/"delta":{"content":"([^"]*)"}/g)].map(([, piece]) => piece)
    expect(pieces.join('')).toBe(whole.slice(0, whole.indexOf(stop)))
  })

  it('ends by itself without a limit, and not with ignore_eos', async () => {
    const node = await start({ maxModelLen: 200 })
    const natural = await answer(node, { max_tokens: undefined })
    expect(natural.choices[0]?.finish_reason).toBe('stop')
    const full = await answer(node, { max_tokens: undefined, ignore_eos: true })
    expect(full.choices[0]?.finish_reason).toBe('length')
    expect(full.usage.prompt_tokens + full.usage.completion_tokens).toBe(200)
  })
})
