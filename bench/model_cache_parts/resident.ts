/**
 * Reads of a resident file: native tmpfs with huge pages, the accelerated path onto a store of the
 * same kind, and native a second time. Open and close stand beside a bare passthrough mirror,
 * which answers the kernel with nothing in between.
 *
 *     round 0: native, accelerated, null     round 1: null, accelerated, native     ...
 *
 * Both files were written just before, so their memory has been touched; the checksums of what
 * was read must be equal on every path.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { ROOT } from '../machine.ts'
import { median, pairedRatio, type Ratio, rounded, runRounds } from '../rounds.ts'
import {
  binary,
  ended,
  firstLine,
  MEBIBYTE,
  MODULES,
  type Reading,
  read,
  writeBlocks,
} from './site.ts'

export interface ResidentPlan {
  readonly rounds: number
  readonly sizeMib: number
  readonly isQuick: boolean
}

/** One way of reading, and its unit: how a time becomes a figure. */
interface Way {
  readonly name: string
  readonly words: readonly [way: string, threads: number, count: number]
  readonly unit: 'GB/s' | 'million reads/s' | 'µs'
}

function waysOf(isQuick: boolean): readonly Way[] {
  const passes = isQuick ? 1 : 3
  const reads = isQuick ? 1000 : 400_000
  const opens = isQuick ? 100 : 20_000
  return [
    { name: 'pread_1_thread', words: ['pread', 1, passes], unit: 'GB/s' },
    { name: 'pread_2_threads', words: ['pread', 2, passes], unit: 'GB/s' },
    { name: 'mmap_1_thread', words: ['mmap', 1, passes], unit: 'GB/s' },
    { name: 'mmap_2_threads', words: ['mmap', 2, passes], unit: 'GB/s' },
    { name: 'random_4k_2_threads', words: ['random', 2, reads], unit: 'million reads/s' },
    { name: 'open_close', words: ['open', 1, opens], unit: 'µs' },
  ]
}

function figureOf({ words: [, threads, count], unit }: Way, { seconds, size }: Reading): number {
  if (unit === 'GB/s') return (size * count) / seconds / 1e9
  if (unit === 'million reads/s') return (threads * count) / seconds / 1e6
  return (seconds / count) * 1e6
}

interface Figures {
  readonly unit: string
  readonly [contestant: string]: number | string | Ratio
}

/** Figures of one way over all rounds; ratios are to the first contestant. */
async function measure(
  way: Way,
  files: Readonly<Record<string, string>>,
  rounds: number,
): Promise<Figures> {
  const names = Object.keys(files)
  const sums = new Set<string>()
  const cells = await runRounds(names, rounds, name => {
    const [word, threads, count] = way.words
    const reading = read(word, files[name] ?? '', threads, count)
    sums.add(reading.sum)
    return Promise.resolve(figureOf(way, reading))
  })
  if (sums.size !== 1) throw new Error(`${way.name}: the paths read different bytes`)
  const [base = ''] = names
  const out: Record<string, number | string | Ratio> = {}
  for (const [name, values] of cells) {
    out[name] = rounded(median(values))
    if (name !== base) out[`${name}_to_${base}`] = pairedRatio(values, cells.get(base) ?? [])
  }
  return { ...out, unit: way.unit }
}

export async function benchResident(plan: ResidentPlan): Promise<Record<string, Figures>> {
  const root = mkdtempSync(path.join(os.tmpdir(), 'warmpath-resident-'))
  const [native = '', mount = '', mirror = ''] = ['native', 'mount', 'mirror'].map(name => {
    const folder = path.join(root, name)
    mkdirSync(folder)
    return folder
  })
  const children: ChildProcess[] = []
  const size = `size=${plan.sizeMib + 64}m`
  execFileSync('mount', ['-t', 'tmpfs', '-o', `huge=always,${size}`, 'none', native])
  try {
    writeBlocks(path.join(native, 'file'), plan.sizeMib)
    const daemon = path.join(ROOT, 'test/model-cache/small_daemon.mjs')
    const control = path.join(root, 'control/socket')
    const bytes = String((plan.sizeMib + 256) * MEBIBYTE)
    const words = ['--mount', mount, '--store-bytes', bytes, '--', process.execPath, daemon]
    const stdio = ['ignore', 'pipe', 'inherit'] as const
    const start = (name: string, args: readonly string[]): ChildProcess => {
      const child = spawn(binary(name), [...args], { stdio: [...stdio] })
      children.push(child)
      return child
    }
    const own = start('warmpath_supervisor', [...words, MODULES, native, control, 'preload'])
    await firstLine(own)
    const bare = start('passthrough_mirror', [path.join(native, 'file'), mirror])
    const hasMirror = (await firstLine(bare)) === 'ready'
    const paths = {
      native: path.join(native, 'file'),
      accelerated: path.join(mount, 'file'),
      null: path.join(native, 'file'),
    }
    const mirrored = path.join(mirror, 'file')
    const results: Record<string, Figures> = {}
    for (const way of waysOf(plan.isQuick)) {
      const files =
        way.unit === 'µs' && hasMirror
          ? {
              mirror: mirrored,
              accelerated: paths.accelerated,
              null: mirrored,
              native: paths.native,
            }
          : paths
      results[way.name] = await measure(way, files, plan.rounds)
    }
    return results
  } finally {
    for (const child of children) await ended(child)
    execFileSync('umount', ['-l', native])
    rmSync(root, { recursive: true })
  }
}
