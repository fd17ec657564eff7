/**
 * Hydration: how long an open of an absent file waits, per byte, beside a plain copy of the same
 * file between two tmpfs with huge pages.
 *
 *     copy      cp between the two                         null   the same again
 *     source    open on a mount whose source is the first tmpfs; every chunk hashed
 *     peer      open on a mount that takes it from the other one, over loopback; hashed twice
 *
 * Memory is touched before each cell by writing and removing as much of it as the cell will need:
 * pages that the host of a virtual machine is not backing cost more than the copy itself.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import readline from 'node:readline'
import { ROOT } from '../machine.ts'
import { median, pairedRatio, type Ratio, rounded, runRounds } from '../rounds.ts'

const MEBIBYTE = 2 ** 20
const isSource = path.extname(import.meta.filename) === '.ts'
const CLI = path.join(ROOT, isSource ? 'dist/cli.js' : 'dist-tools/src/cli.js')

export interface HydratePlan {
  readonly rounds: number
  readonly sizeMib: number
}

type Cell = number | string | Ratio

class Bench {
  readonly root = mkdtempSync(path.join(os.tmpdir(), 'warmpath-hydrate-'))
  readonly #children: ChildProcess[] = []
  readonly #mounted: string[] = []

  folder(name: string): string {
    const made = path.join(this.root, name)
    mkdirSync(made, { recursive: true })
    return made
  }

  tmpfs(name: string, sizeMib: number): string {
    const made = this.folder(name)
    const options = `huge=within_size,size=${sizeMib}m`
    execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'none', made])
    this.#mounted.push(made)
    return made
  }

  get #environment(): NodeJS.ProcessEnv {
    return { ...process.env, WARMPATH_RUN_DIR: path.join(this.root, 'run') }
  }

  async mount(source: string, name: string, sizeMib: number, ...flags: string[]): Promise<string> {
    const fast = this.folder(name)
    const words = ['mount', source, fast, '--capacity', `${sizeMib}MiB`, '--log-level', 'error']
    const stdio = ['ignore', 'pipe', 'inherit'] as const
    const child = spawn(process.execPath, [CLI, ...words, ...flags], {
      env: this.#environment,
      stdio: [...stdio],
    })
    this.#children.push(child)
    if (child.stdout === null) throw new Error('the mount has no output')
    for await (const line of readline.createInterface({ input: child.stdout })) {
      if (line.startsWith('ready')) return fast
    }
    throw new Error(`the mount of ${name} ended before it was ready`)
  }

  cache(...words: string[]): string {
    const args = [CLI, 'cache', ...words]
    return execFileSync(process.execPath, args, { env: this.#environment, encoding: 'utf8' })
  }

  async close(): Promise<void> {
    for (const child of this.#children) {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGTERM')
        await new Promise(resolve => child.once('exit', resolve))
      }
    }
    for (const folder of this.#mounted) execFileSync('umount', ['-l', folder])
    rmSync(this.root, { recursive: true, force: true })
  }
}

function seconds(work: () => void): number {
  const started = process.hrtime.bigint()
  work()
  return Number(process.hrtime.bigint() - started) / 1e9
}

function dd(...words: string[]): void {
  execFileSync('dd', ['bs=4M', 'status=none', ...words])
}

/** One byte of the file: the open waits until the whole of it is there. */
function open(file: string): void {
  execFileSync('head', ['-c1', file])
}

/** The address of a mount's listener. */
function addressOf(bench: Bench, fast: string): string {
  // The shape is that of src/model-cache/daemon.ts.
  const status: { caches: { address: string }[] } = JSON.parse(
    bench.cache('status', fast, '--json'),
  )
  return status.caches[0]?.address ?? ''
}

export async function benchHydrate(plan: HydratePlan): Promise<Record<string, Cell>> {
  const { sizeMib, rounds } = plan
  const bench = new Bench()
  try {
    const source = bench.tmpfs('source', sizeMib + 64)
    const target = bench.tmpfs('target', sizeMib + 64)
    const file = path.join(source, 'file')
    dd('if=/dev/urandom', `of=${file}`, `count=${sizeMib / 4}`)
    const first = await bench.mount(source, 'first', sizeMib + 64)
    const peer = addressOf(bench, first)
    const second = await bench.mount(source, 'second', sizeMib + 64, '--peers', peer)
    const touch = (): void => {
      dd('if=/dev/zero', `of=${path.join(target, 'file')}`, `count=${sizeMib / 4}`)
      rmSync(path.join(target, 'file'))
    }
    const copy = (): number => seconds(() => dd(`if=${file}`, `of=${path.join(target, 'file')}`))
    const cells: Record<string, () => number> = {
      copy,
      source: () => {
        // Neither mount has it: the first reads the source, since the second asks nobody for it.
        bench.cache('drop', second)
        bench.cache('drop', first)
        touch()
        return seconds(() => open(path.join(first, 'file')))
      },
      peer: () => {
        open(path.join(first, 'file'))
        bench.cache('drop', second)
        touch()
        return seconds(() => open(path.join(second, 'file')))
      },
      null: copy,
    }
    const results = await runRounds(Object.keys(cells), rounds, name => {
      touch()
      const rate = (sizeMib * MEBIBYTE) / (cells[name]?.() ?? Number.NaN) / 1e9
      rmSync(path.join(target, 'file'), { force: true })
      return Promise.resolve(rate)
    })
    const out: Record<string, Cell> = { unit: 'GB/s' }
    for (const [name, values] of results) {
      out[name] = rounded(median(values))
      if (name !== 'copy') out[`${name}_to_copy`] = pairedRatio(values, results.get('copy') ?? [])
    }
    return out
  } finally {
    await bench.close()
  }
}
