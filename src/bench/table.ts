/** The table of `warmpath bench`: one line a run, times in milliseconds. */
import type { Figures, Spread } from './figures.ts'

type Column = readonly [title: string, cell: (figures: Figures) => string]

function percentile(of: (figures: Figures) => Spread | null, name: keyof Spread) {
  return (figures: Figures): string => of(figures)?.[name].toString() ?? '-'
}

const COLUMNS: readonly Column[] = [
  ['concurrency', ({ concurrency }) => String(concurrency)],
  ['requests', ({ requests }) => String(requests)],
  ['errors', ({ requests, succeeded }) => String(requests - succeeded)],
  ['req/s', figures => String(figures.requests_per_s)],
  ['tokens/s', figures => String(figures.output_tokens_per_s)],
  ['TTFT p50', percentile(figures => figures.ttft_ms, 'p50')],
  ['p99', percentile(figures => figures.ttft_ms, 'p99')],
  ['ms/token p50', percentile(figures => figures.time_per_token_ms, 'p50')],
  ['p99', percentile(figures => figures.time_per_token_ms, 'p99')],
  ['e2e p50', percentile(figures => figures.e2e_ms, 'p50')],
  ['p99', percentile(figures => figures.e2e_ms, 'p99')],
  [
    'cached',
    ({ cached_tokens_share: share }) => (share === null ? '-' : `${(share * 100).toFixed(1)} %`),
  ],
]

export function figureTable(runs: readonly Figures[]): string {
  const rows = [COLUMNS.map(([title]) => title)]
  for (const run of runs) rows.push(COLUMNS.map(([, cell]) => cell(run)))
  const widths = COLUMNS.map((_, i) => Math.max(...rows.map(row => row[i]?.length ?? 0)))
  return rows.map(row => row.map((cell, i) => cell.padStart(widths[i] ?? 0)).join('  ')).join('\n')
}
