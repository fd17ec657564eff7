/** Runs the `load_client` executable (bench/load_client) and reads its one line of JSON. */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { z } from 'zod'
import { pinned } from './children.ts'
import { ROOT } from './machine.ts'

/** Longest run of one cell; a hanging gateway must not hang the bench. */
const RUN_MS_MAX = 600_000

const number = z.number()

const percentiles = z.object({
  count: number,
  p50: number,
  p90: number,
  p99: number,
  p999: number,
  max: number,
  mean: number,
})

const loadResult = z.object({
  url: z.string(),
  /** Replies that were not the right one, for whatever reason; the next members say why. */
  faults: number,
  first_fault: z.string(),
  errors: number,
  non_2xx: number,
  foreign: number,
  cut: number,
  differing: number,
  reconnects: number,
  requests: number,
  tokens: number,
  body_hash: z.string(),
  seconds: number,
  requests_per_s: number,
  tokens_per_s: number,
  /** Latencies heap up at 40 ms: Nagle's algorithm against a delayed acknowledgement. */
  stall_cluster: z.boolean(),
  latency_ms: percentiles,
  first_event_ms: percentiles,
  transit_ms: percentiles,
})

const closedLoopResult = loadResult.extend({ client_cpu_ms: number })

const pairedResult = loadResult.extend({
  added_p50_ms: number,
  added_p50_low_ms: number,
  added_p50_high_ms: number,
  added_p99_ms: number,
})

export type LoadResult = z.infer<typeof closedLoopResult>
export type PairedResult = z.infer<typeof pairedResult>

/** Path of a bench executable; says how to build it when it is not there. */
export function executable(name: string): string {
  const file = path.join(ROOT, 'build/Release', name)
  if (existsSync(file)) return file
  throw new Error(`build/Release/${name} is missing (Linux only): npm run build:native`)
}

async function run(core: number | null, args: readonly string[]): Promise<unknown> {
  const [command, words] = pinned(core, [executable('load_client'), ...args])
  const { stdout } = await promisify(execFile)(command, words, {
    timeout: RUN_MS_MAX,
    maxBuffer: 1 << 20,
  })
  return JSON.parse(stdout)
}

export async function runLoad(
  url: string,
  core: number | null,
  args: readonly string[],
): Promise<LoadResult> {
  return closedLoopResult.parse(await run(core, ['--url', url, ...args]))
}

/** One request at a time to each URL in random order; differences are to the first URL. */
export async function runInterleaved(
  urls: readonly string[],
  core: number | null,
  args: readonly string[],
): Promise<readonly PairedResult[]> {
  const words = urls.flatMap(url => ['--url', url])
  return z.object({ targets: z.array(pairedResult) }).parse(await run(core, [...words, ...args]))
    .targets
}
