/**
 * One entry served over FUSE by this daemon, whose supervisor has mounted the path. The
 * path can be read as soon as the source has been listed; files are loaded when they are opened,
 * small ones and the preload at once, in the background.
 */
import type { FrontMode, HandedMount } from '../native/model_mount.ts'
import { emptyPreloads, isPreloaded } from './config.ts'
import { DirectorySource } from './directory_source.ts'
import { FuseFront } from './fuse_front.ts'
import type { Member } from './member.ts'
import { type Mount, type MountOptions, memberOf } from './mount.ts'
import { requestLimit } from './request_limit.ts'
import { removeRunFile, writeRunFile } from './run_file.ts'
import { privateStore } from './store.ts'

/**
 * Bytes below which a file is loaded without being asked for: listings, `file` and tokenizers then
 * find it there and do not set off the shards.
 */
const EAGER_BYTES_MAX = 1024 * 1024

export interface FuseMountOptions extends MountOptions {
  readonly handed: HandedMount
  readonly mode: FrontMode
  readonly restarts: number
  readonly onEnded: (error: number) => void
}

export function fuseMount(options: FuseMountOptions): Mount {
  const { entry, log, now, handed, runFolder } = options
  const source = new DirectorySource({ root: entry.path, extraRoots: entry.extra_roots, log })
  const store = privateStore(handed.storeFd)
  let front: FuseFront | null = null
  const member = memberOf(options, {
    source,
    store,
    restarts: options.restarts,
    makeFront: cache => {
      front = new FuseFront({
        handed,
        mode: options.mode,
        revalidateMs: entry.revalidate,
        limit: requestLimit(entry.open_timeout),
        pinsGeneration: entry.pin_generation,
        source,
        cache,
        log,
        now,
        onEnded: options.onEnded,
      })
      return front
    },
    isPreloaded: (name, size) => size < EAGER_BYTES_MAX || isPreloaded(entry.preload, name),
    scanMs: entry.scan,
  })
  // Decode boundary: the member has made its one front by now.
  const made = front as FuseFront | null
  if (made === null) throw new Error('the member made no front')
  return {
    member,
    mode: made.mode,
    // What was planned is known with its reason here; the session knows why it is another.
    reason: made.mode === options.mode ? options.reason : made.reason,
    start: async () => {
      const { accelerated } = entry
      writeRunFile(runFolder, { pid: process.pid, accelerated, names: [] })
      await member.start()
      made.serve({ residents: member.residents, metrics: member.metrics })
      if (entry.preload !== undefined) warnOfEmptyPreloads(options, member)
      void member.preload()
    },
    close: async () => {
      made.close()
      await member.close()
      removeRunFile(runFolder, entry.accelerated)
    },
  }
}

/** A prefix that was mistyped loads nothing; files may also come below it later. */
function warnOfEmptyPreloads({ entry, log }: MountOptions, member: Member): void {
  const names = member.caches.flatMap(cache => [...cache.slots()].map(slot => slot.file.path))
  for (const preload of emptyPreloads(entry.preload, names)) {
    const path = entry.accelerated
    log.warn({ path, preload }, 'preload: the source has no file below this yet')
  }
}
