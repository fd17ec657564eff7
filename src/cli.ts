#!/usr/bin/env node
/**
 * `warmpath [command] [flags]`: finds the command, runs it, ends with its exit code.
 *
 *   0  the command did what was asked      1  it could not      2  the command line is wrong
 *
 * A command is `src/commands/<name>.ts` with `run(argv): Promise<number>`. It is imported only
 * when it is asked for: `warmpath check` does not load the front, nor `--help` anything at all.
 */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { UsageError } from './config/arguments.ts'
import { ConfigurationError } from './config/error.ts'
import { nearestName } from './config/nearest.ts'
import { ListenError } from './model-cache/listen_error.ts'

/** What a file in commands/ exports. */
interface Command {
  run(argv: string[]): Promise<number>
}

interface Entry {
  readonly what: string
  load(): Promise<Command>
}

const COMMANDS: Readonly<Record<string, Entry>> = {
  serve: {
    what: 'run the gateway (the default); without nodes, in front of three simulated ones',
    load: () => import('./commands/serve.ts'),
  },
  sim: {
    what: 'run simulated vLLM nodes',
    load: () => import('./commands/sim.ts'),
  },
  bench: {
    what: 'drive an OpenAI-compatible endpoint and print latencies and rates',
    load: () => import('./commands/bench.ts'),
  },
  mount: {
    what: 'show the files of a source at memory speed under another path',
    load: () => import('./commands/mount.ts'),
  },
  warmup: {
    what: 'hold models in memory for the mounts of other hosts',
    load: () => import('./commands/warmup.ts'),
  },
  cache: {
    what: 'show what mounts and warm-ups of this host hold; load or drop files',
    load: () => import('./commands/cache.ts'),
  },
  check: {
    what: 'print the effective configuration, secrets masked, or what is wrong with it',
    load: () => import('./commands/check.ts'),
  },
}

function help(): string {
  const width = Math.max(...Object.keys(COMMANDS).map(name => name.length))
  const lines = Object.entries(COMMANDS).map(
    ([name, { what }]) => `  ${name.padEnd(width)}  ${what}`,
  )
  return `Usage: warmpath [command] [flags]

A gateway in front of vLLM nodes that sends each request where its prompt is already computed.

Commands:
${lines.join('\n')}

"warmpath <command> --help" lists the flags of a command.
Example: warmpath --node http://10.0.0.1:8000 --node http://10.0.0.2:8000
`
}

function version(): string {
  // dist/cli.js and src/cli.ts both lie one folder below the package.
  const text = readFileSync(path.join(import.meta.dirname, '../package.json'), 'utf8')
  // Decode boundary: our own package.json.
  return (JSON.parse(text) as { version: string }).version
}

async function dispatch(argv: readonly string[]): Promise<number> {
  const [first, ...rest] = argv
  if (first === '--help' || first === '-h' || first === 'help') {
    process.stdout.write(help())
    return 0
  }
  if (first === '--version' || first === '-v' || first === 'version') {
    process.stdout.write(`${version()}\n`)
    return 0
  }
  const isNamed = first !== undefined && !first.startsWith('-')
  const name = isNamed ? first : 'serve'
  const entry = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (entry === undefined) {
    const nearest = nearestName(name, Object.keys(COMMANDS))
    const remedy = nearest === null ? 'see --help' : `the nearest is "${nearest}"`
    throw new UsageError(`unknown command "${name}"; ${remedy}`)
  }
  const command = await entry.load()
  return command.run(isNamed ? rest : [...argv])
}

/** Tells a fault of the person at the keyboard in words; any other is a fault of the program. */
function failed(error: unknown): number {
  if (error instanceof UsageError) {
    process.stderr.write(`warmpath: ${error.message}\n`)
    return 2
  }
  if (error instanceof ListenError) {
    process.stderr.write(`${error.message}\n`)
    return 1
  }
  if (error instanceof ConfigurationError) {
    process.stderr.write(`${error.faults.join('\n')}\n`)
    return 1
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
  process.stderr.write(`warmpath: ${text}\n`)
  return 1
}

process.exit(await dispatch(process.argv.slice(2)).catch(failed))
