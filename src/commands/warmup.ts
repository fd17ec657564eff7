/**
 * `warmpath warmup PATH… --capacity SIZE`: a service that holds models in memory for others. It
 * loads every path at start, with a bar and the time left on a terminal, serves chunks to mounts
 * that name it with --warmup, and tells them of each other. Nothing is mounted.
 *
 *   ready: http://10.0.0.9:8300, 17 files, 61.0 GiB
 *
 * Lines of the log go to stderr.
 */
import path from 'node:path'
import { formatAddress } from '../address.ts'
import {
  choiceOf,
  describeFlags,
  type FlagValues,
  parseWords,
  UsageError,
} from '../config/arguments.ts'
import { ConfigurationError } from '../config/error.ts'
import { formatBytes, parseCapacity } from '../model-cache/capacity.ts'
import { isPreloaded } from '../model-cache/config.ts'
import { controlName, runFolder } from '../model-cache/control.ts'
import { openControl, type Served } from '../model-cache/daemon.ts'
import { DirectorySource } from '../model-cache/directory_source.ts'
import { effectiveCapacity } from '../model-cache/effective_capacity.ts'
import { folderFault } from '../model-cache/folder_fault.ts'
import { noFront } from '../model-cache/front.ts'
import { WARMUP_PORT } from '../model-cache/hello.ts'
import { type Listening, listeningOf } from '../model-cache/listening.ts'
import { Member } from '../model-cache/member.ts'
import { openMemoryStore } from '../model-cache/memory_store.ts'
import { nativeMover } from '../model-cache/mover.ts'
import { showProgress } from '../model-cache/progress.ts'
import { LOG_LEVELS } from '../observe/config.ts'
import { openLog, type ThreadLog } from '../observe/log.ts'

/** Paths of one warm-up: each is a source of its own. */
const PATHS_MAX = 64

/** Milliseconds between two looks at the sources. */
const SCAN_MS = 30_000

/** An attempt that makes no progress for so many milliseconds is given up until the next scan. */
const LOAD_MS_MAX = 600_000

const FLAGS = {
  capacity: { value: 'SIZE', help: 'Most memory that all paths together take: 100GiB, 100G' },
  listen: { value: 'HOST:PORT', help: `Address to listen on (default 127.0.0.1:${WARMUP_PORT})` },
  'token-file': { value: 'FILE', help: 'The token that members share; needed beyond loopback' },
  preload: {
    value: 'PATH',
    isRepeatable: true,
    help: 'Load only this file or folder of each path (default: all)',
  },
  'source-id': {
    value: 'ID',
    isRepeatable: true,
    help: 'What a path is called on every host, in the order of the paths (default: the path)',
  },
  'extra-root': {
    value: 'DIR',
    isRepeatable: true,
    help: 'A folder outside the paths that links may lead to',
  },
  store: { value: 'DIR', help: 'Hold files in this folder in place of a private tmpfs' },
  streams: { value: 'N', help: 'Chunks read from the source at once (default 4)' },
  'log-level': { value: 'LEVEL', help: 'silent, error, warn, info (default), debug' },
  help: { value: null, help: 'Print this and exit' },
} as const

type Flags = FlagValues<typeof FLAGS>

const HELP = `Usage: warmpath warmup PATH… --capacity SIZE [flags]

${describeFlags(FLAGS)}
`

function logOf(flags: Flags): ThreadLog {
  const level = choiceOf('log-level', flags['log-level'], LOG_LEVELS, 'info')
  return openLog({ config: { level, destination: 'stderr' }, thread: 'warmup', isBatched: false })
}

function now(): number {
  return performance.now()
}

function capacityOf(flags: Flags, log: ThreadLog): { configured: number; bytes: number } {
  if (flags.capacity === undefined) {
    throw new UsageError('--capacity SIZE is missing, for example --capacity 100GiB')
  }
  const configured = parseCapacity(flags.capacity)
  if (typeof configured !== 'number') throw new UsageError(`--capacity: ${configured.fault}`)
  const { bytes, reason } = effectiveCapacity(configured, process.memoryUsage.rss())
  if (bytes < 1) throw new ConfigurationError([reason ?? 'no memory is left for the cache'])
  if (reason !== null) log.warn({ reason }, 'capacity was shrunk')
  return { configured, bytes }
}

function listening(flags: Flags): Listening {
  const result = listeningOf(flags.listen ?? String(WARMUP_PORT), flags['token-file'])
  if (result.kind === 'fault') throw new ConfigurationError([result.message])
  return result.listening
}

function sourcesOf(flags: Flags, paths: readonly string[]): DirectorySource[] {
  const ids = flags['source-id'] ?? []
  if (ids.length > paths.length) throw new UsageError('there are more --source-id than paths')
  const extraRoots = flags['extra-root'] ?? []
  const faults = [
    ...paths.flatMap(root => folderFault('source', root)),
    ...extraRoots.flatMap(root => folderFault('extra root', root)),
    ...paths.flatMap((root, at) =>
      paths.indexOf(root) < at ? [`the source ${root} is given twice`] : [],
    ),
  ]
  if (faults.length > 0) throw new ConfigurationError(faults)
  return paths.map(root => new DirectorySource({ root, extraRoots }))
}

function streamsOf(flags: Flags): number {
  const streams = Number(flags.streams ?? 4)
  if (Number.isInteger(streams) && streams >= 1 && streams <= 32) return streams
  throw new UsageError('--streams must be 1 to 32')
}

async function serve(member: Member, listen: Listening['listen'], ended: Promise<void>) {
  let isOver = false
  void ended.then(() => {
    isOver = true
  })
  const loaded = member.start().then(() => member.preload())
  const progress = showProgress(member, process.stderr)
  await Promise.race([loaded, ended])
  progress.end()
  if (isOver) return
  const slots = member.caches.flatMap(cache => [...cache.slots()])
  const resident = slots.filter(slot => slot.state === 'resident')
  const bytes = resident.reduce((sum, slot) => sum + slot.file.size, 0)
  const place = formatAddress({ ...listen, port: member.port })
  const files = `${resident.length} of ${slots.length} files, ${formatBytes(bytes)}`
  process.stdout.write(`ready: http://${place}, ${files}\n`)
  await ended
}

export async function run(argv: string[]): Promise<number> {
  const { flags, words } = parseWords(FLAGS, argv, PATHS_MAX)
  if (flags.help) {
    process.stdout.write(HELP)
    return 0
  }
  if (words.length === 0) throw new UsageError('give at least one PATH; see --help')
  const log = logOf(flags)
  const paths = words.map(word => path.resolve(word))
  const sources = sourcesOf(flags, paths)
  const { configured, bytes } = capacityOf(flags, log)
  const { listen, token } = listening(flags)
  const memory = openMemoryStore(bytes, flags.store ?? null, log)
  const preload = flags.preload ?? ['/']
  const member = new Member({
    caches: sources.map((source, at) => ({
      source,
      sourceId: flags['source-id']?.[at] ?? paths[at]!,
      makeFront: noFront,
      isPreloaded: name => isPreloaded([...preload], name),
      pins: [],
      scanMs: SCAN_MS,
    })),
    capacityBytes: bytes,
    configuredBytes: configured,
    store: memory.store,
    mover: nativeMover(),
    listen,
    token,
    warmup: null,
    peers: [],
    isRegistry: true,
    streams: streamsOf(flags),
    openMsMax: LOAD_MS_MAX,
    restarts: 0,
    log,
    now,
    random: Math.random,
  })
  const ended = new Promise<void>(resolve => {
    process.once('SIGTERM', () => resolve())
    process.once('SIGINT', () => resolve())
  })
  const served = member.caches.map(
    (cache, at): Served => ({ path: paths[at]!, cache, member, modeReason: memory.reason }),
  )
  const facts = { kind: 'warmup', supervisorPid: null, restarts: 0 } as const
  const folder = runFolder(process.env)
  const control = await openControl(folder, controlName(paths[0]!), facts, served, now)
  try {
    await serve(member, listen, ended)
  } finally {
    control.close()
    await member.close()
    memory.close()
    await log.flush()
  }
  return 0
}
