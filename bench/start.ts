/**
 * Bench start: how long does the gateway take from its process's start to its first answer?
 *
 *     npm run bench -- start [--rounds 11] [--pin] [--quick]
 *
 * Every cell is a process of its own, in turn: an empty Node (`node -e 0`, to its end), the bare
 * relay, the same again (the null run), and the gateway with one thread and two nodes. The answer
 * is a 200 to `GET /health`, asked every 20 ms. With --pin each has one core alone, which is how
 * the relay bench starts them; without, the machine.
 *
 * What it does badly: the empty Node shows how fast this machine is in this hour and no more; most
 * of what the gateway adds is reading and compiling its own code, its threads and uWebSockets.js.
 */
import { spawnSync } from 'node:child_process'
import { type BenchOptions, flag } from './options.ts'
import { median, pairedRatio, type Ratio, rounded, runRounds } from './rounds.ts'
import { openStage, TARGET_NAMES, type TargetName } from './targets.ts'

const ROUNDS = 11
const KV_BATCHES_PER_SECOND = 50
/** Issue 3: milliseconds within which an idle gateway answers. */
const START_MS_MAX = 500
const EMPTY_NODE = 'node'
const BASE: TargetName = 'baseline'
const TARGETS: readonly TargetName[] = [BASE, 'baseline_null', 'warmpath']

export interface StartResult {
  readonly rounds: number
  readonly is_pinned: boolean
  /** Medians. */
  readonly start_ms: Readonly<Record<string, number>>
  readonly to_baseline: Readonly<Record<string, Ratio>>
  readonly start_ms_max: number
  readonly is_met: boolean
}

function emptyNodeMs(): number {
  const begin = performance.now()
  const { status } = spawnSync(process.execPath, ['-e', '0'])
  if (status !== 0) throw new Error(`an empty Node ended with ${status}`)
  return performance.now() - begin
}

async function targetMs(name: TargetName, isPinned: boolean): Promise<number> {
  const plan = { isPinned, kvBatchesPerSecond: KV_BATCHES_PER_SECOND, targets: [name] }
  const stage = await openStage(plan)
  await stage.close()
  return stage.targets[0]?.startMs ?? Number.NaN
}

export async function run({ rounds, isQuick, words }: BenchOptions): Promise<StartResult> {
  const count = rounds ?? (isQuick ? 1 : ROUNDS)
  const isPinned = flag(words, 'pin')
  const cells = await runRounds([EMPTY_NODE, ...TARGETS], count, async name => {
    const target = TARGET_NAMES.find(known => known === name)
    return target === undefined ? emptyNodeMs() : await targetMs(target, isPinned)
  })
  const startMs: Record<string, number> = {}
  const toBaseline: Record<string, Ratio> = {}
  for (const [name, values] of cells) {
    startMs[name] = rounded(median(values))
    toBaseline[name] = pairedRatio(values, cells.get(BASE) ?? [])
    process.stdout.write(`${name.padEnd(14)} ${startMs[name]} ms\n`)
  }
  const isMet = (startMs['warmpath'] ?? Number.NaN) <= START_MS_MAX
  return {
    rounds: count,
    is_pinned: isPinned,
    start_ms: startMs,
    to_baseline: toBaseline,
    start_ms_max: START_MS_MAX,
    is_met: isMet,
  }
}
