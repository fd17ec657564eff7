/** A node's KV events as a whole gateway takes them: what its operator sees, and what it survives. */
import { afterEach, describe, expect, test } from 'vitest'
import { stored } from '../nodes/kv_events/feed_bench.ts'
import { ScriptedPublisher } from '../nodes/kv_events/scripted_publisher.ts'
import { metricsText, StandInNode } from '../nodes/stand_in_node.ts'
import { type Gateway, healthy, metric, startGateway, until } from './gateway.ts'

const BLOCK_SIZE = 4
const cleanups: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
})

async function standIn(metrics: string): Promise<StandInNode> {
  const node = await new StandInNode().listen()
  cleanups.push(() => node.kill())
  node.state.metrics = metrics
  return node
}

/** A node with events, a publisher behind it, and a gateway in front that follows them. */
async function followed(
  hasReplay: boolean,
): Promise<{ node: StandInNode; publisher: ScriptedPublisher; gateway: Gateway }> {
  const publisher = await ScriptedPublisher.open()
  cleanups.push(() => publisher.close())
  const node = await standIn(metricsText(1000, BLOCK_SIZE))
  const { endpoint, replayEndpoint } = publisher
  const replay_endpoint = hasReplay ? replayEndpoint : null
  const own = { enable_kv_cache_events: true, publisher: 'zmq', endpoint, replay_endpoint }
  node.state.sources = { '0': own }
  const gateway = await startGateway([node.url])
  cleanups.push(() => gateway.stop())
  await healthy(gateway, 1)
  // A subscriber that joins hears nothing of what was sent before: the first one heard is joined.
  await until(async () => {
    await publisher.publish()
    return (await counted(gateway, node, 'kv_batches')) > 0
  }, 'the gateway to listen to events')
  return { node, publisher, gateway }
}

function counted(gateway: Gateway, node: StandInNode, name: string): Promise<number> {
  return metric(gateway, `warmpath_${name}_total{node="127.0.0.1:${node.port}",rank="0"}`)
}

function held(gateway: Gateway): Promise<number> {
  return metric(gateway, 'warmpath_index_held_blocks{model="m",block_size="4"}')
}

/** The engine's second life behind the same sockets. */
async function restart(publisher: ScriptedPublisher): Promise<void> {
  publisher.forget()
  await publisher.publish(stored({ chain: 9, count: 2 }))
}

describe('events', () => {
  test('a restart is counted, although it begins another subscription', async () => {
    const { node, publisher, gateway } = await followed(true)
    await publisher.publish(stored({ count: 3 }))
    await until(async () => (await held(gateway)) === 3, 'the blocks')
    const batches = await counted(gateway, node, 'kv_batches')
    await restart(publisher)
    await until(async () => (await counted(gateway, node, 'kv_restarts')) === 1, 'the restart')
    await until(async () => (await held(gateway)) === 2, 'the blocks of the new engine')
    expect(await counted(gateway, node, 'kv_batches')).toBeGreaterThan(batches)
    expect(await counted(gateway, node, 'kv_restarts')).toBe(1)
  })

  test('without a replay nothing of the new engine is missed', async () => {
    const { node, publisher, gateway } = await followed(false)
    await publisher.publish(stored({ count: 3 }))
    await until(async () => (await held(gateway)) === 3, 'the blocks')
    await restart(publisher)
    await publisher.publish(stored({ chain: 9, from: 2, count: 1 }))
    await until(async () => (await held(gateway)) === 3, 'the blocks of the new engine')
    const asked = node.requests.length
    await until(() => node.requests.length > asked + 2, 'more looks at the node')
    expect(await held(gateway)).toBe(3)
    expect(await metric(gateway, `warmpath_kv_events_live{node="127.0.0.1:${node.port}"}`)).toBe(1)
  })

  test('messages that are no batches are counted as what could not be read', async () => {
    const { node, publisher, gateway } = await followed(true)
    await publisher.raw(Buffer.from(''), Buffer.from('x'))
    await publisher.raw(Buffer.from(''), Buffer.from('abc'), Buffer.from('zz'))
    await until(async () => (await counted(gateway, node, 'kv_bad_events')) === 2, 'both')
  })
})

test('IX-18: a node of a geometry that no index has is routed by predictions', async () => {
  const [wide, many] = await Promise.all([
    standIn(metricsText(1000, 2 ** 21)),
    standIn(metricsText(1000, 16, 5_000_000_000)),
  ])
  const source = { enable_kv_cache_events: true, publisher: 'zmq', endpoint: 'tcp://127.0.0.1:1' }
  wide.state.sources = { '0': source }
  const gateway = await startGateway([wide.url, many.url])
  cleanups.push(() => gateway.stop())
  await healthy(gateway, 2)
  const body = JSON.stringify({ model: 'm', prompt: 'x' })
  const headers = { 'content-type': 'application/json' }
  const reply = await fetch(`${gateway.url}/v1/completions`, { method: 'POST', headers, body })
  expect(reply.status).toBe(200)
  const nodes: unknown = await (await fetch(`${gateway.admin}/admin/nodes`)).json()
  expect(nodes).toMatchObject([{ kvEvents: 'none' }, { kvEvents: 'none' }])
})
