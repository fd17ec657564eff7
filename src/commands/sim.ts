/**
 * `warmpath sim`: simulated vLLM nodes in one process, for a first run without an accelerator, for
 * tests and for benches. Prints one JSON line a node when it is ready; ends at SIGTERM or SIGINT.
 *
 *   {"id":"127.0.0.1:8201","url":"http://127.0.0.1:8201","kv_events":["tcp://…"],"kv_replay":[…]}
 *
 * Every option of `simNodeSchema` is a flag in kebab case; ports are those of the first node, the
 * other nodes follow.
 */
import { z } from 'zod'
import { describeFlags, type FlagSpec, parseFlags, UsageError } from '../config/arguments.ts'
import { type SimNodeOptions, simNodeSchema } from '../sim/config.ts'
import { type SimNode, startSimNode } from '../sim/sim_node.ts'

/** Nodes of one process at most: each has a listener and two sockets a rank. */
const NODES_MAX = 256
const NODES_DEFAULT = 3

/** Options whose flag has another name: it may be given several times, or is for programs only. */
const FLAG_NAMES: Readonly<Record<string, string | null>> = {
  adapters: 'adapter',
  requestsKept: null,
}

const nodesSchema = z.coerce.number().int().min(1).max(NODES_MAX).default(NODES_DEFAULT)

type Options = readonly (readonly [option: string, flag: string])[]

const OPTIONS: Options = Object.keys(simNodeSchema.shape).flatMap(option => {
  const kebab = option.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)
  const flag = option in FLAG_NAMES ? FLAG_NAMES[option] : kebab
  return typeof flag === 'string' ? [[option, flag] as const] : []
})

function flagSpecs(): Record<string, FlagSpec> {
  const specs: Record<string, FlagSpec> = {
    nodes: { value: 'N', help: `Number of nodes. Default ${NODES_DEFAULT}.` },
  }
  const defaults: Record<string, unknown> = simNodeSchema.parse({})
  const shape: Record<string, z.ZodType> = simNodeSchema.shape
  for (const [option, flag] of OPTIONS) {
    const value = defaults[option]
    const isShown = value !== undefined && value !== '' && !Array.isArray(value)
    const end = isShown ? ` Default ${JSON.stringify(value)}.` : ''
    specs[flag] = {
      value: typeof value === 'number' ? 'N' : 'VALUE',
      isRepeatable: option === 'adapters',
      help: `${shape[option]?.description ?? ''}${end}`,
    }
  }
  specs['help'] = { value: null, help: 'Print this' }
  return specs
}

/** A flag's text as what the schema of its option takes: its default tells the type. */
function valueOf(option: string, text: string): unknown {
  const shape: Record<string, z.ZodType> = simNodeSchema.shape
  const schema = shape[option]
  const number = Number(text)
  for (const value of [text, Number.isNaN(number) ? text : number, text === 'true']) {
    if (schema?.safeParse(value).success === true) return value
  }
  return text
}

function readOptions(given: Readonly<Record<string, unknown>>): SimNodeOptions {
  const options: Record<string, unknown> = {}
  for (const [option, flag] of OPTIONS) {
    const value = given[flag]
    if (typeof value === 'string') options[option] = valueOf(option, value)
    else if (value !== undefined) options[option] = value
  }
  const parsed = simNodeSchema.safeParse(options)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  const flag = OPTIONS.find(([option]) => option === issue?.path[0])?.[1]
  throw new UsageError(`--${flag ?? '?'}: ${issue?.message}`)
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
    const line = { id, url, kv_events: kvEvents, kv_replay: kvReplay }
    process.stdout.write(`${JSON.stringify(line)}\n`)
  }
  return started
}

export async function run(argv: string[]): Promise<number> {
  const specs = flagSpecs()
  const given: Readonly<Record<string, unknown>> = parseFlags(specs, argv)
  if (given['help'] === true) {
    process.stdout.write(`Usage: warmpath sim [flags]\n\n${describeFlags(specs)}\n`)
    return 0
  }
  const nodes = nodesSchema.safeParse(given['nodes'])
  if (!nodes.success) throw new UsageError(`--nodes must be 1 … ${NODES_MAX}`)
  const started = await startNodes(nodes.data, readOptions(given))
  await new Promise<void>(resolve => {
    process.once('SIGTERM', () => resolve())
    process.once('SIGINT', () => resolve())
    // The gateway that started these nodes has gone, maybe without a chance to say so.
    process.once('disconnect', () => resolve())
  })
  await Promise.all(started.map(node => node.close()))
  return 0
}
