/**
 * A source folder, an accelerated path and the built command line between them. Everything that is
 * started goes with `close`: processes, mounts, folders.
 */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { askControl, controlName } from '../../src/model-cache/control.ts'
import { mountFacts } from '../../src/model-cache/mount_point.ts'

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

/** Resolves when the condition holds; asked again and again, other work goes on between. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise(resolve => setImmediate(resolve))
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
    return { PATH: process.env.PATH ?? '', WARMPATH_RUN_DIR: path.join(this.folder, 'run') }
  }

  /** Starts a command and waits for the line that says ready. */
  start(...args: string[]): Promise<Started> {
    return this.startProgram(process.execPath, 'dist/cli.js', ...args)
  }

  /** The same of any program that becomes such a command. */
  startProgram(...words: readonly string[]): Promise<Started> {
    const env = this.#environment()
    const [file = '', ...args] = words
    const child = spawn(file, args, { env })
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
    return new Promise(resolve => {
      const env = this.#environment()
      execFile(process.execPath, ['dist/cli.js', ...args], { env }, (error, stdout, stderr) => {
        resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr })
      })
    })
  }

  /** What `warmpath cache status PATH --json` says; the shape is that of src/model-cache/daemon.ts. */
  async status(place = this.fast): Promise<Status> {
    const { stdout } = await this.run('cache', 'status', place, '--json')
    return JSON.parse(stdout) as Status
  }

  /** The same, asked of the daemon itself: for tests that ask again and again. */
  async asked(place = this.fast): Promise<Status> {
    const socket = path.join(this.folder, 'run', `${controlName(place)}.sock`)
    return (await askControl(socket, { verb: 'status' })) as Status
  }

  stop(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
    if (child.exitCode !== null || child.signalCode !== null) {
      return Promise.resolve(child.exitCode)
    }
    const ended = new Promise<number | null>(resolve => child.once('exit', resolve))
    child.kill(signal)
    return ended
  }

  async close(): Promise<void> {
    await Promise.all(this.#running.map(child => this.stop(child, 'SIGTERM')))
    for (const { path: place } of mountsBelow(this.folder)) execFileSync('umount', ['-l', place])
    rmSync(this.folder, { recursive: true, force: true })
  }
}

export interface Status {
  readonly daemon_pid: number
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
    readonly files: readonly { readonly path: string; readonly state: string }[]
  }[]
}

export function mountsBelow(folder: string) {
  return mountFacts(readFileSync('/proc/self/mountinfo', 'utf8')).filter(({ path: place }) =>
    place.startsWith(folder),
  )
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
  const child = spawn('python3', ['-c', script, file])
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
