/**
 * Bench reuse: what share of the tokens that an infinite cache would reuse does each policy?
 *
 *     npm run bench -- reuse [--policies prefix,least-load,round-robin] [--quick]
 *
 * The same conversations (conversations.ts) are asked of one simulated node whose cache holds
 * everything, one request at a time: what it reuses is the most that can be reused. Then, for
 * each policy, of the gateway in front of three fresh nodes whose caches together hold the
 * conversations. Nodes and gateway tokenize with the toy tokenizer, so the match is exact.
 *
 * What it does badly: three nodes in one process share a core, so times are no figures here.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { type SimNode, startSimNode } from '../src/sim/sim_node.ts'
import { awaitAnswer, Children, freePorts } from './children.ts'
import { converse, type Reuse, type Workload } from './conversations.ts'
import { ROOT } from './machine.ts'
import { type BenchOptions, option } from './options.ts'
import { rounded } from './rounds.ts'

const MODEL = 'sim'
const NODES = 3
/** Blocks of 16 tokens of a node: three hold the workload with room for copies of instructions. */
const BLOCKS = 2048
const BLOCKS_INFINITE = 60_000
/** The simulated nodes compute ten times as fast as an accelerator. */
const TIME_FACTOR = 0.1
const POLICIES = ['prefix', 'least-load', 'round-robin']
/** Issue 3: the default policy reuses at least this share of what an infinite cache would. */
const SHARE_MIN = 0.95

const WORKLOAD: Workload = {
  groups: 12,
  conversationsPerGroup: 4,
  turns: 6,
  instructionWords: 400,
  turnWords: 40,
  answerTokens: 32,
  lanes: 6,
  seed: 580,
}

/** One lane: which of two requests a node sees first must not decide a test. */
const WORKLOAD_QUICK: Workload = {
  ...WORKLOAD,
  groups: 4,
  conversationsPerGroup: 2,
  turns: 3,
  lanes: 1,
}

interface PolicyReuse {
  readonly policy: string
  readonly share_of_infinite: number
  readonly cached_tokens: number
  readonly prompt_tokens: number
  /** Nodes × the largest share of requests that one of them got: 1 is even. */
  readonly hot_spot_factor: number
  readonly seconds: number
}

export interface ReuseResult {
  readonly workload: Workload
  readonly infinite: { readonly cached_tokens: number; readonly prompt_tokens: number }
  readonly policies: readonly PolicyReuse[]
  readonly share_min: number
  readonly is_met: boolean | null
}

async function startNodes(count: number, blocks: number): Promise<SimNode[]> {
  const nodes: SimNode[] = []
  for (let i = 0; i < count; i++) {
    nodes.push(await startSimNode({ model: MODEL, blocks, timeFactor: TIME_FACTOR }))
  }
  return nodes
}

async function askInfinite(load: Workload): Promise<Reuse> {
  const [node] = await startNodes(1, BLOCKS_INFINITE)
  if (node === undefined) throw new Error('no node')
  try {
    return await converse(node.url, MODEL, { ...load, lanes: 1 })
  } finally {
    await node.close()
  }
}

function inferenceRequests(node: SimNode): number {
  return node.requests.filter(({ path: route }) => route === '/v1/chat/completions').length
}

async function askPolicy(policy: string, load: Workload): Promise<Reuse & { hotSpot: number }> {
  const nodes = await startNodes(NODES, BLOCKS)
  const children = new Children()
  const folder = mkdtempSync(path.join(os.tmpdir(), 'warmpath-reuse-'))
  try {
    const port = await freePorts(2)
    const file = path.join(folder, 'warmpath.yaml')
    const config = {
      listen: `127.0.0.1:${port}`,
      admin: `127.0.0.1:${port + 1}`,
      threads: 1,
      nodes: nodes.map(({ url }) => ({ url })),
      models: [{ name: MODEL, tokenizer: 'toy' }],
      routing: { policy },
    }
    writeFileSync(file, JSON.stringify(config))
    await children.start({
      command: process.execPath,
      args: [path.join(ROOT, 'dist/cli.js'), 'serve', '--config', file],
      core: null,
      outputFile: path.join(folder, 'warmpath.log'),
    })
    await awaitAnswer(`http://127.0.0.1:${port}/ready`)
    const reuse = await converse(`http://127.0.0.1:${port}`, MODEL, load)
    const shares = nodes.map(node => inferenceRequests(node) / reuse.requests)
    return { ...reuse, hotSpot: NODES * Math.max(...shares) }
  } finally {
    await children.stopAll()
    for (const node of nodes) await node.close()
    rmSync(folder, { recursive: true, force: true })
  }
}

export async function run({ isQuick, words }: BenchOptions): Promise<ReuseResult> {
  const load = isQuick ? WORKLOAD_QUICK : WORKLOAD
  const infinite = await askInfinite(load)
  const policies: PolicyReuse[] = []
  for (const policy of option(words, 'policies')?.split(',') ?? POLICIES) {
    const { cachedTokens, promptTokens, hotSpot, seconds } = await askPolicy(policy, load)
    const share = rounded(cachedTokens / infinite.cachedTokens)
    process.stdout.write(
      `${policy.padEnd(12)} ${(share * 100).toFixed(1)} % of an infinite cache\n`,
    )
    policies.push({
      policy,
      share_of_infinite: share,
      cached_tokens: cachedTokens,
      prompt_tokens: promptTokens,
      hot_spot_factor: rounded(hotSpot),
      seconds: rounded(seconds),
    })
  }
  const prefix = policies.find(({ policy }) => policy === 'prefix')
  return {
    workload: load,
    infinite: { cached_tokens: infinite.cachedTokens, prompt_tokens: infinite.promptTokens },
    policies,
    share_min: SHARE_MIN,
    is_met: prefix === undefined ? null : prefix.share_of_infinite >= SHARE_MIN,
  }
}
