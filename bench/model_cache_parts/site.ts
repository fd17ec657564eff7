/**
 * What a part of the bench stands on: folders, memory file systems, mounts of the built command
 * line, warm-ups and the throttled source. All of it goes with `close`.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import readline from 'node:readline'
import { ROOT } from '../machine.ts'

export const MEBIBYTE = 2 ** 20

/** Bytes of one write, and of one chunk of the cache. */
const BLOCK_MIB = 4

/** Bytes of a store beyond the files: what a mount's capacity is given beside them. */
const SLACK_MIB = 64

/** The product's compiled sources, file by file. */
export const MODULES = path.join(ROOT, 'dist-tools/src')
const CLI = path.join(ROOT, 'dist/cli.js')

/** An executable of the native build. */
export function binary(name: string): string {
  return path.join(ROOT, 'build/Release', name)
}

/** Seconds that work took. */
export function seconds(work: () => void): number {
  const started = process.hrtime.bigint()
  work()
  return Number(process.hrtime.bigint() - started) / 1e9
}

export function dd(...words: string[]): void {
  execFileSync('dd', [`bs=${BLOCK_MIB}M`, 'status=none', ...words])
}

/** A file whose chunks all differ, in memory that is touched by that. */
export function writeBlocks(file: string, sizeMib: number, seed = 0): void {
  const fd = openSync(file, 'w')
  const block = Buffer.alloc(BLOCK_MIB * MEBIBYTE)
  for (let i = 0; i < block.length; i += 4) block.writeUInt32LE(Math.imul(i, 2654435761) >>> 0, i)
  block.writeUInt32LE(seed, 4)
  for (let done = 0; done < sizeMib; done += BLOCK_MIB) {
    block.writeUInt32LE(done)
    writeSync(fd, block)
  }
  closeSync(fd)
}

/** What bench/model_reader says of one run. */
export interface Reading {
  readonly seconds: number
  readonly size: number
  readonly sum: string
}

// The shape is that of bench/model_reader/main.cc, built from this very tree.
function readingOf(text: string): Reading {
  const reading: Reading = JSON.parse(text)
  return reading
}

/** Reads a file, or all files of a folder, in one of the reader's ways. */
export function read(way: string, place: string, threads: number, count: number): Reading {
  const words = [way, place, String(threads), String(count)]
  return readingOf(execFileSync(binary('model_reader'), words, { encoding: 'utf8' }))
}

/** Reads every folder at the same time, each by a reader of its own. */
export function loadTogether(folders: readonly string[]): Promise<Reading[]> {
  const loads = folders.map(async folder => {
    const reader = spawn(binary('model_reader'), ['load', folder, '1', '1'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let text = ''
    reader.stdout.on('data', part => {
      text += String(part)
    })
    const [code] = await once(reader, 'close')
    if (code !== 0) throw new Error(`reading ${folder} failed`)
    return readingOf(text)
  })
  return Promise.all(loads)
}

/** A source of a known speed, and what was taken from it by all readers. */
export interface ThrottledSource {
  readonly path: string
  bytesRead(): Promise<number>
}

/** Waits for the first line of a child. */
export async function firstLine(child: ChildProcess): Promise<string> {
  if (child.stdout === null) throw new Error('the child has no output')
  for await (const line of readline.createInterface({ input: child.stdout })) return line
  throw new Error('a process of this bench ended before it was ready')
}

/** SIGTERM, and the end. */
export async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const end = once(child, 'exit')
  child.kill('SIGTERM')
  await end
}

export class Site {
  readonly root = mkdtempSync(path.join(os.tmpdir(), 'warmpath-bench-'))
  readonly #children: ChildProcess[] = []
  readonly #mounted: string[] = []
  /** A memory file system that is empty but for the time of a touch. */
  readonly spare: string
  readonly #touchedMib: number
  #mounts = 0

  /** `touchMib`: the most memory that a cell of this part will need. */
  constructor(touchMib: number) {
    this.#touchedMib = touchMib
    this.spare = this.tmpfs('spare', touchMib)
  }

  folder(name: string): string {
    const made = path.join(this.root, name)
    mkdirSync(made, { recursive: true })
    return made
  }

  /** A memory file system with huge pages, with room for so much and a little more. */
  tmpfs(name: string, sizeMib: number): string {
    const made = this.folder(name)
    const options = `huge=within_size,size=${sizeMib + SLACK_MIB}m`
    execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'none', made])
    this.#mounted.push(made)
    return made
  }

  /**
   * Writes so much memory and gives it back: pages that the host of a virtual machine is not
   * backing cost more than the copy that is measured.
   */
  touch(sizeMib = this.#touchedMib): void {
    const file = path.join(this.spare, 'file')
    dd('if=/dev/zero', `of=${file}`, `count=${Math.ceil(sizeMib / BLOCK_MIB)}`)
    rmSync(file)
  }

  start(command: string, words: readonly string[], hasInput = false): ChildProcess {
    const child = spawn(command, [...words], {
      env: { ...process.env, WARMPATH_RUN_DIR: path.join(this.root, 'run') },
      stdio: [hasInput ? 'pipe' : 'ignore', 'pipe', 'inherit'],
    })
    this.#children.push(child)
    return child
  }

  async #serve(words: readonly string[]): Promise<{ child: ChildProcess; line: string }> {
    const child = this.start(process.execPath, [CLI, ...words, '--log-level', 'error'])
    const line = await firstLine(child)
    if (!line.startsWith('ready')) throw new Error(`not ready, but: ${line}`)
    return { child, line }
  }

  /** An accelerated path with room for so much. */
  async mount(source: string, sizeMib: number, ...flags: string[]) {
    this.#mounts += 1
    const fast = this.folder(`fast-${this.#mounts}`)
    const capacity = `${sizeMib + SLACK_MIB}MiB`
    const words = ['mount', source, fast, '--capacity', capacity, ...flags]
    const { child } = await this.#serve(words)
    return { path: fast, stop: () => ended(child) }
  }

  /** A warm-up that has loaded the source; returns its address. */
  async warmup(source: string, sizeMib: number, port: number): Promise<string> {
    const address = `127.0.0.1:${port}`
    const capacity = `${sizeMib + SLACK_MIB}MiB`
    await this.#serve(['warmup', source, '--capacity', capacity, '--listen', address])
    return address
  }

  async throttled(folder: string, bytesPerSecond: number): Promise<ThrottledSource> {
    const shown = this.folder('throttled')
    const words = [folder, shown, String(Math.round(bytesPerSecond))]
    const child = this.start(binary('throttled_source'), words, true)
    const { stdin, stdout } = child
    if (stdin === null || stdout === null) throw new Error('the source takes no questions')
    const lines = readline.createInterface({ input: stdout })[Symbol.asyncIterator]()
    const ready = await lines.next()
    if (ready.value !== 'ready') throw new Error('the throttled source did not start')
    const bytesRead = async (): Promise<number> => {
      stdin.write('\n')
      // The shape is that of bench/throttled_source/main.cc, built from this very tree.
      const answer: { bytes: number } = JSON.parse(String((await lines.next()).value))
      return answer.bytes
    }
    return { path: shown, bytesRead }
  }

  /** `warmpath cache …`. */
  cache(...words: string[]): string {
    return execFileSync(process.execPath, [CLI, 'cache', ...words], {
      env: { ...process.env, WARMPATH_RUN_DIR: path.join(this.root, 'run') },
      encoding: 'utf8',
    })
  }

  /** What `warmpath cache status` says of one path. */
  status(fast: string): { address: string; tiers: Readonly<Record<string, number>> } {
    // The shape is that of src/model-cache/daemon.ts.
    const status: { caches: { address: string; bytes_by_tier: Record<string, number> }[] } =
      JSON.parse(this.cache('status', fast, '--json'))
    const [cache] = status.caches
    if (cache === undefined) throw new Error(`${fast} has no status`)
    return { address: cache.address, tiers: cache.bytes_by_tier }
  }

  async close(): Promise<void> {
    // Last started, first ended: a source must outlive whoever reads it.
    for (const child of this.#children.toReversed()) await ended(child)
    for (const folder of this.#mounted) execFileSync('umount', ['-l', folder])
    rmSync(this.root, { recursive: true, force: true })
  }
}
