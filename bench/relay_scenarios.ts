/**
 * The loads of the relay bench, as arguments of `load_client`, and what a cell of each yields.
 *
 *     short         64 connections, plain replies, prompts of 200 bytes
 *     one_token     64 connections, streams of one token (role, token, [DONE])
 *     bulk          8 connections, streams of 2,000 tokens as fast as they are taken
 *     paced         500 streams of a token every 20 ms, evenly spread, started over a second
 *     conversation  16 connections, conversations that grow by 1 KB a turn, model with tokenizer
 *
 * Latency at concurrency 1 is not a cell but one interleaved run over all targets (load_client).
 */
import { readRssMb, readThreadTimes, spentNs } from './cpu.ts'
import { type LoadResult, runLoad } from './load_client.ts'
import { rounded } from './rounds.ts'
import { type Target, TEXT_MODEL, TOKEN_MODEL } from './targets.ts'

const PACE_US = 20_000
/** A tenth of a pace lies between two starts: 500 streams take a second. */
const PACES_BETWEEN_STARTS = 0.1
const MS = 1000
/**
 * Seconds under each scenario before it is measured, for who compiles as it runs: at 500 paced
 * streams the optimising compiler of V8 is at work for some 10 s behind the gateway, and a little
 * longer behind the bare relay, on the core where they are pinned.
 */
const WARM_UP_SECONDS = 15

export interface Load {
  readonly seconds: number
  readonly isQuick: boolean
}

/** Cells to be run before those that count. */
export function warmUpCells({ isQuick, seconds }: Load): number {
  return isQuick ? 1 : Math.ceil(WARM_UP_SECONDS / seconds)
}

export interface Scenario {
  readonly name: string
  /** What the processor time is divided by. */
  readonly unit: 'requests' | 'tokens'
  words(load: Load): string[]
}

function duration({ seconds }: Load): string[] {
  return ['--duration-ms', String(Math.round(seconds * MS))]
}

function connections({ isQuick }: Load, count: number): string[] {
  return ['--connections', String(isQuick ? Math.ceil(count / 8) : count)]
}

function stream(tokens: number): string[] {
  return ['--stream', '--max-tokens', String(tokens)]
}

/**
 * Pause between the starts of two streams (µs): their tokens are evenly spread over a pace, and the
 * starts over a second. Started within one pace, 500 requests are a backlog of some 30 ms, and
 * the worst hundredth of all tokens then says what a request costs, not what a token waits.
 */
function staggerUs(streams: number): number {
  return PACE_US / streams + PACES_BETWEEN_STARTS * PACE_US
}

const TURNS = ['--model', TOKEN_MODEL, '--prompt-bytes', '2000', '--turns', '12']
const TEXT = ['--model', TEXT_MODEL, '--prompt-bytes', '200']

export const SCENARIOS: readonly Scenario[] = [
  {
    name: 'short',
    unit: 'requests',
    words: load => [...TEXT, ...connections(load, 64), ...duration(load)],
  },
  {
    name: 'one_token',
    unit: 'requests',
    words: load => [...TEXT, ...connections(load, 64), ...stream(1), ...duration(load)],
  },
  {
    name: 'bulk',
    unit: 'tokens',
    words: load => [
      ...TEXT,
      ...connections(load, 8),
      ...stream(load.isQuick ? 100 : 2000),
      ...duration(load),
    ],
  },
  {
    name: 'paced',
    unit: 'tokens',
    words: load => {
      const streams = load.isQuick ? 40 : 500
      const tokens = Math.max(5, Math.round((load.seconds * 1e6) / PACE_US))
      const once = ['--connections', String(streams), '--requests', String(streams)]
      const pace = ['--pace-us', String(PACE_US), '--stagger-us', String(staggerUs(streams))]
      return [...TEXT, ...once, ...stream(tokens), ...pace]
    },
  },
  {
    name: 'conversation',
    unit: 'requests',
    words: load => [...TURNS, ...connections(load, 16), ...duration(load)],
  },
]

/** One target under one load. */
export interface Cell {
  readonly load: LoadResult
  /** Processor time of the gateway per request or token; NaN when nothing stands between. */
  readonly cpuUs: number
  readonly rssMb: number | null
}

export async function runCell(
  scenario: Scenario,
  target: Target,
  core: number | null,
  load: Load,
): Promise<Cell> {
  const before = target.pid === null ? null : readThreadTimes(target.pid)
  const result = await runLoad(target.url, core, scenario.words(load))
  if (target.pid === null || before === null) {
    return { load: result, cpuUs: Number.NaN, rssMb: null }
  }
  const spent = spentNs(before, readThreadTimes(target.pid))
  const cpuUs = rounded(spent / 1000 / Math.max(1, result[scenario.unit]))
  return { load: result, cpuUs, rssMb: readRssMb(target.pid) }
}
