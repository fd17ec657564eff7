/** The command line of the suite. */
import { existsSync } from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { Engine } from './engine.ts'

export const USAGE = `npm run test:vllm -- URL URL [options]

Two vLLM engines that serve one model, with KV events and --enable-prompt-tokens-details, in
developer mode (VLLM_SERVER_DEV_MODE=1, for /reset_prefix_cache), and with nothing else to do.

  --tokenizer DIR          tokenizer of the model; left out: the model's root, if it is a folder
  --restart-command CMD    starts the engine of port {port} again, after the suite has killed it
  --limited URL            a third engine with --max-num-queued-reqs 4 and --max-num-seqs 2
  --adapter URL NAME       an engine that serves an adapter NAME beside the base model
  --embedding URL          an engine with --runner pooling --convert embed
  --threads 1,2            gateway threads, one run for each
  --only NAME,NAME         parts: discovery sdk kept websocket bytes placement exactness aborts
                           kill limited adapter embedding
  --requests N             requests of the exactness part (240)
  --seed N                 seed of the prompts (by the clock)
`

export const PARTS = [
  'discovery',
  'sdk',
  'kept',
  'websocket',
  'bytes',
  'placement',
  'exactness',
  'aborts',
  'kill',
  'limited',
  'adapter',
  'embedding',
] as const
export type Part = (typeof PARTS)[number]

export interface Options {
  readonly engines: readonly Engine[]
  readonly model: string
  readonly tokenizer: string
  readonly blockSize: number
  readonly restartCommand: string | null
  readonly limited: Engine | null
  readonly adapter: { readonly engine: Engine; readonly name: string } | null
  readonly embedding: Engine | null
  readonly threads: readonly number[]
  readonly parts: ReadonlySet<Part>
  readonly requests: number
  readonly seed: number
}

function isPart(name: string): name is Part {
  return PARTS.some(part => part === name)
}

/** Reads the command line and asks the first engine for what it leaves open. */
export async function readOptions(args: readonly string[]): Promise<Options> {
  const text = { type: 'string' as const }
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      tokenizer: text,
      'restart-command': text,
      limited: text,
      adapter: text,
      embedding: text,
      threads: { ...text, default: '1,2' },
      only: { ...text, default: PARTS.join() },
      requests: { ...text, default: '240' },
      seed: { ...text, default: String(Date.now() % 2 ** 31) },
    },
  })
  const urls = positionals.filter(name => /^https?:/.test(name))
  const names = positionals.filter(name => !urls.includes(name))
  const engines = urls.map(url => new Engine(url))
  const [first] = engines
  if (first === undefined || engines.length !== 2) throw new Error(`two URLs are needed\n${USAGE}`)
  const parts = values.only.split(',')
  const unknown = parts.find(part => !isPart(part))
  if (unknown !== undefined) throw new Error(`no part ${unknown}\n${USAGE}`)
  const served = (await first.models()).find(({ parent }) => (parent ?? null) === null)
  if (served === undefined) throw new Error(`${first.url} serves no model`)
  const adapterEngine = engineOf(values.adapter)
  return {
    engines,
    model: served.id,
    tokenizer: tokenizerOf(values.tokenizer ?? served.root ?? ''),
    blockSize: await first.blockSize(),
    restartCommand: values['restart-command'] ?? null,
    limited: engineOf(values.limited),
    adapter: adapterEngine && { engine: adapterEngine, name: names[0] ?? 'adapter' },
    embedding: engineOf(values.embedding),
    threads: values.threads.split(',').map(Number),
    parts: new Set(parts.filter(isPart)),
    requests: Number(values.requests),
    seed: Number(values.seed),
  }
}

function engineOf(url: string | undefined): Engine | null {
  return url === undefined ? null : new Engine(url)
}

/** Token-exact keys need the tokenizer's files; no URL gives them. */
function tokenizerOf(folder: string): string {
  if (folder !== '' && existsSync(path.join(folder, 'tokenizer.json'))) return folder
  throw new Error(`no tokenizer.json in "${folder}": name its folder with --tokenizer\n${USAGE}`)
}
