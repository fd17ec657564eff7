/**
 * `warmpath mount SOURCE ACCELERATED --capacity SIZE`: files of SOURCE at memory speed under
 * ACCELERATED. Stays in the foreground, prints one line a path when it can be read, and ends with
 * exit code 0 and nothing left mounted at SIGTERM or SIGINT.
 *
 *   ready: /mnt/X-fast (tmpfs: no /dev/fuse), 12 files, 4.2 GiB
 *
 * Lines of the log go to stderr.
 */
import { describeFlags, parseWords } from '../config/arguments.ts'
import { ConfigurationError } from '../config/error.ts'
import { loadStorage, MOUNT_FLAGS, type MountFlags } from '../config/storage.ts'
import { formatBytes } from '../model-cache/capacity.ts'
import type { CacheEntry } from '../model-cache/config.ts'
import { controlName, runFolder } from '../model-cache/control.ts'
import { openControl, type Served } from '../model-cache/daemon.ts'
import { effectiveCapacity } from '../model-cache/effective_capacity.ts'
import { type FolderMount, folderMount } from '../model-cache/folder_mount.ts'
import { listeningOf } from '../model-cache/listening.ts'
import { inspectMountPoint } from '../model-cache/mount_point.ts'
import { nativeMover } from '../model-cache/mover.ts'
import { isRunning, readRunFile } from '../model-cache/run_file.ts'
import { LOG_LEVELS } from '../observe/config.ts'
import { openLog, type ThreadLog } from '../observe/log.ts'

const HELP = `Usage: warmpath mount SOURCE ACCELERATED --capacity SIZE [flags]
       warmpath mount --config FILE

${describeFlags(MOUNT_FLAGS)}
`

function logOf(flags: MountFlags): ThreadLog {
  const level = LOG_LEVELS.find(known => known === flags['log-level']) ?? 'info'
  const config = { level, destination: 'stderr' }
  return openLog({ config, thread: 'cache', isBatched: false })
}

/** Monotonic milliseconds. */
function now(): number {
  return performance.now()
}

function inspect(entries: readonly CacheEntry[], folder: string): void {
  const faults = entries.flatMap(entry => {
    const left = readRunFile(folder, entry.accelerated)
    if (left !== null && left.pid !== process.pid && isRunning(left.pid)) {
      return [`${entry.accelerated} is served by process ${left.pid} already`]
    }
    const state = inspectMountPoint(entry.path, entry.accelerated, true, left?.names ?? [])
    return state.kind === 'fault' ? [state.message] : []
  })
  for (const { mode, accelerated } of entries) {
    if (mode === 'auto' || mode === 'tmpfs') continue
    faults.push(`${accelerated}: mode ${mode} is not built in: take tmpfs`)
  }
  if (faults.length > 0) throw new ConfigurationError(faults)
}

/** Capacities of all entries together, shrunk in proportion when the host has less. */
function capacities(entries: readonly CacheEntry[], log: ThreadLog): number[] {
  const configured = entries.reduce((sum, entry) => sum + entry.capacity, 0)
  const effective = effectiveCapacity(configured, process.memoryUsage.rss())
  if (effective.bytes < 1) {
    throw new ConfigurationError([effective.reason ?? 'no memory is left for the cache'])
  }
  if (effective.reason !== null) log.warn({ reason: effective.reason }, 'capacity was shrunk')
  const share = effective.bytes / configured
  return entries.map(entry => Math.floor(entry.capacity * share))
}

function makeMounts(entries: readonly CacheEntry[], folder: string, log: ThreadLog): FolderMount[] {
  const listening = entries.map(entry => {
    const result = listeningOf(entry.listen, entry.token_file)
    if (result.kind === 'fault') throw new ConfigurationError([result.message])
    return result.listening
  })
  const bytes = capacities(entries, log)
  return entries.map((entry, at) =>
    folderMount({
      entry,
      capacityBytes: bytes[at]!,
      listening: listening[at]!,
      mover: nativeMover(),
      runFolder: folder,
      log,
      now,
    }),
  )
}

function readyLine({ path, cache, modeReason }: Served): string {
  const slots = [...cache.slots()]
  const bytes = slots.reduce((sum, slot) => sum + slot.file.size, 0)
  const mode = `${cache.front.mode}: ${modeReason}`
  return `ready: ${path} (${mode}), ${slots.length} files, ${formatBytes(bytes)}\n`
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
  inspect(entries, folder)
  const ended = new Promise<'ended'>(resolve => {
    process.once('SIGTERM', () => resolve('ended'))
    process.once('SIGINT', () => resolve('ended'))
  })
  const mounts = makeMounts(entries, folder, log)
  const served = mounts.map(({ member }, at): Served => {
    const [cache] = member.caches
    if (cache === undefined) throw new Error('a mount has one cache')
    return { path: entries[at]!.accelerated, cache, member, modeReason: 'asked for' }
  })
  const facts = { kind: 'mount', supervisorPid: null, restarts: 0 } as const
  const control = await openControl(
    folder,
    controlName(entries[0]!.accelerated),
    facts,
    served,
    now,
  )
  try {
    const started = Promise.all(mounts.map(mount => mount.start()))
    if ((await Promise.race([started, ended])) !== 'ended') {
      for (const one of served) process.stdout.write(readyLine(one))
      await ended
    }
  } finally {
    control.close()
    await Promise.all(mounts.map(mount => mount.close()))
    await log.flush()
  }
  return 0
}
