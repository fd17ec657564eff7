/**
 * A real engine, spoken to directly: to compare with, to read its own counters, to empty its
 * cache and to kill it.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { check } from './report.ts'
import { get, json, post, sumOf } from './wire.ts'

interface ModelItem {
  readonly id: string
  readonly root?: string
  readonly parent?: string | null
}

export class Engine {
  readonly url: string
  /** `host:port`, which is the gateway's name for it too. */
  readonly id: string
  readonly port: number

  constructor(url: string) {
    const parsed = new URL(url)
    this.url = parsed.origin
    this.id = parsed.host
    this.port = Number(parsed.port)
  }

  async isUp(): Promise<boolean> {
    const reply = await get(this.url, '/health').catch(() => null)
    return reply?.status === 200
  }

  async models(): Promise<readonly ModelItem[]> {
    // Decode boundary: vLLM's list of models.
    return (json(await get(this.url, '/v1/models')) as { data: ModelItem[] }).data
  }

  async metric(name: string, ...labels: string[]): Promise<number> {
    return sumOf((await get(this.url, '/metrics')).text, name, labels)
  }

  async blockSize(): Promise<number> {
    const page = (await get(this.url, '/metrics')).text
    return Number(/cache_config_info\{.*?\bblock_size="(\d+)"/.exec(page)?.[1] ?? 0)
  }

  /** Empties the prefix cache; the engine announces it with its next stored block. */
  async reset(): Promise<void> {
    const reply = await post(this.url, '/reset_prefix_cache', '')
    check(reply.status === 200, `reset_prefix_cache of ${this.id}: ${reply.status} ${reply.text}`)
  }

  /** Token ids as the engine makes them. */
  async tokens(body: unknown): Promise<number[]> {
    const reply = await post(this.url, '/tokenize', body)
    check(reply.status === 200, `/tokenize of ${this.id}: ${reply.status} ${reply.text}`)
    // Decode boundary: a 200 of /tokenize.
    return (json(reply) as { tokens: number[] }).tokens
  }

  /** SIGKILL to the process that listens on the port and to all that descend from it. */
  kill(): readonly number[] {
    const pids = familyOf(listenerOf(this.port))
    for (const pid of pids) {
      try {
        process.kill(pid, 'SIGKILL')
      } catch {
        // A child that died with its parent a moment ago is what was wanted.
      }
    }
    return pids
  }
}

/** Pid of the process that listens on a port of this machine (Linux). */
function listenerOf(port: number): number {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  const sockets = ['/proc/net/tcp', '/proc/net/tcp6'].flatMap(file =>
    readFileSync(file, 'utf8')
      .split('\n')
      .map(line => line.trim().split(/\s+/))
      .filter(([, local, , state]) => (local ?? '').endsWith(wanted) && state === '0A')
      .map(fields => `socket:[${fields[9]}]`),
  )
  for (const pid of pidsOfAll()) {
    if (linksOf(pid).some(link => sockets.includes(link))) return pid
  }
  throw new Error(`nobody on this machine listens on port ${port}`)
}

function pidsOfAll(): number[] {
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .map(Number)
}

function linksOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).flatMap(fd => {
      try {
        return [readlinkSync(`/proc/${pid}/fd/${fd}`)]
      } catch {
        return []
      }
    })
  } catch {
    // Another user's process, or one that has just ended.
    return []
  }
}

/** The process and its descendants, children first. */
function familyOf(root: number): number[] {
  const children = new Map<number, number[]>()
  for (const pid of pidsOfAll()) {
    const parent = parentOf(pid)
    if (parent !== null) children.set(parent, [...(children.get(parent) ?? []), pid])
  }
  const descend = (pid: number): number[] => [...(children.get(pid) ?? []).flatMap(descend), pid]
  return descend(root)
}

function parentOf(pid: number): number | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
  } catch {
    return null
  }
}
