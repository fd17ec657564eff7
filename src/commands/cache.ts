/**
 * `warmpath cache status|warm|drop`: asks the daemons of this user what they hold, loads files, and
 * takes them out of memory.
 *
 *   warmpath cache status [PATH] [--json]     every daemon, or the one that serves PATH
 *   warmpath cache warm PATH                  loads a file or folder of an accelerated path
 *   warmpath cache drop PATH                  takes it out of memory, unless it is being read
 */
import path from 'node:path'
import { z } from 'zod'
import { describeFlags, parseWords, UsageError } from '../config/arguments.ts'
import { ConfigurationError } from '../config/error.ts'
import { formatBytes } from '../model-cache/capacity.ts'
import { ANSWER_MS_MAX, askControl, controlSockets, runFolder } from '../model-cache/control.ts'
import { pathBelow } from '../model-cache/mount_point.ts'
import { printable } from '../model-cache/printable.ts'

const FLAGS = {
  json: { value: null, help: 'Print JSON in place of tables' },
  help: { value: null, help: 'Print this and exit' },
} as const

const HELP = `Usage: warmpath cache status [PATH] [--json]
       warmpath cache warm PATH
       warmpath cache drop PATH

${describeFlags(FLAGS)}
`

const fileSchema = z.looseObject({
  path: z.string(),
  size: z.number(),
  state: z.string(),
  resident_bytes: z.number(),
  from: z.record(z.string(), z.number()).nullable(),
  used_seconds_ago: z.number().nullable(),
  error: z.string().nullable(),
})

const cacheSchema = z.looseObject({
  path: z.string(),
  source: z.string(),
  mode: z.string(),
  mode_reason: z.string(),
  ready: z.boolean(),
  address: z.string(),
  capacity_bytes: z.number(),
  used_bytes: z.number(),
  warmup_error: z.string().nullable(),
  files: z.array(fileSchema),
})

const daemonSchema = z.looseObject({
  kind: z.string(),
  daemon_pid: z.number(),
  supervisor_pid: z.number().nullable(),
  caches: z.array(cacheSchema),
})

type Daemon = z.output<typeof daemonSchema>
type Cache = z.output<typeof cacheSchema>
type File = z.output<typeof fileSchema>

interface Found {
  readonly socket: string
  readonly daemon: Daemon
}

async function daemons(): Promise<Found[]> {
  const sockets = controlSockets(runFolder(process.env))
  const asked = sockets.map(async (socket): Promise<Found | null> => {
    try {
      const reply = await askControl(socket, { verb: 'status' }, ANSWER_MS_MAX)
      return { socket, daemon: daemonSchema.parse(reply) }
    } catch {
      // A daemon that was killed leaves its socket behind.
      return null
    }
  })
  return (await Promise.all(asked)).filter(found => found !== null)
}

function fromText({ from }: File): string {
  const parts = Object.entries(from ?? {}).filter(([, bytes]) => bytes > 0)
  return parts.map(([tier, bytes]) => `${tier} ${formatBytes(bytes)}`).join(', ') || '-'
}

function ago(seconds: number | null): string {
  if (seconds === null) return 'never'
  return seconds < 120 ? `${Math.round(seconds)} s ago` : `${Math.round(seconds / 60)} min ago`
}

function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]?.map((_, at) => Math.max(...rows.map(row => row[at]?.length ?? 0))) ?? []
  const line = (row: readonly string[]): string =>
    row.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join('  ')
  return rows.map(row => line(row).trimEnd()).join('\n')
}

function describe(daemon: Daemon, cache: Cache): string {
  const head = [
    `${printable(cache.path)}  (${daemon.kind}, ${cache.mode}: ${cache.mode_reason})`,
    `  source ${printable(cache.source)}, daemon ${daemon.daemon_pid}, ${cache.address}, ` +
      `${formatBytes(cache.used_bytes)} of ${formatBytes(cache.capacity_bytes)}, ` +
      (cache.ready ? 'ready' : 'loading'),
    ...(cache.warmup_error === null ? [] : [`  warm-up: ${cache.warmup_error}`]),
  ]
  const rows = cache.files.map(file => [
    `  ${printable(file.path)}`,
    formatBytes(file.size),
    file.state === 'hydrating' ? `hydrating ${formatBytes(file.resident_bytes)}` : file.state,
    fromText(file),
    ago(file.used_seconds_ago),
    file.error ?? '',
  ])
  const titles = ['  FILE', 'SIZE', 'STATE', 'CAME FROM', 'LAST USE', '']
  return `${head.join('\n')}\n${table([titles, ...rows])}\n`
}

async function status(target: string | undefined, isJson: boolean): Promise<number> {
  const wanted = target === undefined ? null : path.resolve(target)
  const all = (await daemons()).map(({ daemon }) => daemon)
  const found = all.filter(
    ({ caches }) => wanted === null || caches.some(cache => pathBelow(cache.path, wanted) !== null),
  )
  if (wanted !== null && found.length === 0) {
    throw new ConfigurationError([`no cache of this user serves ${wanted}`])
  }
  if (isJson) {
    const shown = wanted === null ? { daemons: found } : found[0]
    process.stdout.write(`${JSON.stringify(shown, null, 2)}\n`)
    return 0
  }
  for (const daemon of found) {
    for (const cache of daemon.caches) process.stdout.write(describe(daemon, cache))
  }
  if (found.length === 0) process.stdout.write('no cache of this user is running\n')
  return 0
}

const replySchema = z.looseObject({
  error: z.string().optional(),
  errors: z.array(z.string()).optional(),
  busy: z.number().optional(),
})

async function act(verb: 'warm' | 'drop', target: string, isJson: boolean): Promise<number> {
  const wanted = path.resolve(target)
  for (const { socket, daemon } of await daemons()) {
    const cache = daemon.caches.find(({ path: place }) => pathBelow(place, wanted) !== null)
    if (cache === undefined) continue
    const below = pathBelow(cache.path, wanted)
    const reply = await askControl(socket, { verb, path: cache.path, target: below })
    const { error, errors, ...counts } = replySchema.parse(reply)
    if (error !== undefined) throw new ConfigurationError([error])
    const text = Object.entries(counts).map(([name, count]) => `${name} ${String(count)}`)
    process.stdout.write(isJson ? `${JSON.stringify(reply)}\n` : `${text.join(', ')}\n`)
    for (const line of errors ?? []) process.stderr.write(`${line}\n`)
    return (errors?.length ?? 0) > 0 || (counts.busy ?? 0) > 0 ? 1 : 0
  }
  throw new ConfigurationError([`no cache of this user serves ${wanted}`])
}

export async function run(argv: string[]): Promise<number> {
  const { flags, words } = parseWords(FLAGS, argv, 2)
  if (flags.help) {
    process.stdout.write(HELP)
    return 0
  }
  const [verb, target] = words
  if (verb === 'status') return status(target, flags.json === true)
  if (verb !== 'warm' && verb !== 'drop') {
    throw new UsageError('expected status, warm or drop; see --help')
  }
  if (target === undefined) throw new UsageError(`give a PATH to ${verb}; see --help`)
  return act(verb, target, flags.json === true)
}
