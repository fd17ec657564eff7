/**
 * One routing decision, with the native index, overlay and load table: match, candidates, score,
 * lease, prediction, release. The prompt is 12,288 tokens in 16-token blocks; every node holds
 * another part of it, none of it, or all of it.
 *
 * It cannot show contention between gateway threads. Losing case: `staggered`, where every node of
 * a large fleet holds another length of the same prompt: the index then tells each length apart.
 */
import { chainKeys, chainRoot } from '../src/native/chain_hash.ts'
import { SLOTS_MAX } from '../src/native/limits.ts'
import { loadTable } from '../src/native/load_table.ts'
import { matchPrefix, overlay } from '../src/native/overlay.ts'
import { IndexBatch, PrefixIndex } from '../src/native/prefix_index.ts'
import type { NodeView } from '../src/nodes/fleet_view.ts'
import { soloBoard } from '../src/routing/admission.ts'
import type { RouteRequest } from '../src/routing/candidates.ts'
import { systemClock } from '../src/routing/clock.ts'
import { routingSchema } from '../src/routing/config.ts'
import { Router } from '../src/routing/router.ts'
import type { BenchOptions, BenchResult } from './options.ts'

const BLOCK_SIZE = 16
const BLOCKS = 768
const MODEL = 'bench'
const NODES = [1, 8, 64, 1000]
const SHARES = { none: 0, staggered: 0.5, all: 1 } as const
type Holding = keyof typeof SHARES

function nodeOf(slot: number, indexId: number): NodeView {
  return {
    id: `node-${slot}`,
    url: `http://node-${slot}`,
    state: 'healthy',
    epoch: 1,
    apiKey: null,
    models: [{ id: MODEL, parent: null, body: {} }],
    indexModel: MODEL,
    ranks: [{ rank: 0, slot }],
    blockSize: BLOCK_SIZE,
    blockCount: 16_384,
    kvEvents: 'live',
    indexId,
    inFlightMax: 256,
  }
}

function blocksOf(holding: Holding, slot: number): number {
  if (holding === 'staggered') return slot % BLOCKS
  return BLOCKS * SHARES[holding]
}

/** Nanoseconds of processor time of a decision: median of the rounds' means. */
function measure(router: Router, request: RouteRequest, rounds: number, calls: number): number {
  const means: number[] = []
  for (let round = 0; round < rounds; round++) {
    const start = process.cpuUsage()
    for (let call = 0; call < calls; call++) {
      const placed = router.route(request, [])
      if (placed === 'full' || placed instanceof Error) throw new Error('not placed')
      placed.lease.release()
    }
    const { user, system } = process.cpuUsage(start)
    means.push(((user + system) * 1e3) / calls)
  }
  means.sort((a, b) => a - b)
  return Math.round(means[means.length >> 1] ?? 0)
}

function cell(holding: Holding, nodeCount: number, options: BenchOptions): number {
  const index = PrefixIndex.create({ blockSize: BLOCK_SIZE, bytesMax: 256 * 2 ** 20 })
  const root = new BigUint64Array(1)
  chainRoot(root, MODEL, BLOCK_SIZE, '', '')
  const tokens = Uint32Array.from({ length: BLOCKS * BLOCK_SIZE }, (_, at) => at)
  const keys = new BigUint64Array(BLOCKS)
  chainKeys(root, tokens, tokens.length, BLOCK_SIZE, keys)
  const hashes = keys.slice()
  const batch = new IndexBatch()
  for (let slot = 0; slot < nodeCount; slot++) {
    const held = blocksOf(holding, slot)
    overlay.forget(slot)
    if (held === 0) continue
    const blocks = {
      hashes: hashes.subarray(0, held),
      tokens: tokens.subarray(0, held * BLOCK_SIZE),
    }
    batch.store({ root, parent: null, extras: null, ...blocks })
    index.apply(slot, 1, batch)
    batch.reset()
  }
  const router = new Router({
    config: routingSchema.parse({}),
    clock: systemClock,
    random: Math.random,
    loadTable,
    overlay,
    match: matchPrefix,
    board: soloBoard(),
  })
  const nodes = Array.from({ length: nodeCount }, (_, slot) => nodeOf(slot, index.id))
  router.useView({ version: 1, nodes, models: [] })
  const promptTokens = tokens.length + 5
  const none = new Uint32Array(SLOTS_MAX)
  const matches = { slots: none, depths: none, indexDepths: none, matched: 0 }
  const prompt = { exact: true, promptTokens, blockSize: BLOCK_SIZE, keys, count: BLOCKS }
  const request = {
    model: MODEL,
    promptTokens,
    skipsCache: false,
    prompt: { ...prompt, ...matches },
  }
  const calls = options.isQuick ? 10 : 2_000
  measure(router, request, 1, calls)
  const ns = measure(router, request, options.isQuick ? 1 : (options.rounds ?? 9), calls)
  index.close()
  return ns
}

export async function run(options: BenchOptions): Promise<BenchResult> {
  const decisionNs: Record<string, number> = {}
  for (const nodeCount of options.isQuick ? [1, 8] : NODES) {
    for (const holding of ['none', 'staggered', 'all'] as const) {
      const name = `${holding}_${nodeCount}`
      decisionNs[name] = cell(holding, nodeCount, options)
      process.stdout.write(`${name.padEnd(16)} ${decisionNs[name]} ns\n`)
    }
  }
  return { promptBlocks: BLOCKS, decisionNs }
}
