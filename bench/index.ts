/**
 * The prefix index beside a flat per-block map in C++, on the same operations.
 *
 *   npm run bench -- index [--quick] [--rounds N] [--trace FILE]
 *
 * Without Node (bench/index_replay, which says what the operations are):
 *   churn    the request trace on 8 and 64 nodes of 16,384 blocks each: every request looked up,
 *            every block stored and evicted. Millions of block operations a second of processor
 *            time; `null` is the index once more; memory at the end, 1,048,576 blocks held.
 *            `with_tokens` lets the index hash the tokens of its stores as it does in production.
 *   lookup   nanoseconds at 64, 767 and 8,192 blocks: held, cut at a random depth, unknown; with
 *            cold caches and with hot ones
 * Through N-API: nanoseconds of a lookup and of a batch of one event, as the threads call them.
 *
 * Where the index loses: a store and a removal cost more than the flat map's, which is told the own
 * key of every block and resolves nothing; a short prompt that is cut is no faster than with the
 * map. The trace is not part of this repository: without it a small one is made up (`trace` says
 * so), whose figures are good for nothing but the test.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { chainKeys, chainRoot } from '../src/native/chain_hash.ts'
import { SLOTS_MAX } from '../src/native/limits.ts'
import { matchPrefix } from '../src/native/overlay.ts'
import { IndexBatch, PrefixIndex } from '../src/native/prefix_index.ts'
import { ROOT } from './machine.ts'
import { type BenchOptions, type BenchResult, option } from './options.ts'
import { median, rounded } from './rounds.ts'

const TRACE = path.join(ROOT, '../shared/traces/mooncake_conversation.jsonl')
const REPLAY = path.join(ROOT, 'build/Release/index_replay')
const BLOCKS_A_NODE = 16_384
const ROUNDS = 5

interface Churn {
  readonly rounds: readonly { flat: number; index: number; null: number }[]
  readonly same_answers: boolean
  readonly [figure: string]: unknown
}

interface Lookups {
  readonly same_answers: boolean
  readonly [figure: string]: unknown
}

function replay(...words: readonly (string | number)[]): string {
  return execFileSync(REPLAY, words.map(String), { encoding: 'utf8', maxBuffer: 1 << 24 })
}

interface ChurnPlan {
  readonly trace: string
  readonly nodes: number
  readonly capacity: number
  readonly requests: number
  readonly hasTokens: boolean
  readonly rounds: number
}

function churn(plan: ChurnPlan): Record<string, unknown> {
  const { trace, nodes, capacity, requests, hasTokens, rounds } = plan
  const text = replay('churn', trace, nodes, capacity, requests, 1, Number(hasTokens), rounds)
  // The shape is that of bench/index_replay/main.cc, built from this very tree.
  const { rounds: runs, ...facts }: Churn = JSON.parse(text)
  const of = (name: 'flat' | 'index' | 'null'): number => rounded(median(runs.map(r => r[name])))
  const ratio = median(runs.map(r => r.index / r.flat))
  const noise = median(runs.map(r => Math.abs(r.null / r.index - 1)))
  return {
    nodes,
    ...facts,
    flat_mops: of('flat'),
    index_mops: of('index'),
    null_mops: of('null'),
    index_to_flat: rounded(ratio),
    null_difference: rounded(noise),
  }
}

/** Nanoseconds of one call: the fastest of some runs of many calls. */
function nanosecondsOf(calls: number, call: (i: number) => void): number {
  let best = Number.POSITIVE_INFINITY
  for (let round = 0; round < 5; round++) {
    const start = process.hrtime.bigint()
    for (let i = 0; i < calls; i++) call(i)
    best = Math.min(best, Number(process.hrtime.bigint() - start) / calls)
  }
  return rounded(best)
}

/** Calls as the threads make them: one typed array in, counts out, one event a batch. */
function throughNapi(isQuick: boolean): Record<string, number> {
  const calls = isQuick ? 50 : 20_000
  const blockSize = 16
  const blocks = 767
  const index = PrefixIndex.create({ blockSize, bytesMax: 1 << 28 })
  const root = new BigUint64Array(1)
  chainRoot(root, 'bench', blockSize, '', '')
  const tokens = Uint32Array.from({ length: blocks * blockSize }, (_, i) => i % 50_000)
  const keys = new BigUint64Array(blocks)
  const hashes = BigUint64Array.from({ length: blocks }, (_, i) => BigInt(i + 1) * 0x9e3779b9n)
  const batch = new IndexBatch()
  batch.store({ root, parent: null, hashes, tokens, extras: null })
  for (let slot = 0; slot < 8; slot++) index.apply(slot, 0, batch)
  const slots = new Uint32Array(SLOTS_MAX)
  const depths = new Uint32Array(SLOTS_MAX)
  const own = new Uint32Array(SLOTS_MAX)
  chainKeys(root, tokens, tokens.length, blockSize, keys)
  const decode = new IndexBatch()
  const block = tokens.subarray(0, blockSize)
  const last = hashes.subarray(blocks - 1)
  let found = 0
  const figures = {
    keys_of_12272_tokens_ns: nanosecondsOf(calls / 10, () => {
      chainKeys(root, tokens, tokens.length, blockSize, keys)
    }),
    match_767_blocks_ns: nanosecondsOf(calls, () => {
      found += index.match(keys, blocks, slots, depths)
    }),
    match_prefix_767_blocks_ns: nanosecondsOf(calls, () => {
      found += matchPrefix(index.id, keys, blocks, 0, slots, depths, own)
    }),
    encode_and_apply_one_store_and_one_removal_ns: nanosecondsOf(calls, i => {
      const hash = BigInt(i) + 1_000_000n
      decode.reset()
      decode.store({ root, parent: last[0] ?? 0n, hashes: [hash], tokens: block, extras: null })
      decode.remove(hash)
      index.apply(1, 0, decode)
    }),
  }
  index.close()
  if (found === 0) throw new Error('the lookups found nothing')
  return figures
}

/** A made-up trace: conversations that grow by a few ids a turn behind one shared id. */
function makeTrace(file: string): void {
  const histories = Array.from({ length: 20 }, () => [0])
  let next = 1
  const lines = Array.from({ length: 300 }, (_, i) => {
    const history = histories[(i * 7) % histories.length] ?? [0]
    for (let grown = 0; grown <= i % 3; grown++) history.push(next++)
    const hash_ids = [...history]
    return JSON.stringify({ input_length: hash_ids.length * 512 - 9, output_length: 200, hash_ids })
  })
  writeFileSync(file, `${lines.join('\n')}\n`)
}

export async function run(options: BenchOptions): Promise<BenchResult> {
  if (!existsSync(REPLAY)) throw new Error(`${REPLAY} is missing: npm run build:native (Linux)`)
  const { isQuick } = options
  const rounds = options.rounds ?? (isQuick ? 1 : ROUNDS)
  const given = option(options.words, 'trace') ?? TRACE
  const isMadeUp = isQuick || !existsSync(given)
  const folder = mkdtempSync(path.join(os.tmpdir(), 'warmpath-index-'))
  try {
    const trace = isMadeUp ? path.join(folder, 'trace.jsonl') : given
    if (isMadeUp) makeTrace(trace)
    const plan = { trace, capacity: isQuick ? 512 : BLOCKS_A_NODE, requests: 1e9, rounds }
    const lookups: Lookups = JSON.parse(
      isQuick ? replay('lookup', 20_000, 3) : replay('lookup', 2_100_000, 200),
    )
    return await Promise.resolve({
      trace: isMadeUp ? 'made up' : path.basename(trace),
      rounds,
      unit: 'million block operations per second of processor time',
      churn: [
        churn({ ...plan, nodes: 8, hasTokens: false }),
        churn({ ...plan, nodes: 64, hasTokens: false }),
      ],
      with_tokens: churn({ ...plan, nodes: 64, hasTokens: true }),
      lookup: lookups,
      napi: throughNapi(isQuick),
    })
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
