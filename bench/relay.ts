/**
 * Bench relay: what the gateway costs and adds, beside direct, a bare relay (twice, as a null
 * run), the same relay writing once a read, and haproxy.
 *
 *     npm run bench -- relay [--rounds 6] [--seconds 3] [--quick] [--no-pin] [--kv-batches 50]
 *                            [--targets direct,baseline,…] [--scenarios short,paced,…]
 *
 *   start all ─► idle ─► warm-up ─► interleaved at concurrency 1 ─► per scenario: warm-up cells
 *   each, then rounds of one cell per target in balanced order ─► medians, paired ratios, memory
 *
 * The gateway runs with the text-keyed model, KV events on, its log lines to a file and metrics
 * on. Processor time is that of its whole process (all threads, health checks and KV events
 * included). What it does badly: the load is a closed loop on the same machine, so requests/s
 * says what two cores give to client, nodes and gateway together; `direct` is the ceiling.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { readRssMb, readThreadTimes, spentNs } from './cpu.ts'
import { runInterleaved, runLoad } from './load_client.ts'
import { type BenchOptions, flag, numberOption, option } from './options.ts'
import {
  type AddedLatency,
  addedLatency,
  type Figure,
  latencyLines,
  readFaults,
  readFigures,
  readStalls,
  table,
} from './relay_report.ts'
import { type Cell, type Load, runCell, SCENARIOS, warmUpCells } from './relay_scenarios.ts'
import { rounded, runRounds } from './rounds.ts'
import {
  missing,
  openStage,
  type Stage,
  TARGET_NAMES,
  type Target,
  type TargetName,
  TEXT_MODEL,
} from './targets.ts'

const ROUNDS = 6
const SECONDS = 3
/**
 * Until start-up is over: discovery, the replay of events, compilation, and the collection with
 * which V8 gives back what start-up took (after 8 s; the gateway has 122 MB before, 99 MB behind).
 */
const SETTLE_MS = 10_000
const IDLE_MS = 2000
/** Pairs of the run at concurrency 1; the interval of the median is then about 1 % wide. */
const PAIRS = 3000
const KV_BATCHES_PER_SECOND = 50
/**
 * Requests that every target answers before anything is measured, half of them streams: below some
 * 10,000 the compiler of V8 is still at work, and the more code a target has the longer.
 */
const WARM_UP_REQUESTS = 20_000
const WARM_UP_REQUESTS_QUICK = 40
/** These are compiled before they start. */
const NEEDS_NO_WARM_UP: ReadonlySet<string> = new Set<TargetName>(['direct', 'haproxy'])

interface Idle {
  readonly rss_mb: number
  /** Processor time that an idle process spends: timers, health checks, KV events. */
  readonly cpu_ms_per_s: number
  readonly start_ms: number
}

export interface RelayResult {
  readonly rounds: number
  readonly seconds: number
  readonly is_pinned: boolean
  /** Targets that could not be measured here, and why. */
  readonly skipped: Readonly<Record<string, string>>
  readonly added_latency_c1: Readonly<Record<string, AddedLatency>>
  readonly figures: readonly Figure[]
  readonly idle: Readonly<Record<string, Idle>>
  readonly rss_after_mb: Readonly<Record<string, number>>
  /** Replies that were not the right ones. */
  readonly faults: readonly string[]
  /** Cells whose latencies heap up at 40 ms. */
  readonly stalls: readonly string[]
}

function chosen<T extends string>(all: readonly T[], text: string | null): readonly T[] {
  if (text === null) return all
  const names = text.split(',')
  const unknown = names.find(name => !all.some(known => known === name))
  if (unknown !== undefined) throw new TypeError(`${unknown} is none of ${all.join(', ')}`)
  return all.filter(name => names.includes(name))
}

async function readIdle(targets: readonly Target[], ms: number): Promise<Record<string, Idle>> {
  const gateways = targets.flatMap(({ pid, ...rest }) => (pid === null ? [] : [{ ...rest, pid }]))
  const before = gateways.map(({ pid }) => readThreadTimes(pid))
  await delay(ms)
  const idle: Record<string, Idle> = {}
  for (const [i, { name, pid, startMs }] of gateways.entries()) {
    const spent = spentNs(before[i] ?? new Map(), readThreadTimes(pid))
    idle[name] = {
      rss_mb: readRssMb(pid),
      cpu_ms_per_s: rounded(spent / 1e6 / (ms / 1000)),
      start_ms: startMs,
    }
  }
  return idle
}

async function warmUp(stage: Stage, requests: number): Promise<void> {
  const words = ['--model', TEXT_MODEL, '--connections', '32', '--requests', String(requests / 2)]
  for (const { url } of stage.targets) {
    await runLoad(url, stage.loadCore, words)
    await runLoad(url, stage.loadCore, [...words, '--stream'])
  }
}

async function runScenarios(
  stage: Stage,
  names: readonly string[],
  rounds: number,
  load: Load,
): Promise<Map<string, Map<string, Cell[]>>> {
  const byName = new Map(stage.targets.map(target => [target.name as string, target]))
  const cells = new Map<string, Map<string, Cell[]>>()
  for (const scenario of SCENARIOS) {
    if (!names.includes(scenario.name)) continue
    const cell = async (name: string): Promise<Cell> => {
      const target = byName.get(name)
      if (target === undefined) throw new Error(`${name} was not started`)
      return await runCell(scenario, target, stage.loadCore, load)
    }
    for (const name of byName.keys()) {
      const count = NEEDS_NO_WARM_UP.has(name) ? 1 : warmUpCells(load)
      for (let i = 0; i < count; i++) await cell(name)
    }
    const of = await runRounds([...byName.keys()], rounds, cell)
    cells.set(scenario.name, of)
    process.stdout.write(`${scenario.name}: ${rounds} rounds of ${byName.size} targets done\n`)
  }
  return cells
}

export async function run(options: BenchOptions): Promise<RelayResult> {
  const { isQuick, words } = options
  const rounds = options.rounds ?? (isQuick ? 1 : ROUNDS)
  const load = { seconds: options.seconds ?? (isQuick ? 0.1 : SECONDS), isQuick }
  const wanted = chosen<TargetName>(TARGET_NAMES, option(words, 'targets'))
  const scenarios = chosen(
    SCENARIOS.map(({ name }) => name),
    option(words, 'scenarios'),
  )
  const skipped: Record<string, string> = {}
  for (const name of wanted) {
    const why = missing(name)
    if (why !== null) skipped[name] = why
  }
  const stage = await openStage({
    isPinned: !flag(words, 'no-pin'),
    kvBatchesPerSecond: numberOption(words, 'kv-batches') ?? KV_BATCHES_PER_SECOND,
    targets: wanted.filter(name => skipped[name] === undefined),
  })
  try {
    const names = stage.targets.map(({ name }) => name)
    await delay(isQuick ? 0 : SETTLE_MS)
    const idle = await readIdle(stage.targets, isQuick ? 100 : IDLE_MS)
    await warmUp(stage, isQuick ? WARM_UP_REQUESTS_QUICK : WARM_UP_REQUESTS)
    const pairs = await runInterleaved(
      stage.targets.map(({ url }) => url),
      stage.loadCore,
      ['--model', TEXT_MODEL, '--requests', String(isQuick ? 20 : PAIRS)],
    )
    const cells = await runScenarios(stage, scenarios, rounds, load)
    const figures = readFigures(cells)
    const faults = readFaults(cells)
    for (const [i, { faults: count, first_fault }] of pairs.entries()) {
      if (count > 0) faults.push(`concurrency 1 ${names[i]}: ${count} × ${first_fault}`)
    }
    const latency = addedLatency(names, pairs)
    process.stdout.write(`${table(figures, names)}\n${latencyLines(latency)}\n`)
    for (const [name, { rss_mb, cpu_ms_per_s, start_ms }] of Object.entries(idle)) {
      const memory = `idle ${rss_mb} MB, ${cpu_ms_per_s} ms of processor a second`
      process.stdout.write(`${name.padEnd(20)} answers after ${start_ms} ms, ${memory}\n`)
    }
    const stalls = readStalls(cells)
    for (const fault of faults) process.stdout.write(`FAULT ${fault}\n`)
    for (const stall of stalls) process.stdout.write(`STALL ${stall}\n`)
    return {
      rounds,
      seconds: load.seconds,
      is_pinned: stage.loadCore !== null,
      skipped,
      added_latency_c1: latency,
      figures,
      idle,
      rss_after_mb: rssAfter(stage.targets),
      faults,
      stalls,
    }
  } finally {
    await stage.close()
  }
}

function rssAfter(targets: readonly Target[]): Record<string, number> {
  const byName: Record<string, number> = {}
  for (const { name, pid } of targets) if (pid !== null) byName[name] = readRssMb(pid)
  return byName
}
