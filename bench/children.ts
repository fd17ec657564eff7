/**
 * Child processes of a bench: started on a chosen core, awaited until they answer, and ended by
 * their own id. A bench that throws must still end its children, so they are started through a
 * `Children` whose `stopAll` belongs into a `finally`.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { createServer } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'

/** A child that does not end after SIGTERM is killed. */
const STOP_MS_MAX = 10_000
/** A child that is not ready by then never will be; a crowded machine starts Node in 10 s. */
const START_MS_MAX = 60_000
const POLL_MS = 20

export interface ChildPlan {
  readonly command: string
  readonly args: readonly string[]
  /** Core to run on; null: wherever the kernel likes. */
  readonly core: number | null
  /** File that takes stdout; null: the first line of stdout is awaited and must be JSON. */
  readonly outputFile: string | null
  readonly env?: Readonly<Record<string, string>>
}

export interface Child {
  readonly pid: number
  /** First line of stdout when no output file was given, else an empty text. */
  readonly firstLine: string
}

const hasTaskset = spawnSync('taskset', ['--version']).status === 0

/** The words that start a command on one core. */
export function pinned(core: number | null, words: readonly string[]): [string, string[]] {
  const [command = '', ...args] =
    core === null || !hasTaskset ? words : ['taskset', '-c', String(core), ...words]
  return [command, args]
}

export class Children {
  readonly #running: ChildProcess[] = []

  async start(plan: ChildPlan): Promise<Child> {
    const [command, args] = pinned(plan.core, [plan.command, ...plan.args])
    const output = plan.outputFile === null ? null : openSync(plan.outputFile, 'a')
    const child = spawn(command, args, {
      stdio: ['ignore', output ?? 'pipe', 'inherit'],
      env: { ...process.env, ...plan.env },
    })
    if (output !== null) closeSync(output)
    this.#running.push(child)
    await Promise.race([once(child, 'spawn'), once(child, 'error').then(([error]) => fail(error))])
    const firstLine = output === null ? await readLine(child) : ''
    return { pid: child.pid ?? 0, firstLine }
  }

  /** Ends all, the last started first, and waits until they are gone. */
  async stopAll(): Promise<void> {
    for (const child of this.#running.splice(0).toReversed()) await stop(child)
  }
}

function fail(error: unknown): never {
  throw error instanceof Error ? error : new Error(String(error))
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS_MAX)
  await ended
  clearTimeout(timer)
}

async function readLine(child: ChildProcess): Promise<string> {
  let text = ''
  const line = new Promise<string>((resolve, reject) => {
    child.stdout?.on('data', part => {
      text += String(part)
      const end = text.indexOf('\n')
      if (end >= 0) resolve(text.slice(0, end))
    })
    child.once('exit', status => reject(new Error(`a child ended with status ${status}`)))
  })
  return await withLimit(line, 'a child printed no first line')
}

async function withLimit<T>(work: Promise<T>, what: string): Promise<T> {
  const limit = new AbortController()
  const late = delay(START_MS_MAX, null, { signal: limit.signal }).then(() => fail(what))
  try {
    return await Promise.race([work, late])
  } finally {
    limit.abort()
    late.catch(() => {})
  }
}

/** Waits until a GET of the address answers 200; returns the milliseconds that it took. */
export async function awaitAnswer(url: string): Promise<number> {
  const begin = performance.now()
  while (performance.now() - begin < START_MS_MAX) {
    try {
      const answer = await fetch(url)
      await answer.arrayBuffer()
      if (answer.status === 200) return performance.now() - begin
    } catch {
      // Not listening yet.
    }
    await delay(POLL_MS)
  }
  throw new Error(`${url} did not answer 200 within ${START_MS_MAX} ms`)
}

/**
 * Ports below those that Linux hands out by itself (from 32,768): one of these may be given to
 * another process' connection between being found free here and being listened on.
 */
const FIRST_PORT = 12_000
const LAST_PORT = 32_000

async function areFree(first: number, count: number): Promise<boolean> {
  const servers: ReturnType<typeof createServer>[] = []
  try {
    for (let i = 0; i < count; i++) {
      const server = createServer()
      servers.push(server)
      server.listen({ host: '127.0.0.1', port: first + i, exclusive: true })
      await once(server, 'listening')
    }
    return true
  } catch {
    return false
  } finally {
    for (const server of servers) server.close()
  }
}

/** First of `count` free ports in a row. */
export async function freePorts(count: number): Promise<number> {
  for (let tries = 0; tries < 20; tries++) {
    const first = randomInt(FIRST_PORT, LAST_PORT - count)
    if (await areFree(first, count)) return first
  }
  throw new Error(`found no ${count} free ports in a row`)
}
