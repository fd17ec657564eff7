import { afterEach, describe, expect, test } from 'vitest'
import { healthSchema, type NodeEntry, nodeEntrySchema } from '../../src/nodes/config.ts'
import type { FleetOptions } from '../../src/nodes/fleet.ts'
import { resolveModel } from '../../src/nodes/models.ts'
import { FleetBench } from './fleet_bench.ts'
import { metricsText, StandInNode } from './stand_in_node.ts'

const cleanups: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup()
})

const SOURCES = {
  '0': {
    enable_kv_cache_events: true,
    publisher: 'zmq',
    endpoint: 'tcp://*:5557',
    replay_endpoint: 'tcp://*:5657',
  },
}

function entryOf(node: StandInNode, more: Partial<NodeEntry> = {}): NodeEntry {
  return nodeEntrySchema.parse({ url: `${node.url}/`, ...more })
}

function named(...ids: string[]): object[] {
  return ids.map(id => ({ id, parent: null }))
}

function idOf(node: StandInNode): string {
  return `127.0.0.1:${node.port}`
}

function newBench(options: Partial<FleetOptions> = {}): FleetBench {
  const bench = new FleetBench(options)
  cleanups.push(() => bench.close())
  return bench
}

async function standIn(): Promise<StandInNode> {
  const node = await new StandInNode().listen()
  cleanups.push(() => node.kill())
  return node
}

describe('a fleet over real sockets', () => {
  test('a node is known by its URL alone: models, block size, blocks, events', async () => {
    const node = await standIn()
    node.state.sources = SOURCES
    const bench = newBench()
    const id = bench.fleet.add(entryOf(node))
    expect(id).toBe(`127.0.0.1:${node.port}`)
    const view = await bench.until(id, 'healthy')
    expect(view).toMatchObject({ url: node.url, blockSize: 16, blockCount: 1000, indexId: 1 })
    expect(view.models.map(model => model.body)).toEqual(node.state.models)
    expect(bench.subscriptions).toEqual([
      {
        slot: 0,
        nodeId: id,
        rank: 0,
        indexId: 1,
        blockSize: 16,
        blockCount: 1000,
        model: 'm',
        endpoint: 'tcp://127.0.0.1:5557',
        replayEndpoint: 'tcp://127.0.0.1:5657',
        binds: false,
        hashGroup: 1,
      },
    ])
    expect(view.kvEvents).toBe('none')
    bench.fleet.kvFeedReport({ slot: 0, state: 'degraded', restarted: false })
    expect(bench.node(id)?.kvEvents).toBe('degraded')
    bench.fleet.kvFeedReport({ slot: 0, state: 'live', restarted: false })
    expect(bench.node(id)?.kvEvents).toBe('live')
  })

  test('a second node at the same address is a clear error', async () => {
    const node = await standIn()
    const bench = newBench()
    bench.fleet.add(entryOf(node))
    expect(() => bench.fleet.add(entryOf(node))).toThrow(/is in the fleet already/)
  })

  test('a refused exchange takes the node out at once, one check brings it back', async () => {
    const node = await standIn()
    const bench = newBench()
    const id = bench.fleet.add(entryOf(node))
    const { epoch } = await bench.until(id, 'healthy')
    bench.fleet.report({ nodeId: id, epoch, kind: 'refused' })
    expect(bench.node(id)?.state).toBe('unhealthy')
    expect((await bench.until(id, 'healthy')).epoch).toBe(epoch)
  })

  test('a restarted node is back within 2 s, its blocks hidden before it is healthy', async () => {
    const node = await standIn()
    node.state.sources = SOURCES
    // The defaults, as an operator has them.
    const bench = newBench({ timings: healthSchema.parse({}) })
    const id = bench.fleet.add(entryOf(node))
    const { epoch } = await bench.until(id, 'healthy')
    await node.kill()
    await bench.until(id, 'unhealthy')
    bench.calls.length = 0
    node.state.metrics = metricsText(2000)
    await node.listen()
    const answersSince = performance.now()
    const view = await bench.until(id, 'healthy')
    expect(performance.now() - answersSince).toBeLessThan(2000)
    expect(view.epoch).toBeGreaterThan(epoch)
    await expect.poll(() => bench.subscriptions.length).toBe(2)
    expect(bench.calls).toEqual([
      'restarted 0',
      'unsubscribe 0',
      'index m 16',
      `view healthy@${view.epoch}`,
      // Waits for the end of the subscription before.
      'subscribe 0',
    ])
  })

  test('a restart too quick for the checks is seen in the metrics', async () => {
    const node = await standIn()
    node.state.sources = SOURCES
    const bench = newBench()
    const id = bench.fleet.add(entryOf(node))
    const { epoch } = await bench.until(id, 'healthy')
    bench.calls.length = 0
    node.state.metrics = metricsText(2000, 32)
    await expect.poll(() => bench.node(id)?.blockSize, { interval: 5 }).toBe(32)
    expect(bench.node(id)?.epoch).toBeGreaterThan(epoch)
    expect(bench.calls.slice(0, 2)).toEqual(['restarted 0', 'unsubscribe 0'])
    await expect.poll(() => bench.subscriptions.length).toBe(2)
    expect(bench.subscriptions[1]?.blockSize).toBe(32)
  })

  test('a sequence that runs backwards is a restart of all ranks, counted once', async () => {
    const node = await standIn()
    node.state.sources = { ...SOURCES, '1': SOURCES['0'] }
    node.state.metrics += metricsText(1000).replaceAll('engine="0"', 'engine="1"')
    const bench = newBench()
    const id = bench.fleet.add(entryOf(node))
    const { epoch, ranks } = await bench.until(id, 'healthy')
    expect(ranks.map(({ slot }) => slot)).toEqual([0, 1])
    bench.calls.length = 0
    bench.fleet.kvFeedReport({ slot: 0, state: 'live', restarted: true })
    expect(bench.calls.slice(0, 4)).toEqual([
      'restarted 0',
      'unsubscribe 0',
      'restarted 1',
      'unsubscribe 1',
    ])
    const after = bench.node(id)?.epoch ?? 0
    expect(after).toBeGreaterThan(epoch)
    bench.fleet.kvFeedReport({ slot: 1, state: 'live', restarted: true })
    // Both are subscribed again once the new process has said who it is.
    await expect.poll(() => bench.subscriptions.length).toBe(4)
    expect(bench.node(id)?.epoch).toBe(after)
  })

  test('without a replay the events that showed the restart are followed on', async () => {
    const node = await standIn()
    node.state.sources = { '0': { ...SOURCES['0'], replay_endpoint: null } }
    const bench = newBench()
    const id = bench.fleet.add(entryOf(node))
    const { epoch } = await bench.until(id, 'healthy')
    node.state.metrics = metricsText(2000)
    bench.calls.length = 0
    bench.fleet.kvFeedReport({ slot: 0, state: 'live', restarted: true })
    // Asked again and found to be as before, but for its start.
    await expect.poll(() => bench.calls).toContain('index m 16')
    const view = bench.node(id)
    expect(view?.epoch).toBeGreaterThan(epoch)
    expect(view).toMatchObject({ kvEvents: 'live', indexId: 1 })
    // What it announces meanwhile stays visible: neither hidden nor lost between two subscriptions.
    expect(bench.calls.filter(call => /^(restarted|unsub|sub|clear)/.test(call))).toEqual([])
  })

  test('nodes that share a served name share an index, whatever else they are called', async () => {
    const [one, two, both] = [await standIn(), await standIn(), await standIn()]
    one.state.models = named('beta')
    two.state.models = named('alpha')
    both.state.models = named('beta', 'alpha')
    const bench = newBench()
    for (const node of [one, two]) {
      node.state.sources = SOURCES
      await bench.until(bench.fleet.add(entryOf(node)), 'healthy')
    }
    expect(bench.subscriptions.map(({ model }) => model)).toEqual(['beta', 'alpha'])
    both.state.sources = SOURCES
    await bench.until(bench.fleet.add(entryOf(both)), 'healthy')
    // The first is indexed anew, under the name that all have now.
    await expect.poll(() => bench.subscriptions.length).toBe(4)
    const last = new Map(bench.subscriptions.map(({ slot, model }) => [slot, model]))
    expect([...last.values()]).toEqual(['alpha', 'alpha', 'alpha'])
    for (const id of ['alpha', 'beta']) {
      expect(resolveModel(id, bench.fleet.view)).toMatchObject({ baseModel: 'alpha' })
    }
  })

  test('IX-18: a node for whose model no index is left is routed by predictions', async () => {
    const node = await standIn()
    node.state.sources = SOURCES
    const bench = newBench({ prefixIndexFor: () => 0 })
    const view = await bench.until(bench.fleet.add(entryOf(node)), 'healthy')
    expect(view).toMatchObject({ indexId: 0, kvEvents: 'none', blockCount: 1000 })
    expect(bench.subscriptions).toEqual([])
  })

  test('a subscription that fails leaves the node to predictions, and says so', async () => {
    const node = await standIn()
    node.state.sources = SOURCES
    const warnings: object[] = []
    const log = { info: () => {}, warn: (fields: object) => void warnings.push(fields) }
    const bench = newBench({ log })
    bench.failure = 'zeromq is not installed'
    const id = bench.fleet.add(entryOf(node))
    expect((await bench.until(id, 'healthy')).kvEvents).toBe('none')
    expect(warnings).toEqual([{ node: id, rank: 0, failure: 'zeromq is not installed' }])
  })

  test('a sleeping node is no candidate; its blocks are dropped, its events are kept', async () => {
    const node = await standIn()
    node.state.sources = SOURCES
    const bench = newBench()
    const id = bench.fleet.add(entryOf(node))
    await bench.until(id, 'healthy')
    const awake = metricsText(1000)
    node.state.metrics = awake.replace('offloaded"} 0.0', 'offloaded"} 1.0')
    await bench.until(id, 'sleeping')
    const cleared = bench.calls.filter(call => /^(restarted|clear|unsubscribe)/.test(call))
    expect(cleared).toEqual(['restarted 0', 'clear 0'])
    node.state.metrics = awake
    await bench.until(id, 'healthy')
    expect(bench.subscriptions).toHaveLength(1)
  })

  test('metrics that hang turn unknown and delay no check', async () => {
    const node = await standIn()
    const bench = newBench()
    const id = bench.fleet.add(entryOf(node))
    await bench.until(id, 'healthy')
    expect(bench.fleet.list()[0]?.ranks[0]).toMatchObject({ running: 3, waiting: 1, kvUsage: 0.25 })
    node.state.hung.add('/metrics')
    await expect
      .poll(() => bench.fleet.list()[0]?.ranks[0]?.running, { interval: 10, timeout: 5000 })
      .toBeNull()
    const checks = node.requests.filter(path => path === '/health').length
    await expect
      .poll(() => node.requests.filter(path => path === '/health').length, { interval: 5 })
      .toBeGreaterThan(checks + 3)
    expect(bench.node(id)?.state).toBe('healthy')
  })

  test('a node without metrics, version and events still serves, in predictive mode', async () => {
    const node = await standIn()
    node.state.metrics = null
    const bench = newBench()
    const id = bench.fleet.add(entryOf(node))
    const view = await bench.until(id, 'healthy')
    expect(view).toMatchObject({ blockSize: 0, indexId: 0, kvEvents: 'none' })
    expect(view.ranks).toEqual([{ rank: 0, slot: 0 }])
  })

  test('a node gets its own credential, and a wrong one is named as the reason', async () => {
    const node = await standIn()
    node.state.apiKey = 'secret'
    const bench = newBench()
    const id = bench.fleet.add(entryOf(node, { api_key: 'wrong' }))
    await expect.poll(() => bench.fleet.list()[0]?.reason).toBe('/v1/models: status 401')
    expect(bench.node(id)?.state).toBe('starting')
    bench.fleet.remove(id)
    bench.fleet.add(entryOf(node, { api_key: 'secret' }))
    expect((await bench.until(id, 'healthy')).apiKey).toBe('secret')
    expect(JSON.stringify(bench.fleet.list())).not.toContain('secret')
  })

  test('a drained node takes no new work and stays in the view', async () => {
    const node = await standIn()
    const bench = newBench()
    const id = bench.fleet.add(entryOf(node))
    await bench.until(id, 'healthy')
    expect(bench.fleet.drain(id)).toBe(true)
    expect(bench.node(id)?.state).toBe('draining')
    expect(bench.fleet.drain('nobody:1')).toBe(false)
  })

  test('slots of a removed node are freed once, after its last request', async () => {
    const node = await standIn()
    const bench = newBench()
    const id = bench.fleet.add(entryOf(node))
    await bench.until(id, 'healthy')
    bench.inFlight.set(0, 1)
    expect(bench.fleet.remove(id)).toBe(true)
    expect(bench.fleet.remove(id)).toBe(false)
    expect(bench.fleet.view.nodes).toEqual([])
    bench.fleet.add(entryOf(node))
    expect((await bench.until(id, 'healthy')).ranks).toEqual([{ rank: 0, slot: 1 }])
    expect(bench.calls).not.toContain('freed 0')
    bench.inFlight.set(0, 0)
    await expect.poll(() => bench.calls, { timeout: 5000 }).toContain('freed 0')
    expect(bench.calls.filter(call => call === 'freed 0').length).toBe(1)
  })

  test('reload adds, removes and changes nodes of the file and leaves the others', async () => {
    const [a, b, c] = [await standIn(), await standIn(), await standIn()]
    const bench = newBench()
    bench.fleet.reload([entryOf(a), entryOf(b)], [])
    bench.fleet.add(entryOf(c))
    const before = await bench.until(idOf(a), 'healthy')
    await bench.until(idOf(b), 'healthy')
    const models = [{ name: 'm', tokenizer: 'toy' }]
    bench.fleet.reload([entryOf(a)], models)
    expect(bench.fleet.view.models).toBe(models)
    expect(bench.fleet.list().map(node => node.id)).toEqual([idOf(a), idOf(c)].sort())
    expect(bench.node(idOf(a))?.epoch).toBe(before.epoch)
    bench.fleet.reload([entryOf(a, { in_flight_max: 7 })], models)
    expect((await bench.until(idOf(a), 'healthy')).inFlightMax).toBe(7)
    expect(
      bench.fleet
        .list()
        .map(node => node.origin)
        .sort(),
    ).toEqual(['admin', 'config'])
  })

  test('an adapter that is loaded later appears; made-up fields change nothing', async () => {
    const node = await standIn()
    const bench = newBench()
    const id = bench.fleet.add(entryOf(node))
    await bench.until(id, 'healthy')
    const { version } = bench.fleet.view
    node.state.models = [{ id: 'm', object: 'model', created: 2, owned_by: 'vllm', parent: null }]
    const reads = () => node.requests.filter(path => path === '/v1/models').length
    const before = reads()
    await expect.poll(reads, { interval: 5 }).toBeGreaterThan(before + 1)
    node.state.models = [...node.state.models, { id: 'lora', parent: 'm' }]
    await expect.poll(() => bench.node(id)?.models.length, { interval: 5 }).toBe(2)
    expect(bench.fleet.view.version).toBe(version + 1)
  })
})
