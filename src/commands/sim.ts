/**
 * `warmpath sim`: simulated vLLM nodes in one process, for a first run without an accelerator, for
 * tests and for benches. Prints one JSON line a node when it is ready; ends at SIGTERM or SIGINT.
 *
 *   {"id":"127.0.0.1:8201","url":"http://127.0.0.1:8201","kv_events":["tcp://…"],"kv_replay":[…]}
 *
 * Every option of `simNodeSchema` is a flag in kebab case; a port is that of the first node, the
 * others follow.
 */
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { type SimNodeOptions, simNodeSchema } from '../sim/config.ts'
import { type SimNode, startSimNode } from '../sim/sim_node.ts'

/** Nodes of one process at most: each has a listener and two sockets a rank. */
const NODES_MAX = 256

/** Flags whose name is shorter than, or differs from, the option's. */
const FLAG_NAMES: Readonly<Record<string, string>> = { adapters: 'adapter' }

function flagOf(option: string): string {
  return FLAG_NAMES[option] ?? option.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)
}

/** A flag's text as what the schema of its option takes. */
function valueOf(text: string): unknown {
  if (text === 'true' || text === 'false') return text === 'true'
  return /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text
}

const TEXT_OPTIONS = new Set([
  'host',
  'model',
  'tokenizer',
  'topic',
  'hashSeed',
  'apiKey',
  'version',
])

function readOptions(argv: readonly string[]): { nodes: number; options: SimNodeOptions } {
  const names = Object.keys(simNodeSchema.shape)
  const flags: Record<string, { type: 'string'; multiple: boolean }> = {
    nodes: { type: 'string', multiple: false },
  }
  for (const name of names) flags[flagOf(name)] = { type: 'string', multiple: name === 'adapters' }
  const { values } = parseArgs({ args: [...argv], options: flags, strict: true })
  const options: Record<string, unknown> = {}
  for (const name of names) {
    const value = values[flagOf(name)]
    if (typeof value === 'string') options[name] = TEXT_OPTIONS.has(name) ? value : valueOf(value)
    else if (value !== undefined) options[name] = value
  }
  const nodes = z.coerce
    .number()
    .int()
    .min(1)
    .max(NODES_MAX)
    .parse(values['nodes'] ?? '3')
  return { nodes, options: simNodeSchema.parse(options) }
}

async function startNodes(nodes: number, options: SimNodeOptions): Promise<SimNode[]> {
  const started: SimNode[] = []
  const { port = 0, kvPort = 0, kvReplayPort = 0, ranks = 1 } = options
  for (let at = 0; at < nodes; at++) {
    const node = await startSimNode({
      ...options,
      port: port === 0 ? 0 : port + at,
      kvPort: kvPort === 0 ? 0 : kvPort + at * ranks,
      kvReplayPort: kvReplayPort === 0 ? 0 : kvReplayPort + at * ranks,
      // Nobody asks a node of another process what it has seen.
      requestsKept: 0,
    })
    started.push(node)
    const { id, url, kvEvents, kvReplay } = node
    process.stdout.write(
      `${JSON.stringify({ id, url, kv_events: kvEvents, kv_replay: kvReplay })}\n`,
    )
  }
  return started
}

export async function run(argv: string[]): Promise<number> {
  let read: ReturnType<typeof readOptions>
  try {
    read = readOptions(argv)
  } catch (error) {
    const message = error instanceof z.ZodError ? z.prettifyError(error) : String(error)
    process.stderr.write(`warmpath sim: ${message}\n`)
    return 2
  }
  const nodes = await startNodes(read.nodes, read.options)
  await new Promise<void>(resolve => {
    process.once('SIGTERM', () => resolve())
    process.once('SIGINT', () => resolve())
  })
  await Promise.all(nodes.map(node => node.close()))
  return 0
}
