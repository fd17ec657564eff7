/** The fleet in front of simulated vLLM nodes, which answer as real ones do. */
import { afterEach, describe, expect, test } from 'vitest'
import { healthSchema, nodeEntrySchema } from '../../src/nodes/config.ts'
import type { FleetOptions } from '../../src/nodes/fleet.ts'
import { listModels, resolveModel } from '../../src/nodes/models.ts'
import type { SimNodeOptions } from '../../src/sim/config.ts'
import { type SimNode, startSimNode } from '../../src/sim/sim_node.ts'
import { FleetBench } from './fleet_bench.ts'

const cleanups: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup()
})

async function simNode(options: SimNodeOptions = {}): Promise<SimNode> {
  const node = await startSimNode({ timeFactor: 0, ...options })
  cleanups.push(() => node.close())
  return node
}

function newBench(options: Partial<FleetOptions> = {}): FleetBench {
  const bench = new FleetBench(options)
  cleanups.push(() => bench.close())
  return bench
}

async function complete(node: SimNode): Promise<void> {
  const reply = await fetch(`${node.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      model: node.config.model,
      messages: [{ role: 'user', content: 'hello '.repeat(50) }],
      max_tokens: 2,
    }),
  })
  expect(reply.status).toBe(200)
  await reply.arrayBuffer()
}

describe('a fleet of simulated nodes', () => {
  test('two ranks, an adapter and their sockets are known by the URL alone', async () => {
    const node = await simNode({ ranks: 2, adapters: ['lora'], blocks: 64 })
    const bench = newBench()
    bench.fleet.add(nodeEntrySchema.parse({ url: node.url }))
    const view = await bench.until(node.id, 'healthy')
    expect(view).toMatchObject({ blockSize: 16, blockCount: 64 })
    expect(view.ranks).toEqual([
      { rank: 0, slot: 0 },
      { rank: 1, slot: 1 },
    ])
    const sockets = bench.subscriptions.map(({ endpoint, replayEndpoint }) => [
      endpoint,
      replayEndpoint,
    ])
    expect(sockets).toEqual(node.kvEvents.map((live, rank) => [live, node.kvReplay[rank]]))
    expect(new Set(bench.subscriptions.map(one => one.hashGroup)).size).toBe(1)
    const lora = resolveModel('lora', bench.fleet.view)
    expect(lora).toMatchObject({ baseModel: 'sim', adapter: 'lora' })
    expect(JSON.parse(listModels(bench.fleet.view)).data).toHaveLength(2)
  })

  test('an old engine has its sockets from the configuration and a hash group a rank', async () => {
    const node = await simNode({ era: 'E7', ranks: 2 })
    const [kv_events, kv_replay] = [node.kvEvents[0], node.kvReplay[0]]
    const bench = newBench()
    bench.fleet.add(nodeEntrySchema.parse({ url: node.url, kv_events, kv_replay }))
    await bench.until(node.id, 'healthy')
    expect(bench.subscriptions.map(one => one.endpoint)).toEqual([...node.kvEvents])
    expect(new Set(bench.subscriptions.map(one => one.hashGroup)).size).toBe(2)
  })

  test('a node that restarts is back within 2 s of listening, as another epoch', async () => {
    const node = await simNode()
    const bench = newBench({ timings: healthSchema.parse({}) })
    bench.fleet.add(nodeEntrySchema.parse({ url: node.url }))
    const { epoch } = await bench.until(node.id, 'healthy')
    await complete(node)
    const restart = node.fault({ kind: 'restart', downMs: 1200 })
    await bench.until(node.id, 'unhealthy')
    await restart
    const listensSince = performance.now()
    const view = await bench.until(node.id, 'healthy')
    expect(performance.now() - listensSince).toBeLessThan(2000)
    expect(view.epoch).toBeGreaterThan(epoch)
    expect(bench.calls).toContain('restarted 0')
    expect(bench.subscriptions).toHaveLength(2)
  })

  test('a restart between two checks is seen by the counters', async () => {
    const node = await simNode()
    const bench = newBench()
    bench.fleet.add(nodeEntrySchema.parse({ url: node.url }))
    const { epoch } = await bench.until(node.id, 'healthy')
    await complete(node)
    const running = () => bench.fleet.list()[0]?.ranks[0]?.kvUsage ?? null
    await expect.poll(running, { interval: 5 }).not.toBeNull()
    const scrapes = () => node.requests.filter(({ path }) => path === '/metrics').length
    const before = scrapes()
    await expect.poll(scrapes, { interval: 5 }).toBeGreaterThan(before + 2)
    await node.fault({ kind: 'restart' })
    await expect
      .poll(() => bench.node(node.id)?.epoch, { interval: 5, timeout: 5000 })
      .toBeGreaterThan(epoch)
    await bench.until(node.id, 'healthy')
    expect(bench.calls).toContain('restarted 0')
  })

  test('a sleeping node is no candidate until it wakes', async () => {
    const node = await simNode()
    const bench = newBench()
    bench.fleet.add(nodeEntrySchema.parse({ url: node.url }))
    await bench.until(node.id, 'healthy')
    await node.fault({ kind: 'sleep' })
    await bench.until(node.id, 'sleeping')
    expect(bench.calls).toContain('restarted 0')
    await node.fault({ kind: 'wake' })
    await bench.until(node.id, 'healthy')
  })

  test('one node down of two: the models stay, the other works on', async () => {
    const [a, b] = [await simNode({ model: 'left' }), await simNode({ model: 'right' })]
    const bench = newBench()
    for (const { url } of [a, b]) bench.fleet.add(nodeEntrySchema.parse({ url }))
    await bench.until(a.id, 'healthy')
    await bench.until(b.id, 'healthy')
    await a.fault({ kind: 'refuse' })
    await bench.until(a.id, 'unhealthy')
    expect(bench.node(b.id)?.state).toBe('healthy')
    const ids = bench.fleet.view.nodes.flatMap(node => node.models.map(model => model.id))
    expect(ids.sort()).toEqual(['left', 'right'])
    expect(JSON.parse(listModels(bench.fleet.view)).data).toHaveLength(2)
  })
})
