/**
 * A source folder, an accelerated path and the built command line between them. Everything that is
 * started goes with `close`: processes, mounts, folders.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { vi } from 'vitest'
import { askControl, controlName } from '../../src/model-cache/control.ts'
import { end, endAll, tracked } from './children.ts'

export interface Run {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

export interface Started {
  readonly child: ChildProcess
  /** The line that said ready. */
  readonly line: string
  /** What was written to stderr so far. */
  readonly errors: () => string
}

/** Milliseconds between two looks, as what is waited for needs the processor too; and in all. */
const LOOK = { interval: 5, timeout: 100_000 }

/** Resolves when the condition holds; asked again and again, other work goes on between. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  await vi.waitUntil(condition, LOOK)
}

export class Workplace {
  readonly folder = mkdtempSync(path.join(os.tmpdir(), 'warmpath-cache-'))
  readonly source = path.join(this.folder, 'source')
  readonly fast = path.join(this.folder, 'fast')
  readonly #running: ChildProcess[] = []

  constructor() {
    mkdirSync(this.source)
    mkdirSync(this.fast)
  }

  /** Another empty folder. */
  make(name: string): string {
    const made = path.join(this.folder, name)
    mkdirSync(made)
    return made
  }

  write(name: string, bytes: Buffer | string): void {
    const file = path.join(this.source, name)
    mkdirSync(path.dirname(file), { recursive: true })
    writeFileSync(file, bytes)
  }

  #environment(): NodeJS.ProcessEnv {
    const { PATH = '', WARMPATH_TEST_RUN } = process.env
    return { PATH, WARMPATH_TEST_RUN, WARMPATH_RUN_DIR: path.join(this.folder, 'run') }
  }

  /** Starts a command and waits for the line that says ready. */
  start(...args: string[]): Promise<Started> {
    return this.startProgram(process.execPath, 'dist/cli.js', ...args)
  }

  /** As `start`, by a program in front of it that changes its surroundings. */
  startAs(wrapper: readonly string[], ...args: string[]): Promise<Started> {
    return this.startProgram(...wrapper, process.execPath, 'dist/cli.js', ...args)
  }

  /** The same of any program that becomes such a command. */
  startProgram(...words: readonly string[]): Promise<Started> {
    const env = this.#environment()
    const [file = '', ...args] = words
    const child = tracked(spawn(file, args, { env }))
    this.#running.push(child)
    return new Promise((resolve, reject) => {
      let out = ''
      let errors = ''
      child.stderr.on('data', part => {
        errors += String(part)
      })
      child.stdout.on('data', part => {
        out += String(part)
        if (out.includes('\n')) resolve({ child, line: out.trim(), errors: () => errors })
      })
      child.once('exit', code => reject(new Error(`exit ${code}: ${errors}`)))
    })
  }

  /** Runs a command to its end. */
  run(...args: string[]): Promise<Run> {
    return this.runAs([], ...args)
  }

  runAs(wrapper: readonly string[], ...args: string[]): Promise<Run> {
    const [file = '', ...words] = [...wrapper, process.execPath, 'dist/cli.js', ...args]
    return new Promise(resolve => {
      const env = this.#environment()
      execFile(file, words, { env }, (error, stdout, stderr) => {
        resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr })
      })
    })
  }

  /** Asks the daemon of an accelerated path, as `warmpath cache` does. */
  ask(question: object, place = this.fast): Promise<unknown> {
    return askControl(path.join(this.folder, 'run', `${controlName(place)}.sock`), question)
  }

  /** What `warmpath cache status` shows, asked of the daemon itself (src/model-cache/daemon.ts). */
  async asked(place = this.fast): Promise<Status> {
    return (await this.ask({ verb: 'status' }, place)) as Status
  }

  /** How many files were dropped from memory, and how many are in use. */
  async drop(name: string): Promise<Dropped> {
    const question = { verb: 'drop', path: this.fast, target: name }
    return (await this.ask(question)) as Dropped
  }

  /** A program that reads; killed at the end when it still runs. */
  reader(file: string, ...args: string[]) {
    return tracked(spawn(file, args))
  }

  stop(child: ChildProcess, signal: NodeJS.Signals): Promise<number | string | null> {
    return end(child, signal)
  }

  /** Ends what was started here, as an operator would. */
  async end(): Promise<void> {
    await Promise.all(this.#running.map(child => this.stop(child, 'SIGTERM')))
  }

  async close(): Promise<void> {
    await this.end()
    await endAll(this.folder)
    rmSync(this.folder, { recursive: true, force: true })
  }
}

export interface Dropped {
  readonly dropped: number
  readonly busy: number
  readonly absent: number
}

export interface Status {
  readonly daemon_pid: number
  readonly kind: string
  readonly supervisor_pid: number | null
  readonly restarts: number
  readonly caches: readonly {
    readonly mode: string
    readonly mode_reason: string
    readonly ready: boolean
    readonly address: string
    readonly used_bytes: number
    readonly capacity_bytes: number
    readonly bytes_by_tier: Readonly<Record<string, number>>
    readonly peers: readonly { readonly state: string; readonly is_warmup: boolean }[]
    readonly files: readonly {
      readonly path: string
      readonly state: string
      readonly error: string | null
    }[]
  }[]
}

/** The output of a program, or what it wrote to stderr when it failed. */
export function program(file: string, ...args: string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(file, args, { maxBuffer: 64 * 2 ** 20 }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout)
      else reject(new Error(`${file} ${args.join(' ')}: ${stderr || error.message}`))
    })
  })
}

/** A process that maps a file; it gives its digest when it is asked, and ends. */
export async function mapped(file: string): Promise<() => Promise<string>> {
  const script =
    'import mmap,sys,hashlib\n' +
    'f=open(sys.argv[1],"rb"); m=mmap.mmap(f.fileno(),0,prot=mmap.PROT_READ); f.close()\n' +
    'print("mapped",flush=True); sys.stdin.readline()\n' +
    'print(hashlib.sha256(m).hexdigest(),flush=True)'
  const child = tracked(spawn('python3', ['-c', script, file]))
  let out = ''
  child.stdout.on('data', part => {
    out += String(part)
  })
  await until(() => out.includes('mapped\n'))
  return async () => {
    child.stdin.end('\n')
    await new Promise(resolve => child.once('close', resolve))
    return out.split('\n')[1] ?? ''
  }
}
