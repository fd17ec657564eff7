/**
 * A source folder served by a supervisor and the small daemon of these tests, on a real mount.
 * Everything it makes goes with `stop`: processes, mount, folders. Nothing here blocks on the
 * mount while the daemon could need this process: the daemon is one of its own.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import readline from 'node:readline'
import { expect } from 'vitest'
import { packageRoot } from '../../src/native/package_root.ts'
import { end, endAll, tracked } from './children.ts'

export const SUPERVISOR = path.join(packageRoot(), 'build/Release/warmpath_supervisor')
const DAEMON = path.join(packageRoot(), 'test/model-cache/small_daemon.mjs')
const STORE_BYTES = 512 * 2 ** 20

export interface Folders {
  readonly root: string
  readonly source: string
  readonly mount: string
  readonly socket: string
  remove(): void
}

export function makeFolders(): Folders {
  const root = mkdtempSync(path.join(os.tmpdir(), 'warmpath-mount-'))
  const [source = '', mount = ''] = ['source', 'mount'].map(name => path.join(root, name))
  for (const folder of [source, mount]) mkdirSync(folder)
  const remove = (): void => rmSync(root, { recursive: true, force: true })
  return { root, source, mount, socket: path.join(root, 'control/socket'), remove }
}

/** Lines of mountinfo that name this path. */
export function mountsAt(folder: string): string[] {
  const lines = readFileSync('/proc/self/mountinfo', 'utf8').split('\n')
  return lines.filter(line => line.split(' ')[4] === folder)
}

/**
 * Ends everything of a test, also of one that failed; then the test fails when it did not end as
 * it should.
 */
export async function tidyUp(folders: Folders, served: Served | null): Promise<void> {
  try {
    if (served !== null) expect(await served.stop()).toBe(0)
    expect(mountsAt(folders.mount)).toEqual([])
  } finally {
    await endAll(folders.root)
    folders.remove()
  }
}

export class Served {
  readonly folders: Folders
  readonly supervisor: ChildProcess
  /** Everything that supervisor and daemon wrote. */
  output = ''
  readonly #lines: string[] = []
  #arrived: () => void = () => undefined
  #socket: net.Socket | null = null

  private constructor(folders: Folders, supervisor: ChildProcess) {
    this.folders = folders
    this.supervisor = supervisor
    for (const stream of [supervisor.stdout, supervisor.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        this.output += chunk.toString()
        this.#arrived()
      })
    }
    supervisor.on('exit', () => this.#arrived())
  }

  static async start(
    folders: Folders,
    words: readonly string[] = [],
    wrapper: readonly string[] = [],
  ): Promise<Served> {
    const { mount, source, socket } = folders
    const daemon = [
      process.execPath,
      DAEMON,
      path.join(packageRoot(), 'dist-tools/src'),
      source,
      socket,
    ]
    const own = [SUPERVISOR, '--mount', mount, '--store-bytes', String(STORE_BYTES), '--']
    const [file = '', ...rest] = [...wrapper, ...own, ...daemon, ...words]
    const child = tracked(spawn(file, rest, { stdio: ['ignore', 'pipe', 'pipe'] }))
    const served = new Served(folders, child)
    await served.readyLine(0)
    return served
  }

  /** Waits until the daemon of this life says that it serves. */
  async readyLine(restarts: number): Promise<void> {
    while (!this.output.includes(`ready ${restarts}\n`)) {
      if (this.supervisor.exitCode !== null) throw new Error(`it ended: ${this.output}`)
      await new Promise<void>(resolve => {
        this.#arrived = resolve
      })
    }
    this.#socket?.destroy()
    this.#socket = null
  }

  /** One line of the daemon's control socket. */
  async ask(line: string): Promise<string> {
    if (this.#socket === null) {
      this.#socket = net.connect(this.folders.socket)
      this.#socket.on('error', () => undefined)
      const lines = readline.createInterface({ input: this.#socket })
      lines.on('line', text => {
        this.#lines.push(text)
        this.#arrived()
      })
    }
    this.#socket.write(`${line}\n`)
    while (this.#lines.length === 0) {
      await new Promise<void>(resolve => {
        this.#arrived = resolve
      })
    }
    return this.#lines.shift() ?? ''
  }

  async askJson(line: string): Promise<Record<string, number | string | boolean>> {
    return JSON.parse(await this.ask(line)) as Record<string, number | string | boolean>
  }

  async daemonPid(): Promise<number> {
    return Number((await this.askJson('facts')).pid)
  }

  /** Kills the daemon and waits for its next life. */
  async killDaemon(restarts: number): Promise<void> {
    process.kill(await this.daemonPid(), 'SIGKILL')
    await this.readyLine(restarts)
  }

  /** SIGTERM; returns the exit status. */
  async stop(): Promise<number | string | null> {
    this.#socket?.destroy()
    return end(this.supervisor, 'SIGTERM')
  }
}
