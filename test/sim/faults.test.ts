import { connect } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import type { SimNodeOptions } from '../../src/sim/config.ts'
import { type SimNode, startSimNode } from '../../src/sim/sim_node.ts'
import { ReplayClient } from './event_client.ts'
import {
  cachedTokens,
  chat,
  complete,
  LiveEvents,
  post,
  readToEnd,
  tokenIds,
  until,
} from './node_client.ts'

const open: { close(): void | Promise<void> }[] = []

function closing<T extends { close(): void | Promise<void> }>(thing: T): T {
  open.push(thing)
  return thing
}

async function start(options: SimNodeOptions = {}): Promise<SimNode> {
  return closing(await startSimNode({ timeFactor: 0, blockSize: 4, ...options }))
}

afterEach(async () => {
  for (const thing of open.splice(0).toReversed()) await thing.close()
})

describe('a fault of requests', () => {
  it('is used up by as many requests as it says', async () => {
    const node = await start()
    await node.fault({ kind: 'status', status: 500, times: 2 })
    const statuses: number[] = []
    for (let n = 0; n < 3; n++) statuses.push((await chat(node)).status)
    expect(statuses).toEqual([500, 500, 200])
  })

  it('comes over HTTP as well, and a wrong one is refused', async () => {
    const node = await start()
    expect((await post(node, '/sim/fault', { kind: 'no such fault' })).status).toBe(400)
    const fault = { kind: 'status', status: 429, retryAfter: 2 }
    expect((await post(node, '/sim/fault', fault)).status).toBe(200)
    const refused = await chat(node)
    expect(refused.status).toBe(429)
    expect(refused.headers.get('retry-after')).toBe('2')
    expect((await post(node, '/sim/fault', { kind: 'clear' })).status).toBe(200)
    expect((await chat(node)).status).toBe(200)
  })

  it('touches other routes only when its path names them', async () => {
    const node = await start()
    await node.fault({ kind: 'status', status: 503, path: '/health' })
    expect((await fetch(`${node.url}/health`)).status).toBe(503)
    expect((await chat(node)).status).toBe(200)
  })

  it('cuts a stream without its end', async () => {
    const node = await start()
    await node.fault({ kind: 'cut', events: 2 })
    const { text, isBroken } = await readToEnd(await chat(node, { stream: true }))
    expect(isBroken).toBe(false)
    expect(text.match(/^data: /gm)).toHaveLength(2)
    expect(text).not.toContain('[DONE]')
    expect(text).not.toContain('"length"')
    expect(node.activeSequences).toBe(0)
  })

  it('sends an error event and [DONE] in the middle of a stream', async () => {
    const node = await start()
    await node.fault({ kind: 'stream_error', events: 2 })
    const { text } = await readToEnd(await chat(node, { stream: true }))
    const events = text.split('\n\n')
    expect(events).toHaveLength(5)
    expect(events[2]).toContain('"error":{"message"')
    expect(events[3]).toBe('data: [DONE]')
  })

  it('ends a stream with [DONE] before any token', async () => {
    const node = await start()
    await node.fault({ kind: 'empty_done' })
    const { text } = await readToEnd(await chat(node, { stream: true }))
    expect(text).toBe('data: [DONE]\n\n')
    expect(node.activeSequences).toBe(0)
  })

  it('answers as a full queue', async () => {
    const node = await start()
    await node.fault({ kind: 'queue_full' })
    const reply = await chat(node)
    expect(reply.status).toBe(503)
    expect(reply.headers.get('retry-after')).toBeNull()
    expect(await reply.text()).toContain('"type":"Service Unavailable"')
  })

  it('dies before a plain answer', async () => {
    const node = await start()
    await node.fault({ kind: 'die' })
    await expect(chat(node)).rejects.toThrow()
    expect(node.activeSequences).toBe(0)
    expect(node.abortsSeen).toBe(0)
  })

  it.each([true, false])('holds the first byte back (stream: %s)', async stream => {
    const node = await start()
    await node.fault({ kind: 'slow_first_byte', ms: 60 })
    const before = performance.now()
    const reply = await chat(node, { stream })
    expect(performance.now() - before).toBeGreaterThan(50)
    expect((await readToEnd(reply)).isBroken).toBe(false)
  })
})

describe('a fault of the node', () => {
  it.each(['freeze', 'sleep'] as const)('%s: requests hang until it ends', async kind => {
    const node = await start()
    await node.fault({ kind })
    let isAnswered = false
    const pending = chat(node).then(reply => {
      isAnswered = true
      return reply.status
    })
    await until(() => node.activeSequences === 1)
    const metrics = await (await fetch(`${node.url}/metrics`)).text()
    const asleep = /sleep_state="weights_offloaded"} (\d)/.exec(metrics)?.[1]
    expect(asleep).toBe(kind === 'sleep' ? '1' : '0')
    expect(isAnswered).toBe(false)
    await node.fault({ kind: 'wake' })
    expect(await pending).toBe(200)
  })

  it('restart: connections go, the cache is empty and events count from 0', async () => {
    const node = await start()
    expect(await cachedTokens(node)).toBe(0)
    expect(await cachedTokens(node)).toBeGreaterThan(0)
    const replay = closing(new ReplayClient(node.kvReplay[0] ?? ''))
    const [before] = await replay.batches(0)
    expect(node.batchesPublished()).toBeGreaterThan(0)
    await node.fault({ kind: 'restart', downMs: 5 })
    expect(node.batchesPublished()).toBe(0)
    expect(await cachedTokens(node)).toBe(0)
    const again = closing(new ReplayClient(node.kvReplay[0] ?? ''))
    const [after] = await again.batches(0)
    expect(after?.seq).toBe(0)
    // The default seed is fixed: equal hashes are no evidence against a restart.
    expect(after?.events[0]?.block_hashes).toEqual(before?.events[0]?.block_hashes)
  })

  it('restart of an old engine: its hashes begin elsewhere', async () => {
    const node = await start({ era: 'E7' })
    const first = async (): Promise<string> => {
      await complete(node, tokenIds(100, 9))
      return node.engine().cache.cachedHashes().join()
    }
    const before = await first()
    await node.fault({ kind: 'restart' })
    expect(await first()).not.toBe(before)
  })

  it('restart that overtakes: what is heard goes on where the old process ended', async () => {
    const node = await start()
    const live = closing(new LiveEvents(node.kvEvents[0] ?? ''))
    await live.join(node, 1000)
    const seqBefore = node.batchesPublished()
    await node.fault({ kind: 'restart', overtakeBy: 0 })
    expect(node.batchesPublished()).toBe(seqBefore)
    const heard = live.batches.length
    await live.join(node, 50_000)
    // The subscriber reconnects, so the very first may be lost; none may have a lower number.
    expect(live.batches[heard]?.seq).toBeGreaterThanOrEqual(seqBefore)
    const replay = closing(new ReplayClient(node.kvReplay[0] ?? ''))
    const all = await replay.batches(0)
    expect(all.map(({ seq }) => seq)).toEqual(tokenIds(0, node.batchesPublished()))
  })

  it('drops, doubles, delays and reorders live batches, while replay has them all', async () => {
    const node = await start()
    const live = closing(new LiveEvents(node.kvEvents[0] ?? ''))
    await live.join(node, 1000)
    const { length } = live.batches
    const seq = node.batchesPublished()
    const heard = (): number[] => live.batches.slice(length).map(batch => batch.seq - seq)
    let next = 40_000
    const publish = async (): Promise<void> => complete(node, tokenIds((next += 100), 5))
    await node.fault({ kind: 'kv_drop' })
    await publish()
    await node.fault({ kind: 'kv_duplicate' })
    await publish()
    await node.fault({ kind: 'kv_delay', batches: 10 })
    await publish()
    await publish()
    await until(() => heard().length === 2)
    expect(heard()).toEqual([1, 1])
    await node.fault({ kind: 'kv_flush', isReversed: true })
    await publish()
    await until(() => heard().length === 5)
    expect(heard()).toEqual([1, 1, 3, 2, 4])
    const replay = closing(new ReplayClient(node.kvReplay[0] ?? ''))
    expect((await replay.batches(seq)).map(batch => batch.seq - seq)).toEqual([0, 1, 2, 3, 4])
  })

  it('cuts a replay without its end marker', async () => {
    const node = await start()
    for (let n = 0; n < 5; n++) await complete(node, tokenIds(100 * n + 100, 5))
    await node.fault({ kind: 'replay_cut', batches: 3 })
    const replay = closing(new ReplayClient(node.kvReplay[0] ?? ''))
    expect(await replay.frames(0, 3)).toHaveLength(3)
    await node.fault({ kind: 'clear' })
    // The next answer follows at once: nothing came in between.
    expect((await replay.batches(4)).map(({ seq }) => seq)).toEqual([4])
  })

  it('refuse: open connections are reset', async () => {
    const node = await start()
    const { port } = new URL(node.url)
    const socket = connect(Number(port), '127.0.0.1')
    await new Promise(resolve => socket.once('connect', resolve))
    await until(() => node.openSockets === 1)
    const reset = new Promise(resolve => socket.once('error', resolve))
    await node.fault({ kind: 'refuse' })
    expect(String(await reset)).toContain('ECONNRESET')
  })
})
