/**
 * Facts about the machine that stand beside every figure, and whether it was quiet.
 *
 * A load above 0.2 or more than 1 % of stolen time before the start marks a run as noisy. The
 * load average looks back a minute, so the run's own build (`npm run bench` compiles first) can
 * be what it sees: read `noisy` as "do not quote without a second run".
 */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'

const LOAD_MAX = 0.2
const STEAL_SHARE_MAX = 0.01
/** Long enough for 50 ticks of the kernel's clock on every core. */
const SAMPLE_MS = 500

export interface Machine {
  readonly noisy: boolean
  readonly load: number
  readonly steal_share: number
  readonly cpu: string
  readonly cores: number
  readonly kernel: string
  readonly node: string
  readonly commit: string
  readonly at: string
  readonly command: string
}

interface Ticks {
  readonly total: number
  readonly stolen: number
}

/** `cpu  user nice system idle iowait irq softirq steal …` of /proc/stat; zero elsewhere. */
function readTicks(): Ticks {
  try {
    const [line = ''] = readFileSync('/proc/stat', 'utf8').split('\n')
    const ticks = line.trim().split(/\s+/).slice(1, 9).map(Number)
    return { total: ticks.reduce((sum, tick) => sum + tick, 0), stolen: ticks[7] ?? 0 }
  } catch {
    return { total: 0, stolen: 0 }
  }
}

/** Root of the repository, from the sources and from dist-tools/ alike. */
export const ROOT = path.resolve(
  import.meta.dirname,
  path.extname(import.meta.filename) === '.ts' ? '..' : '../..',
)

function git(...words: string[]): string {
  try {
    return execFileSync('git', words, { cwd: ROOT, encoding: 'utf8', stdio: 'pipe' }).trim()
  } catch {
    return ''
  }
}

function readCommit(): string {
  const commit = git('rev-parse', '--short', 'HEAD')
  if (commit === '') return 'unknown'
  return git('status', '--porcelain', '-uno') === '' ? commit : `${commit}+changes`
}

export async function readMachine(command: string): Promise<Machine> {
  const before = readTicks()
  await delay(SAMPLE_MS)
  const after = readTicks()
  const total = after.total - before.total
  const steal = total > 0 ? (after.stolen - before.stolen) / total : 0
  const load = os.loadavg()[0] ?? 0
  return {
    noisy: load > LOAD_MAX || steal > STEAL_SHARE_MAX,
    load: Number(load.toFixed(2)),
    steal_share: Number(steal.toFixed(4)),
    cpu: os.cpus()[0]?.model ?? 'unknown',
    cores: os.cpus().length,
    kernel: os.release(),
    node: process.version,
    commit: readCommit(),
    at: new Date().toISOString(),
    command,
  }
}
