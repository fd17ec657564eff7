import { describe, expect, test } from 'vitest'
import { nodeEntrySchema } from '../../src/nodes/config.ts'
import {
  discover,
  endpointOfRank,
  reachableEndpoint,
  readModels,
  readSources,
} from '../../src/nodes/discovery.ts'
import type { Probe, ProbeReply } from '../../src/nodes/probe.ts'

function answer(body: unknown, status = 200): ProbeReply {
  return { kind: 'answer', status, body: typeof body === 'string' ? body : JSON.stringify(body) }
}

const NOT_FOUND = answer({ detail: 'Not Found' }, 404)
const MODELS = answer({ object: 'list', data: [{ id: 'm', parent: null }] })

/** Answers by path; 404 for every other. */
function probeOf(replies: Record<string, ProbeReply>): Probe {
  return { get: url => Promise.resolve(replies[new URL(url).pathname] ?? NOT_FOUND) }
}

function ask(replies: Record<string, ProbeReply>, entry: object = {}) {
  const parsed = nodeEntrySchema.parse({ url: 'http://10.0.0.1:8000', ...entry })
  return discover(probeOf(replies), 'http://10.0.0.1:8000', parsed, 100)
}

function rankLines(ranks: number): string {
  const lines = Array.from({ length: ranks }, (_, rank) => {
    const labels = `block_size="16",num_gpu_blocks="9",engine="${rank}"`
    return `vllm:cache_config_info{${labels}} 1.0\n`
  })
  return lines.join('')
}

describe('endpoints', () => {
  test('a wildcard host is replaced by the host of the node', () => {
    for (const host of ['*', '0.0.0.0', '[::]', '::']) {
      expect(reachableEndpoint(`tcp://${host}:5557`, 'gpu-1')).toBe('tcp://gpu-1:5557')
    }
    expect(reachableEndpoint('tcp://*:5557', '[::1]')).toBe('tcp://[::1]:5557')
    expect(reachableEndpoint('tcp://10.1.2.3:41234', 'gpu-1')).toBe('tcp://10.1.2.3:41234')
    expect(reachableEndpoint('ipc:///run/kv', 'gpu-1')).toBe('ipc:///run/kv')
  })

  test('the port rises by the rank', () => {
    expect(endpointOfRank('tcp://10.0.0.1:5557', 0)).toBe('tcp://10.0.0.1:5557')
    expect(endpointOfRank('tcp://10.0.0.1:5557', 3)).toBe('tcp://10.0.0.1:5560')
    expect(endpointOfRank('tcp://[::1]:5557', 1)).toBe('tcp://[::1]:5558')
  })
})

/** One rank's item of /kv_event_sources as vLLM 0.32 writes it. */
function source(port: number): object {
  return {
    enable_kv_cache_events: true,
    publisher: 'zmq',
    endpoint: `tcp://*:${port}`,
    replay_endpoint: `tcp://*:${port + 100}`,
    buffer_steps: 10_000,
    hwm: 100_000,
    max_queue_size: 100_000,
    topic: '',
  }
}

describe('readSources', () => {
  test('reads the answer of vLLM 0.32, sorted by rank', () => {
    expect(readSources(answer({ '1': source(5558), '0': source(5557) }), '10.0.0.1')).toEqual([
      {
        rank: 0,
        endpoint: 'tcp://10.0.0.1:5557',
        replayEndpoint: 'tcp://10.0.0.1:5657',
        binds: false,
      },
      {
        rank: 1,
        endpoint: 'tcp://10.0.0.1:5558',
        replayEndpoint: 'tcp://10.0.0.1:5658',
        binds: false,
      },
    ])
  })

  test('events that are switched off, or that nobody can reach, are none', () => {
    const off = [
      { enable_kv_cache_events: false, publisher: 'zmq', endpoint: 'tcp://*:5557' },
      { enable_kv_cache_events: true, publisher: 'null', endpoint: 'tcp://*:5557' },
      { enable_kv_cache_events: true, publisher: 'zmq', endpoint: 'inproc://kv' },
      { enable_kv_cache_events: true, publisher: 'zmq', endpoint: null },
    ]
    for (const item of off) expect(readSources(answer({ '0': item }), 'h')).toBeNull()
  })

  test('a missing replay socket is null', () => {
    const bare = { endpoint: 'tcp://*:5557', replay_endpoint: null }
    expect(readSources(answer({ '0': bare }), 'h')?.[0]?.replayEndpoint).toBeNull()
  })

  test('an older engine, nonsense and silence are none', () => {
    const bad = [NOT_FOUND, answer('nonsense'), answer([1]), answer({ x: {} }), answer({ '0': 1 })]
    for (const reply of bad) expect(readSources(reply, 'h')).toBeNull()
    expect(readSources({ kind: 'timeout' }, 'h')).toBeNull()
  })
})

describe('readModels', () => {
  test('items stay as they came, keys in their order', () => {
    const text =
      '{"object":"list","data":[{"zeta":1,"id":"m","created":5},{"id":"l","parent":"m"}]}'
    const models = readModels(answer(text))
    if (typeof models === 'string') throw new Error(models)
    expect(models.map(({ id, parent }) => [id, parent])).toEqual([
      ['m', null],
      ['l', 'm'],
    ])
    expect(JSON.stringify(models[0]?.body)).toBe('{"zeta":1,"id":"m","created":5}')
  })

  test('a node without the route serves no model, a failing one says why', () => {
    expect(readModels(NOT_FOUND)).toEqual([])
    expect(readModels(answer('', 401))).toBe('/v1/models: status 401')
    expect(readModels({ kind: 'timeout' })).toBe('/v1/models: timeout')
  })

  test('items without an id are left out', () => {
    expect(readModels(answer({ data: [{ id: 'a' }, {}, 5, { id: '' }] }))).toHaveLength(1)
  })
})

describe('discover', () => {
  test('an older engine uses the sockets of the configuration, one for each rank', async () => {
    const entry = { kv_events: 'tcp://10.0.0.1:5557', kv_replay: 'tcp://10.0.0.1:5657' }
    const found = await ask({ '/v1/models': MODELS, '/metrics': answer(rankLines(2)) }, entry)
    if (found.kind === 'failed') throw new Error(found.reason)
    expect(found.facts.sources).toEqual([
      {
        rank: 0,
        endpoint: 'tcp://10.0.0.1:5557',
        replayEndpoint: 'tcp://10.0.0.1:5657',
        binds: false,
      },
      {
        rank: 1,
        endpoint: 'tcp://10.0.0.1:5558',
        replayEndpoint: 'tcp://10.0.0.1:5658',
        binds: false,
      },
    ])
    expect(found.facts.isPartial).toBe(false)
  })

  test('the configuration wins over the engine, and "none" means none', async () => {
    const sources = answer({ '0': { endpoint: 'tcp://*:1' } })
    const replies = { '/v1/models': MODELS, '/kv_event_sources': sources }
    const own = await ask(replies, { kv_events: 'tcp://10.0.0.9:2' })
    expect(own).toMatchObject({
      facts: { sources: [{ endpoint: 'tcp://10.0.0.9:2', replayEndpoint: null }] },
    })
    expect(await ask(replies, { kv_events: 'none' })).toMatchObject({ facts: { sources: null } })
    expect(await ask(replies)).toMatchObject({
      facts: { sources: [{ endpoint: 'tcp://10.0.0.1:1' }] },
    })
  })

  test('a configured wildcard is bound here, for engines that connect', async () => {
    const found = await ask({ '/v1/models': MODELS }, { kv_events: 'tcp://*:5557' })
    expect(found).toMatchObject({
      facts: { sources: [{ endpoint: 'tcp://*:5557', binds: true }] },
    })
  })

  test('sleep is asked by its own route where the metrics say nothing', async () => {
    const sleeping = { '/v1/models': MODELS, '/is_sleeping': answer({ is_sleeping: true }) }
    expect(await ask(sleeping)).toMatchObject({ facts: { isAsleep: true, isSleepAsked: true } })
    expect(await ask({ '/v1/models': MODELS })).toMatchObject({
      facts: { isAsleep: false, isSleepAsked: false },
    })
  })

  test('a question without an answer is asked again later', async () => {
    const replies = { '/v1/models': MODELS, '/metrics': { kind: 'timeout' } as const }
    expect(await ask(replies)).toMatchObject({ facts: { isPartial: true, metrics: null } })
  })

  test('a node that goes away meanwhile is not found', async () => {
    const replies = { '/v1/models': MODELS, '/metrics': { kind: 'reset' } as const }
    expect((await ask(replies)).kind).toBe('failed')
  })
})
