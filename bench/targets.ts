/**
 * What the relay bench compares, each started in front of the same two mock nodes:
 *
 *     direct               the first mock node itself: the ceiling of what can be seen
 *     baseline             bench/baseline, one write a token
 *     baseline_null        a second process of the same: what differs between equals is noise
 *     baseline_coalesced   bench/baseline --coalesce, one write a read
 *     baseline_logged      the same with --log: what the response log costs by itself
 *     haproxy              where it is installed: the floor
 *     warmpath             dist/cli.js serve, one thread, KV events on, log lines to a file
 *
 * With pinning (two cores or more) every gateway has core 0 for itself, mock nodes and load share
 * the last core.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { z } from 'zod'
import { awaitAnswer, Children, freePorts } from './children.ts'
import { KvPublisher } from './kv_publisher.ts'
import { executable } from './load_client.ts'
import { ROOT } from './machine.ts'

export const TEXT_MODEL = 'mock-text'
export const TOKEN_MODEL = 'mock-toy'
export const TARGET_NAMES = [
  'direct',
  'baseline',
  'baseline_null',
  'baseline_coalesced',
  'baseline_logged',
  'haproxy',
  'warmpath',
] as const
export type TargetName = (typeof TARGET_NAMES)[number]

const NODES = 2

const BASELINE_FLAGS: Partial<Record<TargetName, readonly string[]>> = {
  baseline_coalesced: ['--coalesce'],
  baseline_logged: ['--coalesce', '--log'],
}

export interface Target {
  readonly name: TargetName
  readonly url: string
  /** null: nothing stands between client and node. */
  readonly pid: number | null
  readonly startMs: number
}

export interface Plan {
  readonly isPinned: boolean
  /** KV-event batches a second that each mock node publishes. */
  readonly kvBatchesPerSecond: number
  readonly targets: readonly TargetName[]
}

export interface Stage {
  readonly targets: readonly Target[]
  readonly loadCore: number | null
  close(): Promise<void>
}

const CLI = path.join(ROOT, 'dist/cli.js')

/** Why a target cannot be measured here, or null. */
export function missing(name: TargetName): string | null {
  if (name === 'haproxy' && spawnSync('haproxy', ['-v']).status !== 0) return 'not installed'
  if (name === 'warmpath' && !existsSync(CLI)) return 'dist/ is not built'
  return null
}

function haproxyConfig(port: number, nodes: readonly string[]): string {
  const servers = nodes.map((url, i) => `  server node${i} ${new URL(url).host}`)
  return `global
  nbthread 1
  maxconn 8192
defaults
  mode http
  timeout connect 5s
  timeout client 300s
  timeout server 300s
  timeout http-keep-alive 60s
  option http-no-delay
  http-reuse always
  retries 0
frontend clients
  bind 127.0.0.1:${port}
  default_backend nodes
backend nodes
  balance roundrobin
${servers.join('\n')}
`
}

/** JSON is YAML: one file says which nodes there are and which model has a tokenizer. */
function warmpathConfig(port: number, nodes: readonly string[]): string {
  return JSON.stringify({
    listen: `127.0.0.1:${port}`,
    admin: `127.0.0.1:${port + 1}`,
    threads: 1,
    nodes: nodes.map(url => ({ url })),
    models: [{ name: TEXT_MODEL }, { name: TOKEN_MODEL, tokenizer: 'toy' }],
  })
}

class Starter {
  readonly #children: Children
  readonly #folder: string
  readonly #core: number | null
  readonly #nodes: readonly string[]

  constructor(children: Children, folder: string, core: number | null, nodes: readonly string[]) {
    this.#children = children
    this.#folder = folder
    this.#core = core
    this.#nodes = nodes
  }

  async start(name: TargetName): Promise<Target> {
    if (name === 'direct') return { name, url: this.#nodes[0] ?? '', pid: null, startMs: 0 }
    const port = await freePorts(2)
    const begin = performance.now()
    const child = await this.#children.start({
      command: name === 'haproxy' ? 'haproxy' : process.execPath,
      args: this.#words(name, port),
      core: this.#core,
      outputFile: path.join(this.#folder, `${name}.log`),
      // Traces of unhandled promises and the like must not be cut.
      env: { NODE_OPTIONS: '' },
    })
    const url = `http://127.0.0.1:${port}`
    await awaitAnswer(`${url}/health`)
    const startMs = performance.now() - begin
    if (name === 'warmpath') await awaitAnswer(`${url}/ready`)
    return { name, url, pid: child.pid, startMs: Math.round(startMs) }
  }

  #words(name: TargetName, port: number): string[] {
    if (name === 'haproxy' || name === 'warmpath') {
      const isWarmpath = name === 'warmpath'
      const file = path.join(this.#folder, isWarmpath ? 'warmpath.yaml' : 'haproxy.cfg')
      const text = (isWarmpath ? warmpathConfig : haproxyConfig)(port, this.#nodes)
      writeFileSync(file, text)
      return isWarmpath ? [CLI, 'serve', '--config', file] : ['-db', '-f', file]
    }
    const relay = path.join(ROOT, 'dist-tools/bench/baseline/relay.js')
    const nodes = this.#nodes.flatMap(url => ['--node', url])
    return [relay, '--port', String(port), ...nodes, ...(BASELINE_FLAGS[name] ?? [])]
  }
}

async function startNodes(
  children: Children,
  publishers: readonly KvPublisher[],
  core: number | null,
): Promise<string[]> {
  const urls: string[] = []
  for (const publisher of publishers) {
    const models = ['--model', TEXT_MODEL, '--model', TOKEN_MODEL]
    const events = ['--kv-events', publisher.events, '--kv-replay', publisher.replay]
    const args = [...models, ...events]
    const plan = { command: executable('mock_node'), args, core, outputFile: null }
    const { firstLine } = await children.start(plan)
    urls.push(z.object({ url: z.string() }).parse(JSON.parse(firstLine)).url)
  }
  return urls
}

/** Starts nodes and targets; whatever fails, nothing is left running. */
export async function openStage(plan: Plan): Promise<Stage> {
  const cores = os.cpus().length
  const isPinned = plan.isPinned && cores >= 2
  const loadCore = isPinned ? cores - 1 : null
  const children = new Children()
  const publishers: KvPublisher[] = []
  const folder = mkdtempSync(path.join(os.tmpdir(), 'warmpath-bench-'))
  const close = async (): Promise<void> => {
    await children.stopAll()
    for (const publisher of publishers) await publisher.close()
    rmSync(folder, { recursive: true, force: true })
  }
  try {
    for (let i = 0; i < NODES; i++) {
      publishers.push(await KvPublisher.open(plan.kvBatchesPerSecond))
    }
    const nodes = await startNodes(children, publishers, loadCore)
    const starter = new Starter(children, folder, isPinned ? 0 : null, nodes)
    const targets: Target[] = []
    for (const name of plan.targets) targets.push(await starter.start(name))
    return { targets, loadCore, close }
  } catch (error) {
    await close()
    throw error
  }
}
