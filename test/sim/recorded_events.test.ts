import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { EventEncoder, type WireEvent } from '../../src/sim/event_encoding.ts'
import { type SimNode, startSimNode } from '../../src/sim/sim_node.ts'
import { type DecodedBatch, type DecodedEvent, decodeBatch, ReplayClient } from './event_client.ts'
import { readFixture } from './recorded.ts'

interface RecordedStep {
  readonly name: string
  readonly request: { readonly prompt: readonly number[]; readonly model?: string }
  readonly batches: readonly (readonly [number, string])[]
}

const steps: RecordedStep[] = JSON.parse(readFixture('events'))

function decoded(step: RecordedStep): DecodedBatch[] {
  return step.batches.map(([seq, hex]) => decodeBatch(seq, Buffer.from(hex, 'hex')))
}

/** A decoded event as the encoder takes it. */
function wireEvent(event: DecodedEvent): WireEvent {
  if (event.type === 'AllBlocksCleared') return { kind: 'cleared' }
  const hashes = event.block_hashes ?? []
  if (event.type === 'BlockRemoved') return { kind: 'removed', hash: hashes[0] ?? 0n }
  return {
    kind: 'stored',
    hashes,
    parent: event.parent_block_hash ?? null,
    tokens: Uint32Array.from(event.token_ids ?? []),
    blockSize: event.block_size ?? 0,
    adapter: event.lora_name ?? null,
    adapterId: event.lora_id ?? null,
    extraKeys: event.extra_keys ?? null,
    sessionId: event.session_id ?? null,
    lookahead: null,
  }
}

/** Events with hashes named by their first appearance, without generated tokens. */
class Naming {
  private readonly names = new Map<bigint, number>()

  private name(hash: bigint): number {
    const known = this.names.get(hash) ?? this.names.size
    this.names.set(hash, known)
    return known
  }

  shape(batch: DecodedBatch, prompt: readonly number[]): unknown[] {
    return batch.events.map(({ block_hashes, parent_block_hash, token_ids, ...rest }) => ({
      ...rest,
      parent: typeof parent_block_hash === 'bigint' ? this.name(parent_block_hash) : null,
      hashes: block_hashes?.map(hash => this.name(hash)),
      tokenCount: token_ids?.length,
      promptTokens: token_ids?.filter(token => prompt.includes(token)),
    }))
  }
}

function storedHashes(batches: readonly DecodedBatch[]): unknown[] {
  const events = batches.flatMap(batch => batch.events)
  return events.filter(({ type }) => type === 'BlockStored').map(event => event.block_hashes)
}

let node: SimNode
let replay: ReplayClient

beforeAll(async () => {
  node = await startSimNode({
    model: 'tiny',
    adapters: ['tiny-lora'],
    blockSize: 32,
    blocks: 256,
    maxModelLen: 2048,
    maxNumBatchedTokens: 256,
    timeFactor: 0,
  })
  replay = new ReplayClient(node.kvReplay[0] ?? '')
})

afterAll(async () => {
  replay.close()
  await node.close()
})

async function post(path: string, body: object): Promise<void> {
  const headers = { 'content-type': 'application/json' }
  const reply = await fetch(node.url + path, {
    method: 'POST',
    headers,
    body: JSON.stringify(body),
  })
  expect(reply.status).toBe(200)
  await reply.arrayBuffer()
}

async function complete(extra: object): Promise<void> {
  await post('/v1/completions', { model: 'tiny', max_tokens: 1, temperature: 0, ...extra })
}

const ids = (first: number, count: number): number[] =>
  Array.from({ length: count }, (_, n) => first + n)

describe('KV events recorded from a real engine', () => {
  it.each(steps)('are encoded to the same bytes: $name', step => {
    const encoder = new EventEncoder('E10', 'int')
    expect(step.batches.length).toBeGreaterThan(0)
    for (const { seconds, events, rank, payload } of decoded(step)) {
      const bytes = encoder.batch(seconds, events.map(wireEvent), rank)
      expect(bytes.toString('hex')).toBe(payload.toString('hex'))
    }
  })

  it('are those that the simulated engine announces for the same requests', async () => {
    const real = new Naming()
    const simulated = new Naming()
    await post('/reset_prefix_cache', {})
    let next = 0
    for (const step of steps) {
      if (step.name === 'eviction') {
        // Five long prompts came before it, unrecorded.
        for (let n = 0; n < 5; n++) await complete({ prompt: ids(20 + n, 1600) })
        next = node.batchesPublished()
      }
      await complete(step.request)
      const batches = await replay.batches(next)
      next += batches.length
      const { prompt, model } = step.request
      const expected = decoded(step)
      const shape = (naming: Naming, all: readonly DecodedBatch[]): unknown[] =>
        all.map(batch => naming.shape(batch, prompt))
      // Generated tokens differ, and with them what prompt tokens they happen to equal.
      const isMixed = step.name.includes('generated')
      const left = shape(simulated, batches)
      const right = shape(real, expected)
      if (isMixed) expect(left.length).toBe(right.length)
      else expect(left, step.name).toEqual(right)
      if (isMixed || model !== undefined) continue
      // The very hashes, as far as they are made of prompt tokens and no adapter's path.
      expect(storedHashes(batches), step.name).toEqual(storedHashes(expected))
    }
  })
})
