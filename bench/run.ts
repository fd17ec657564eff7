/**
 * `npm run bench` lists the benches; `npm run bench -- NAME [options]` runs one.
 *
 * A bench is a file beside this one with `run(options)` (options.ts). What it returns is printed
 * as the last line of output: one JSON object, with the machine, the commit and the load at the
 * start beside the figures. A shared machine is marked `noisy: true` and never refused.
 */
import { existsSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { readMachine } from './machine.ts'
import { type BenchOptions, option, readBenchOptions } from './options.ts'

const BENCHES: Readonly<Record<string, string>> = {
  relay: 'latency and processor time of the gateway beside direct, a bare relay and haproxy',
  reuse: 'share of tokens reused over three simulated nodes, by policy',
  websocket: 'processor time and delay of a token over WebSocket beside SSE; idle sockets',
  start: 'from the start of the process to its first answer, beside a bare relay',
  soak: 'growth of memory over a million short requests',
  index: 'prefix index: build, lookup, churn and memory, beside a flat map',
  log: 'response log: appends, events and readers',
  prompt: 'prompt keys: scan, template, tokens and hashes',
  'model-cache': 'the model cache: reads, hydration and loads beside native, a slow source, rclone',
  routing: 'one decision: candidates, score, lease, prediction, from 1 to 1,000 nodes',
}

/** Options that every bench understands; each bench's header lists its own. */
const USAGE = `usage: npm run bench -- NAME [--quick] [--rounds N] [--seconds S] [--save FILE]

${Object.entries(BENCHES)
  .map(([name, what]) => `  ${name.padEnd(9)} ${what}`)
  .join('\n')}
`

type Run = (options: BenchOptions) => Promise<unknown>

async function load(name: string): Promise<Run | null> {
  // A name of two words is written with a hyphen, its file as all files are.
  const stem = name.replaceAll('-', '_')
  const file = path.join(import.meta.dirname, stem + path.extname(import.meta.filename))
  if (!Object.hasOwn(BENCHES, name) || !existsSync(file)) return null
  // Imported by name, so it has no type: `run` is the face of every bench file.
  const found: { readonly run: Run } = await import(file)
  return found.run
}

async function main(words: readonly string[]): Promise<number> {
  const [name, ...rest] = words
  if (name === undefined || name === '--help') {
    process.stdout.write(USAGE)
    return 0
  }
  const run = await load(name)
  if (run === null) {
    process.stderr.write(`no bench is called ${name}\n\n${USAGE}`)
    return 2
  }
  const machine = await readMachine(['npm', 'run', 'bench', '--', ...words].join(' '))
  const result = await run(readBenchOptions(rest))
  const figures = typeof result === 'object' && result !== null ? result : {}
  const report = { bench: name, ...figures, ...machine }
  const file = option(rest, 'save')
  if (file !== null) writeFileSync(file, `${JSON.stringify(report, null, 2)}\n`)
  process.stdout.write(`${JSON.stringify(report)}\n`)
  return 0
}

process.exitCode = await main(process.argv.slice(2))
