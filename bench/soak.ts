/**
 * Bench soak: does memory grow with the number of requests?
 *
 *     npm run bench -- soak [--requests 1000000] [--targets warmpath] [--stream] [--quick]
 *
 * Short requests (streams of one token with --stream) at concurrency 64, in STEPS steps; resident
 * memory is read after each. The slope is that of the least-squares line through the second half,
 * where heaps and pools have found their size:
 *
 *     RSS │      ․─·─·─·─·─·─·  slope 0: warm            ╱ slope > 0 that goes on: a leak
 *         │  ․·
 *         └──────────────────── requests
 *
 * What it does badly: V8 returns memory when it likes, so a slope of a few MB per million is
 * within what two equal runs differ by; a leak shows as the same slope in both halves.
 */
import { readRssMb } from './cpu.ts'
import { runLoad } from './load_client.ts'
import { type BenchOptions, flag, numberOption, option } from './options.ts'
import { rounded } from './rounds.ts'
import { openStage, TARGET_NAMES, type Target, type TargetName, TEXT_MODEL } from './targets.ts'

const REQUESTS = 1_000_000
const REQUESTS_QUICK = 400
const STEPS = 20
const CONNECTIONS = 64
const KV_BATCHES_PER_SECOND = 50

export interface Point {
  readonly requests: number
  readonly rssMb: number
}

export interface Growth {
  readonly target: string
  readonly rss_idle_mb: number
  readonly rss_end_mb: number
  /** MB per million requests, over all and over the second half. */
  readonly slope_mb_per_million: number
  readonly slope_second_half: number
  readonly rss_mb: readonly number[]
}

/** Slope of the least-squares line through the points, in MB per million requests. */
export function slope(points: readonly Point[]): number {
  const meanX = points.reduce((sum, { requests }) => sum + requests, 0) / points.length
  const meanY = points.reduce((sum, { rssMb }) => sum + rssMb, 0) / points.length
  let products = 0
  let squares = 0
  for (const { requests, rssMb } of points) {
    products += (requests - meanX) * (rssMb - meanY)
    squares += (requests - meanX) ** 2
  }
  return squares === 0 ? 0 : (products / squares) * 1e6
}

async function soak(
  { name, url, pid }: Target,
  core: number | null,
  requests: number,
  isStream: boolean,
): Promise<{ growth: Growth; faults: string[] }> {
  if (pid === null) throw new TypeError('direct has no memory of its own')
  const idle = readRssMb(pid)
  const points: Point[] = []
  const faults: string[] = []
  const each = Math.ceil(requests / STEPS)
  for (let step = 1; step <= STEPS; step++) {
    const words = ['--model', TEXT_MODEL, '--prompt-bytes', '200', '--requests', String(each)]
    words.push('--connections', String(CONNECTIONS))
    if (isStream) words.push('--stream', '--max-tokens', '1')
    const result = await runLoad(url, core, words)
    if (result.faults > 0) faults.push(`${name}: ${result.faults} × ${result.first_fault}`)
    points.push({ requests: step * each, rssMb: readRssMb(pid) })
    process.stdout.write(`${name}: ${step * each} requests, ${points.at(-1)?.rssMb} MB\n`)
  }
  const growth = {
    target: name,
    rss_idle_mb: idle,
    rss_end_mb: points.at(-1)?.rssMb ?? Number.NaN,
    slope_mb_per_million: rounded(slope(points)),
    slope_second_half: rounded(slope(points.slice(STEPS / 2))),
    rss_mb: points.map(({ rssMb }) => rssMb),
  }
  return { growth, faults }
}

export interface SoakResult {
  readonly requests: number
  readonly growth: readonly Growth[]
  readonly faults: readonly string[]
}

export async function run(options: BenchOptions): Promise<SoakResult> {
  const { words, isQuick } = options
  const requests = numberOption(words, 'requests') ?? (isQuick ? REQUESTS_QUICK : REQUESTS)
  const named = (option(words, 'targets') ?? 'warmpath').split(',')
  const targets: TargetName[] = TARGET_NAMES.filter(name => named.includes(name))
  const stage = await openStage({
    isPinned: !flag(words, 'no-pin'),
    kvBatchesPerSecond: KV_BATCHES_PER_SECOND,
    targets,
  })
  try {
    const growth: Growth[] = []
    const faults: string[] = []
    for (const target of stage.targets) {
      const one = await soak(target, stage.loadCore, requests, flag(words, 'stream'))
      growth.push(one.growth)
      faults.push(...one.faults)
    }
    return { requests, growth, faults }
  } finally {
    await stage.close()
  }
}
