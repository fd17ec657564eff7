/** The gateway under test: `dist/cli.js serve` in a process of its own, on free ports. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { packageRoot } from '../../src/native/package_root.ts'
import type { ExchangeLine } from '../../src/observe/exchange_log.ts'
import { until } from './until.ts'
import { get, json, sumOf } from './wire.ts'

interface NodeReport {
  readonly id: string
  readonly state: string
  readonly epoch: number
  readonly models: readonly string[]
  readonly blockSize: number
  readonly kvEvents: string
}

export interface GatewaySetup {
  readonly nodes: readonly string[]
  readonly threads: number
  readonly model: string
  readonly tokenizer: string
  readonly policy?: string
}

export class Gateway {
  readonly url: string
  readonly admin: string
  readonly #lines: string[]
  readonly #exchanges: Map<string, ExchangeLine>
  readonly #stop: () => Promise<number>

  private constructor(
    url: string,
    admin: string,
    lines: string[],
    exchanges: Map<string, ExchangeLine>,
    stop: () => Promise<number>,
  ) {
    this.url = url
    this.admin = admin
    this.#lines = lines
    this.#exchanges = exchanges
    this.#stop = stop
  }

  /** Starts one and waits until every node is healthy. */
  static async start(setup: GatewaySetup): Promise<Gateway> {
    const { nodes, threads, model, tokenizer, policy = 'prefix' } = setup
    const cli = path.join(packageRoot(), 'dist/cli.js')
    const place = ['--host', '127.0.0.1', '--port', '0', '--threads', String(threads)]
    const given = [...place, '--model', `${model}=${tokenizer}`, '--policy', policy]
    const child = spawn(
      process.execPath,
      [cli, 'serve', ...given, ...nodes.flatMap(url => ['--node', url])],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    )
    // Whatever ends the suite, no gateway is left behind.
    process.once('exit', () => child.kill())
    const lines: string[] = []
    const exchanges = new Map<string, ExchangeLine>()
    const exited = once(child, 'exit').then(([code]) => (typeof code === 'number' ? code : -1))
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on('line', line => {
        lines.push(line)
        if (!line.includes('"msg":"exchange"')) return
        // Decode boundary: our own log line.
        const exchange = JSON.parse(line) as ExchangeLine
        exchanges.set(exchange.client_id ?? exchange.id, exchange)
      })
    }
    const find = (form: RegExp): string | null =>
      lines.map(line => form.exec(line)?.[1]).find(match => match !== undefined) ?? null
    const failed = (): void => {
      if (child.exitCode !== null) throw new Error(`it did not start:\n${lines.join('\n')}`)
    }
    const url = await until(() => {
      failed()
      return find(/listening on (http:\/\/\S+)/)
    }, 'the gateway to listen')
    const admin = await until(() => find(/admin on (http:\/\/[^)\s]+)/), 'the admin port')
    const gateway = new Gateway(url, admin, lines, exchanges, async () => {
      child.kill('SIGTERM')
      return exited
    })
    await gateway.allNodes(node => node.state === 'healthy', 'healthy nodes')
    return gateway
  }

  /** Waits until something is true of every node. */
  async allNodes(isSo: (node: NodeReport) => boolean, what: string): Promise<void> {
    await until(async () => ((await this.nodes()).every(isSo) ? true : null), what)
  }

  /** Lines of the log that are not of an exchange. */
  otherLines(): string[] {
    return this.#lines.filter(line => !line.includes('"msg":"exchange"'))
  }

  /** The log line of the exchange that a client asked for under this `x-request-id`. */
  exchange(clientId: string): Promise<ExchangeLine> {
    return until(() => this.#exchanges.get(clientId) ?? null, `the log line of ${clientId}`)
  }

  async nodes(): Promise<readonly NodeReport[]> {
    // Decode boundary: the gateway's own list.
    return json(await get(this.admin, '/admin/nodes')) as NodeReport[]
  }

  async node(id: string): Promise<NodeReport> {
    const node = (await this.nodes()).find(one => one.id === id)
    if (node === undefined) throw new Error(`the gateway knows no node ${id}`)
    return node
  }

  async metric(name: string, ...labels: string[]): Promise<number> {
    return sumOf((await get(this.admin, '/metrics')).text, name, labels)
  }

  /** Leases of all nodes: requests, queued prefill tokens and decode blocks. */
  async leases(): Promise<number> {
    const page = (await get(this.admin, '/metrics')).text
    const names = ['in_flight', 'queued_prefill_tokens', 'decode_blocks']
    return names.reduce((sum, name) => sum + Math.abs(sumOf(page, `warmpath_node_${name}`)), 0)
  }

  /** Blocks that the index holds for all nodes. */
  heldBlocks(): Promise<number> {
    return this.metric('warmpath_index_held_blocks')
  }

  /** SIGTERM, and the exit code. */
  stop(): Promise<number> {
    return this.#stop()
  }
}
