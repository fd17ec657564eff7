/** Turns the cells of the relay bench into figures: medians, paired ratios, goals and a table. */
import type { PairedResult } from './load_client.ts'
import type { Cell } from './relay_scenarios.ts'
import { median, pairedRatio, type Ratio, rounded } from './rounds.ts'

/** Width of a column of the table. */
const COLUMN = 13

/** Cells by scenario, then by target, in round order. */
export type Cells = ReadonlyMap<string, ReadonlyMap<string, readonly Cell[]>>

interface FigureKind {
  readonly name: string
  readonly scenario: string
  /** Whose ratio to the base is judged. */
  readonly contestant: string
  readonly base: string
  /** The ratio that issue 3 asks for; null: reported only. */
  readonly ratioMax: number | null
  of(cell: Cell): number
}

const FIGURES: readonly FigureKind[] = [
  figure('cpu_us_per_short_request', 'short', 1.4, cell => cell.cpuUs),
  figure('cpu_us_per_one_token_stream', 'one_token', 1.2, cell => cell.cpuUs),
  figure('cpu_us_per_token_bulk', 'bulk', 1.1, cell => cell.cpuUs),
  figure('cpu_us_per_token_paced', 'paced', 1.1, cell => cell.cpuUs),
  figure('transit_p50_ms_paced', 'paced', null, cell => cell.load.transit_ms.p50),
  figure('transit_p99_ms_paced', 'paced', 1, cell => cell.load.transit_ms.p99),
  figure('requests_per_s', 'short', null, cell => cell.load.requests_per_s),
  figure('latency_p50_ms_c64', 'short', null, cell => cell.load.latency_ms.p50),
  figure('streams_per_s', 'one_token', null, cell => cell.load.requests_per_s),
  figure('tokens_per_s_bulk', 'bulk', null, cell => cell.load.tokens_per_s),
  logFigure('log_cpu_us_per_token_bulk', 'bulk'),
  logFigure('log_cpu_us_per_token_paced', 'paced'),
  figure('cpu_us_per_request_conversation', 'conversation', null, cell => cell.cpuUs),
  figure('latency_p50_ms_conversation', 'conversation', null, c => c.load.latency_ms.p50),
]

function figure(
  name: string,
  scenario: string,
  ratioMax: number | null,
  of: (cell: Cell) => number,
): FigureKind {
  return { name, scenario, contestant: 'warmpath', base: 'baseline', ratioMax, of }
}

/** The log on against the log bypassed: both write once for what one read brought. */
function logFigure(name: string, scenario: string): FigureKind {
  const [contestant, base] = ['baseline_logged', 'baseline_coalesced']
  return { name, scenario, contestant, base, ratioMax: 1.05, of: cell => cell.cpuUs }
}

export interface Figure {
  readonly name: string
  /** Median over the rounds, by target. */
  readonly values: Readonly<Record<string, number>>
  /** Ratios to the base of the same round, by target. */
  readonly ratios: Readonly<Record<string, Ratio>>
  readonly base: string
  /** Whose ratio is held against `ratio_max`. */
  readonly contestant: string
  readonly ratio_max: number | null
  readonly is_met: boolean | null
}

export function readFigures(cells: Cells): Figure[] {
  return FIGURES.flatMap(kind => {
    const byTarget = cells.get(kind.scenario)
    const isMeasured = byTarget?.has(kind.contestant) === true || kind.contestant === 'warmpath'
    return byTarget === undefined || !isMeasured ? [] : [readFigure(kind, byTarget)]
  })
}

function readFigure(kind: FigureKind, byTarget: ReadonlyMap<string, readonly Cell[]>): Figure {
  const values: Record<string, number> = {}
  const ratios: Record<string, Ratio> = {}
  const base = (byTarget.get(kind.base) ?? []).map(cell => kind.of(cell))
  for (const [target, list] of byTarget) {
    const own = list.map(cell => kind.of(cell))
    if (own.every(Number.isNaN)) continue
    values[target] = rounded(median(own))
    if (target !== kind.base && base.length > 0) ratios[target] = pairedRatio(own, base)
  }
  const { name, contestant, ratioMax } = kind
  const ratio = ratios[contestant]?.ratio
  const isMet = ratioMax === null || ratio === undefined ? null : ratio <= ratioMax
  return { name, values, ratios, base: kind.base, contestant, ratio_max: ratioMax, is_met: isMet }
}

/** Median of what the gateway may add at concurrency 1 (issue 3). */
const ADDED_P50_MS_MAX = 0.3

export interface AddedLatency {
  readonly latency_p50_ms: number
  readonly added_p50_ms: number
  /** Holds the median in 95 of 100 runs. */
  readonly added_p50_interval_ms: readonly [number, number]
  readonly added_p99_ms: number
}

/**
 * Latencies that heap up at 40 ms: Nagle's algorithm against delayed acknowledgements, a fault of
 * the gateway. On a crowded machine time slices do it as well: then `direct` stalls, too.
 */
export function readStalls(cells: Cells): string[] {
  const stalls: string[] = []
  for (const [scenario, byTarget] of cells) {
    for (const [target, list] of byTarget) {
      const count = list.filter(({ load }) => load.stall_cluster).length
      if (count > 0) stalls.push(`${scenario} ${target}: ${count} of ${list.length} cells at 40 ms`)
    }
  }
  return stalls
}

export function latencyLines(byTarget: Readonly<Record<string, AddedLatency>>): string {
  const lines = Object.entries(byTarget).map(([name, latency]) => {
    const [low, high] = latency.added_p50_interval_ms
    const isOver = name === 'warmpath' && latency.added_p50_ms > ADDED_P50_MS_MAX
    const goal = name === 'warmpath' ? `  ≤ ${ADDED_P50_MS_MAX}${isOver ? ' MISSED' : ''}` : ''
    const added = `${latency.added_p50_ms.toFixed(3)} (${low.toFixed(3)} to ${high.toFixed(3)})`
    const tail = `p99 ${latency.added_p99_ms.toFixed(3)}`
    return `added ms, concurrency 1   ${name.padEnd(20)} ${added}  ${tail}${goal}`
  })
  return lines.join('\n')
}

/** Added latency at concurrency 1, from pairs; the null run shows what a difference is worth. */
export function addedLatency(
  names: readonly string[],
  paired: readonly PairedResult[],
): Record<string, AddedLatency> {
  const byTarget: Record<string, AddedLatency> = {}
  for (const [i, result] of paired.entries()) {
    byTarget[names[i] ?? ''] = {
      latency_p50_ms: result.latency_ms.p50,
      added_p50_ms: result.added_p50_ms,
      added_p50_interval_ms: [result.added_p50_low_ms, result.added_p50_high_ms],
      added_p99_ms: result.added_p99_ms,
    }
  }
  return byTarget
}

/** What was wrong: faulty replies, and bodies that differ between targets. */
export function readFaults(cells: Cells): string[] {
  const faults: string[] = []
  for (const [scenario, byTarget] of cells) {
    const hashes = new Set<string>()
    for (const [target, list] of byTarget) {
      for (const { load } of list) {
        const where = `${scenario} ${target}`
        hashes.add(load.body_hash)
        if (load.faults > 0) faults.push(`${where}: ${load.faults} × ${load.first_fault}`)
        if (load.requests === 0) faults.push(`${where}: no request finished`)
      }
    }
    if (hashes.size > 1) faults.push(`${scenario}: bodies differ between targets`)
  }
  return faults
}

function column(text: string): string {
  return text.slice(0, COLUMN - 1).padStart(COLUMN)
}

export function table(figures: readonly Figure[], targets: readonly string[]): string {
  const head = ['figure'.padEnd(32), ...targets.map(name => column(name.replace('line_', '_')))]
  const lines = [[...head, column('ratio'), column('null'), '  goal'].join('')]
  for (const { name, values, ratios, contestant, ratio_max, is_met } of figures) {
    const ratio = (target: string): string => ratios[target]?.ratio.toFixed(3) ?? '-'
    const goal = ratio_max === null ? '' : `  ≤ ${ratio_max}${is_met === false ? ' MISSED' : ''}`
    lines.push(
      [
        name.padEnd(32),
        ...targets.map(target => column(String(values[target] ?? '-'))),
        column(ratio(contestant)),
        column(ratio('baseline_null')),
        goal,
      ].join(''),
    )
  }
  return lines.join('\n')
}
