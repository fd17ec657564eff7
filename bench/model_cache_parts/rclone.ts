/**
 * `rclone mount` as the other way to put a cache in front of a source: with its cache in memory of
 * the same kind as ours, and without the hash of the whole file that it otherwise takes of a local
 * source at each open (--vfs-fast-fingerprint). Where it is not installed the bench says so.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, rmSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Site } from './site.ts'

/** Milliseconds that a mount may take to appear. */
const MOUNT_MS_MAX = 20_000
const POLL_MS = 10

/** The version, or null when it is not installed. */
export function rcloneVersion(): string | null {
  const run = spawnSync('rclone', ['version'], { encoding: 'utf8' })
  if (run.status !== 0) return null
  return /rclone (v\S+)/.exec(run.stdout)?.[1] ?? 'unknown'
}

function isMounted(place: string): boolean {
  const lines = readFileSync('/proc/self/mountinfo', 'utf8').split('\n')
  return lines.some(line => line.split(' ')[4] === place)
}

export interface RcloneMount {
  readonly path: string
  stop(): Promise<void>
}

/** Mounts the source with an empty cache below `cacheRoot`. */
export async function mountRclone(
  site: Site,
  source: string,
  cacheRoot: string,
  name: string,
): Promise<RcloneMount> {
  const shown = site.folder(name)
  const cache = path.join(cacheRoot, name)
  const flags = ['--read-only', '--vfs-cache-mode', 'full', '--vfs-fast-fingerprint']
  const places = ['--cache-dir', cache, '--config', '/dev/null']
  const child = site.start('rclone', ['mount', source, shown, ...flags, ...places])
  const startedMs = performance.now()
  while (!isMounted(shown)) {
    if (child.exitCode !== null || performance.now() - startedMs > MOUNT_MS_MAX) {
      throw new Error('rclone did not mount')
    }
    await delay(POLL_MS)
  }
  return {
    path: shown,
    stop: async () => {
      const end = once(child, 'exit')
      execFileSync('umount', [shown])
      await end
      rmSync(cache, { recursive: true, force: true })
    },
  }
}
