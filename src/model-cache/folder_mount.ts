/**
 * `--mode tmpfs` for one entry: the folder, the member behind it, and the record of what was put
 * there. Everything is loaded at start, since nobody can be waited for in a plain folder.
 */
import { DirectorySource } from './directory_source.ts'
import { clearLeftovers, FolderFront } from './folder_front.ts'
import { type Mount, type MountOptions, memberOf } from './mount.ts'
import { isMemory } from './mount_point.ts'
import { readRunFile, removeRunFile, writeRunFile } from './run_file.ts'
import { folderStore } from './store.ts'

/** Milliseconds between two looks at the source at least, whatever was configured. */
const SCAN_MS_MIN = 250

export function folderMount(options: MountOptions): Mount {
  const { entry, runFolder, log } = options
  const { accelerated } = entry
  const left = readRunFile(runFolder, accelerated)?.names ?? []
  clearLeftovers(accelerated, left)
  if (!isMemory(accelerated)) {
    log.warn(
      { path: accelerated },
      'the accelerated path lies on no tmpfs: reads are not from memory',
    )
  }
  if (entry.pin_generation) {
    const why = 'nobody can tell when a file of a plain folder is opened'
    log.warn({ path: accelerated, reason: why }, 'pin_generation has no effect in tmpfs mode')
  }
  const source = new DirectorySource({ root: entry.path, extraRoots: entry.extra_roots, log })
  const front = new FolderFront(accelerated, source)
  const member = memberOf(options, {
    source,
    store: folderStore(front.hidden),
    restarts: 0,
    makeFront: () => front,
    isPreloaded: () => true,
    // Nobody tells when a file is looked up, so the whole source is compared that often.
    scanMs: Math.max(SCAN_MS_MIN, Math.min(entry.scan, entry.revalidate)),
  })
  const record = (): void => {
    const names = [...member.caches].flatMap(cache =>
      [...cache.slots()].map(slot => slot.file.path),
    )
    writeRunFile(runFolder, { pid: process.pid, accelerated, names })
  }
  return {
    member,
    mode: front.mode,
    reason: options.reason,
    start: async () => {
      writeRunFile(runFolder, { pid: process.pid, accelerated, names: left })
      await member.start()
      record()
      member.onTree = record
      await member.preload()
    },
    close: async () => {
      await member.close()
      front.clear()
      removeRunFile(runFolder, accelerated)
    },
  }
}
