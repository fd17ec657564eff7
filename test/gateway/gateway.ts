/** A gateway as users run it: `dist/cli.js serve` in a process of its own, on free ports. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { vi } from 'vitest'
import { packageRoot } from '../../src/native/package_root.ts'

export interface Gateway {
  /** Origin of the data port. */
  readonly url: string
  readonly admin: string
  readonly pid: number
  /** Everything written to stdout and stderr so far, by line. */
  readonly lines: string[]
  /** Log lines of finished exchanges, oldest first. */
  exchanges(): Record<string, unknown>[]
  signal(name: NodeJS.Signals): void
  /** SIGTERM, and the exit code. */
  stop(): Promise<number>
  readonly exited: Promise<number>
}

/** Looks again and again until there is something; the only way in which these tests wait. */
export function until<T>(
  look: () => T | Promise<T>,
  what: string,
  limitMs = 20_000,
): Promise<NonNullable<T>> {
  const find = async (): Promise<NonNullable<T>> => {
    const found = await look()
    if (!found) throw new Error(`waited ${limitMs} ms in vain for ${what}`)
    return found
  }
  return vi.waitFor(find, { timeout: limitMs, interval: 5 })
}

/** Text of a metrics page's value, by its name and labels as written; 0 when it is not there. */
export async function metric(gateway: Gateway, series: string): Promise<number> {
  const page = await (await fetch(`${gateway.admin}/metrics`)).text()
  const line = page.split('\n').find(one => one.startsWith(`${series} `))
  return line === undefined ? 0 : Number(line.slice(series.length + 1))
}

/** Leases of all nodes, as the metrics page shows them. */
export async function leases(gateway: Gateway): Promise<number> {
  const page = await (await fetch(`${gateway.admin}/metrics`)).text()
  const lines = page.split('\n').filter(line => line.startsWith('warmpath_node_in_flight{'))
  return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0)
}

export async function startGateway(
  nodes: readonly string[],
  args: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
): Promise<Gateway> {
  const cli = path.join(packageRoot(), 'dist/cli.js')
  const flags = nodes.flatMap(url => ['--node', url])
  const child = spawn(process.execPath, [cli, 'serve', '--port', '0', ...flags, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  })
  const lines: string[] = []
  const exited = once(child, 'exit').then(([code]) => (typeof code === 'number' ? code : -1))
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', line => lines.push(line))
  }
  const find = (form: RegExp) =>
    lines.map(line => form.exec(line)?.[1]).find(match => match !== undefined)
  let hasExited = false
  void exited.then(() => {
    hasExited = true
  })
  const url = await until(() => {
    return hasExited ? 'none' : find(/listening on (http:\/\/\S+)/)
  }, 'the gateway to listen')
  if (url === 'none') throw new Error(`the gateway did not start:\n${lines.join('\n')}`)
  const admin = await until(() => find(/admin on (http:\/\/[^)\s]+)/), 'the admin port')
  return {
    url,
    admin,
    pid: child.pid ?? 0,
    lines,
    exited,
    exchanges: () =>
      lines
        .filter(line => line.includes('"msg":"exchange"'))
        .map(line => JSON.parse(line) as Record<string, unknown>),
    signal: name => void child.kill(name),
    async stop() {
      child.kill('SIGTERM')
      return exited
    },
  }
}

/** Waits until `count` nodes are healthy. */
export async function healthy(gateway: Gateway, count: number): Promise<void> {
  await until(async () => {
    const reply = await fetch(`${gateway.admin}/admin/nodes`)
    const nodes = (await reply.json()) as { state: string }[]
    return nodes.filter(node => node.state === 'healthy').length >= count
  }, `${count} healthy nodes`)
}
