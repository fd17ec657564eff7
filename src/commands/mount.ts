/**
 * `warmpath mount SOURCE ACCELERATED --capacity SIZE`: files of SOURCE at memory speed under
 * ACCELERATED. Stays in the foreground, prints one line a path when it can be read, and ends with
 * exit code 0 and nothing left mounted at SIGTERM or SIGINT.
 *
 *   ready: /mnt/X-fast (passthrough: the kernel serves resident files itself), 12 files, 4.2 GiB
 *
 * This file runs twice where FUSE is to be had: first it looks at the paths and becomes the
 * supervisor, which mounts them and starts it again, as the daemon. With plain folders alone it is
 * the daemon at once. Lines of the log go to stderr.
 */
import { existsSync } from 'node:fs'
import path from 'node:path'
import { choiceOf, describeFlags, parseWords } from '../config/arguments.ts'
import { ConfigurationError } from '../config/error.ts'
import { loadStorage, MOUNT_FLAGS, type MountFlags } from '../config/storage.ts'
import { formatBytes } from '../model-cache/capacity.ts'
import type { CacheEntry } from '../model-cache/config.ts'
import { controlName, runFolder } from '../model-cache/control.ts'
import { openControl, type Served } from '../model-cache/daemon.ts'
import { deferred } from '../model-cache/deferred.ts'
import { effectiveCapacity } from '../model-cache/effective_capacity.ts'
import { folderFault } from '../model-cache/folder_fault.ts'
import { folderMount } from '../model-cache/folder_mount.ts'
import { fuseMount } from '../model-cache/fuse_mount.ts'
import { listeningOf } from '../model-cache/listening.ts'
import { STORE_SLACK_BYTES } from '../model-cache/memory_store.ts'
import type { Mount, MountOptions } from '../model-cache/mount.ts'
import { inspectMountPoint, resolvedPath } from '../model-cache/mount_point.ts'
import { nativeMover } from '../model-cache/mover.ts'
import { printable } from '../model-cache/printable.ts'
import { isRunning, readRunFile } from '../model-cache/run_file.ts'
import { SourceError } from '../model-cache/source.ts'
import { execute } from '../native/model_chunks.ts'
import {
  type FuseProbe,
  type HandedMount,
  type HandOver,
  handOver,
  probeFuse,
} from '../native/model_mount.ts'
import { packageRoot } from '../native/package_root.ts'
import { LOG_LEVELS } from '../observe/config.ts'
import { openLog, type ThreadLog } from '../observe/log.ts'

/** Threads for calls to the source: some of them may hang in a network file system for long. */
const SOURCE_THREADS = 16

const HELP = `Usage: warmpath mount SOURCE ACCELERATED --capacity SIZE [flags]
       warmpath mount --config FILE

${describeFlags(MOUNT_FLAGS)}
`

/** How one entry is served. */
interface Plan {
  readonly entry: CacheEntry
  readonly capacityBytes: number
  /** null: a plain folder. */
  readonly fuse: 'passthrough' | 'copy' | null
  readonly reason: string
}

function logOf(flags: MountFlags): ThreadLog {
  const level = choiceOf('log-level', flags['log-level'], LOG_LEVELS, 'info')
  const config = { level, destination: 'stderr' }
  return openLog({ config, thread: 'cache', isBatched: false })
}

/** Monotonic milliseconds. */
function now(): number {
  return performance.now()
}

/** The mode of an entry on this host; a text when the mode that was asked for is not to be had. */
function modeOf({ mode }: CacheEntry, probe: FuseProbe): Pick<Plan, 'fuse' | 'reason'> | string {
  switch (mode) {
    case 'tmpfs':
      return { fuse: null, reason: 'as configured' }
    case 'auto':
      return { fuse: probe.mode === 'tmpfs' ? null : probe.mode, reason: probe.reason }
    case 'copy':
      return probe.mode === 'tmpfs' ? probe.reason : { fuse: 'copy', reason: 'as configured' }
    case 'passthrough':
      return probe.mode === 'passthrough' ? { fuse: mode, reason: probe.reason } : probe.reason
  }
}

/** Capacities of all entries together, shrunk in proportion when the host has less. */
function capacities(entries: readonly CacheEntry[], log: ThreadLog | null): number[] {
  const configured = entries.reduce((sum, entry) => sum + entry.capacity, 0)
  const effective = effectiveCapacity(configured, process.memoryUsage.rss())
  if (effective.bytes < 1) {
    throw new ConfigurationError([effective.reason ?? 'no memory is left for the cache'])
  }
  if (effective.reason !== null) log?.warn({ reason: effective.reason }, 'capacity was shrunk')
  const share = effective.bytes / configured
  return entries.map(entry => Math.floor(entry.capacity * share))
}

function plan(entries: readonly CacheEntry[], log: ThreadLog | null): Plan[] {
  const probe = entries.every(({ mode }) => mode === 'tmpfs')
    ? ({ mode: 'tmpfs', reason: 'as configured' } as const)
    : probeFuse()
  const bytes = capacities(entries, log)
  return entries.map((entry, at): Plan => {
    const mode = modeOf(entry, probe)
    if (typeof mode === 'string') {
      const remedy = 'take mode auto or tmpfs'
      throw new ConfigurationError([
        `${entry.accelerated}: no mode ${entry.mode}: ${mode}; ${remedy}`,
      ])
    }
    return { entry, capacityBytes: bytes[at]!, ...mode }
  })
}

/** Looks at every path before anything is touched. */
function inspect(plans: readonly Plan[], folder: string): void {
  const faults = plans.flatMap(({ entry, fuse }) => {
    const left = readRunFile(folder, entry.accelerated)
    if (left !== null && left.pid !== process.pid && isRunning(left.pid)) {
      return [`${entry.accelerated} is served by process ${left.pid} already`]
    }
    const names = left?.names ?? []
    const state = inspectMountPoint(entry.path, entry.accelerated, fuse === null, names)
    if (state.kind === 'fault') return [state.message]
    if (state.kind === 'free' || fuse !== null) return []
    return [
      `${entry.accelerated} is a dead mount of an earlier run: umount -l ${entry.accelerated}`,
    ]
  })
  for (const { entry } of plans) {
    const result = listeningOf(entry.listen, entry.token_file)
    if (result.kind === 'fault') faults.push(result.message)
    faults.push(...entry.extra_roots.flatMap(root => folderFault('extra root', root)))
  }
  if (faults.length > 0) throw new ConfigurationError(faults)
}

/** The process becomes the supervisor, which starts this command again as its daemon. */
function becomeSupervisor(plans: readonly Plan[], argv: readonly string[]): never {
  const supervisor = path.join(packageRoot(), 'build/Release/warmpath_supervisor')
  if (!existsSync(supervisor)) {
    throw new ConfigurationError([`${supervisor} is missing: run "npm run build:native"`])
  }
  const words = plans.flatMap(({ entry, capacityBytes, fuse }) => {
    if (fuse === null) return []
    const bytes = String(capacityBytes + STORE_SLACK_BYTES)
    const others = entry.allow_other ? ['--allow-other'] : []
    const pages = entry.huge_pages ? [] : ['--no-huge-pages']
    const place = resolvedPath(entry.accelerated)
    return ['--mount', place, '--store-bytes', bytes, ...others, ...pages]
  })
  const [, script = ''] = process.argv
  const daemon = [process.execPath, ...process.execArgv, script, 'mount', ...argv]
  const threads = process.env['UV_THREADPOOL_SIZE'] ?? String(SOURCE_THREADS)
  const environment = { ...process.env, UV_THREADPOOL_SIZE: threads }
  return execute(supervisor, [...words, '--', ...daemon], environment)
}

/** The capacity, unless an earlier daemon was killed by the kernel with less in its store. */
function loweredCapacity(
  { entry, capacityBytes, log }: MountOptions,
  { storeBytesMax }: HandedMount,
): Pick<MountOptions, 'capacityBytes'> {
  if (storeBytesMax === null || storeBytesMax >= capacityBytes) return { capacityBytes }
  const [configured, lowered] = [entry.capacity, storeBytesMax].map(formatBytes)
  log.error(
    { path: entry.accelerated, configured, lowered },
    'the daemon was killed for want of memory: its capacity stays lowered until the next mount',
  )
  return { capacityBytes: storeBytesMax }
}

function makeMounts(
  plans: readonly Plan[],
  handed: HandOver | null,
  folder: string,
  log: ThreadLog,
  onEnded: (error: number) => void,
): Mount[] {
  const mounts = [...(handed?.mounts ?? [])]
  return plans.map(({ entry, capacityBytes, fuse, reason }) => {
    const result = listeningOf(entry.listen, entry.token_file)
    if (result.kind === 'fault') throw new ConfigurationError([result.message])
    const { listening } = result
    const mover = nativeMover()
    const options = { entry, capacityBytes, listening, mover, runFolder: folder, reason, log, now }
    if (fuse === null) return folderMount(options)
    const mount = mounts.shift()
    if (mount === undefined) throw new Error(`nothing was handed over for ${entry.accelerated}`)
    const restarts = handed?.restarts ?? 0
    const lowered = loweredCapacity(options, mount)
    return fuseMount({ ...options, ...lowered, handed: mount, mode: fuse, restarts, onEnded })
  })
}

function readyLine({ path: place, cache, modeReason }: Served): string {
  const slots = [...cache.slots()]
  const bytes = slots.reduce((sum, slot) => sum + slot.file.size, 0)
  const mode = `${cache.front.mode}: ${modeReason}`
  return `ready: ${printable(place)} (${mode}), ${slots.length} files, ${formatBytes(bytes)}\n`
}

/** A source that cannot be listed at all is no fault of the program. */
async function startAll(mounts: readonly Mount[]): Promise<void> {
  try {
    await Promise.all(mounts.map(mount => mount.start()))
  } catch (error) {
    if (!(error instanceof SourceError)) throw error
    throw new ConfigurationError([`the source cannot be listed: ${error.message}`])
  }
}

/** Serves until a signal, or until the paths are unmounted. */
async function serve(
  plans: readonly Plan[],
  handed: HandOver | null,
  folder: string,
  log: ThreadLog,
): Promise<number> {
  const { promise: ended, resolve: end } = deferred<number>()
  process.once('SIGTERM', () => end(0))
  process.once('SIGINT', () => end(0))
  const mounts = makeMounts(plans, handed, folder, log, error => end(error === 0 ? 0 : 1))
  const served = mounts.map(({ member, reason }, at): Served => {
    const [cache] = member.caches
    if (cache === undefined) throw new Error('a mount has one cache')
    return { path: plans[at]!.entry.accelerated, cache, member, modeReason: reason }
  })
  const restarts = handed?.restarts ?? 0
  const facts = { kind: 'mount', supervisorPid: handed?.supervisorPid ?? null, restarts } as const
  const name = controlName(plans[0]!.entry.accelerated)
  const control = await openControl(folder, name, facts, served, now)
  try {
    const started = startAll(mounts).then(() => null)
    const early = await Promise.race([started, ended])
    if (early !== null) return early
    for (const { path: place, cache, modeReason } of served) {
      log.info({ path: place, mode: cache.front.mode, reason: modeReason }, 'serving')
    }
    if (restarts === 0) for (const one of served) process.stdout.write(readyLine(one))
    return await ended
  } finally {
    control.close()
    await Promise.all(mounts.map(mount => mount.close()))
    await log.flush()
  }
}

export async function run(argv: string[]): Promise<number> {
  const { flags, words } = parseWords(MOUNT_FLAGS, argv, 2)
  if (flags.help) {
    process.stdout.write(HELP)
    return 0
  }
  const entries = loadStorage(flags, words, process.env)
  const folder = runFolder(process.env)
  const log = logOf(flags)
  const handed = handOver()
  const plans = plan(entries, log)
  if (handed === null) {
    inspect(plans, folder)
    if (plans.some(({ fuse }) => fuse !== null)) becomeSupervisor(plans, argv)
  }
  return serve(plans, handed, folder, log)
}
