/**
 * A directory as the source: local, or OSS or NAS that somebody else has mounted.
 *
 *   root/model/a.safetensors          a regular file
 *   root/model/b.safetensors ─► ../blobs/1234      a link: shown as the regular file it leads to,
 *                                                  when that lies below root or an extra root
 *   root/model/out ─► /etc            leads out: not listed, opening is refused
 *
 * A link is resolved by the kernel at open, so it is checked after the open: what the descriptor
 * really is, by /proc/self/fd, must lie below an allowed root. A link that is swapped between a
 * check and an open therefore gains nothing. Sockets, devices and pipes are not listed, and opens
 * are non-blocking, so a pipe that appears later cannot hang a thread.
 *
 * Every call has a deadline: a network file system that hangs must not hang the cache. The thread
 * that hangs inside the kernel is lost until the kernel gives it back; that is why the daemon asks
 * for more of them (UV_THREADPOOL_SIZE).
 */
import type { BigIntStats } from 'node:fs'
import { constants, promises as fs, realpathSync } from 'node:fs'
import path from 'node:path'
import {
  type Source,
  type SourceEntry,
  SourceError,
  type SourceHandle,
  type SourceStat,
} from './source.ts'

/** Milliseconds that one call to the source may take before it counts as stalled. */
const CALL_MS_MAX = 15_000

/** Entries of one source: beyond it the tree itself would not fit beside the files. */
export const ENTRIES_MAX = 1_000_000

/** Folders inside each other; deeper is a loop or an accident. */
const DEPTH_MAX = 64

/** Calls to the source at once while it is listed: a NAS answers each in a millisecond. */
const LIST_CALLS_MAX = 8

const READ_FLAGS = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY

/** The permission bits of a mode. */
const PERMISSIONS = 0o7777n

function modeOf(stats: BigIntStats): number {
  return Number(stats.mode & PERMISSIONS)
}

function statOf(stats: BigIntStats): SourceStat {
  return {
    size: Number(stats.size),
    mtimeNs: stats.mtimeNs,
    inode: stats.ino,
    ctimeNs: stats.ctimeNs,
  }
}

function faultOf(error: unknown, name: string): SourceError {
  if (error instanceof SourceError) return error
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  const message = `${name}: ${error instanceof Error ? error.message : String(error)}`
  // ELOOP: a loop of links leads nowhere, so it can never be served.
  if (code === 'ELOOP') return new SourceError('refused', message)
  if (code === 'ENOENT' || code === 'ENOTDIR') return new SourceError('gone', message)
  return new SourceError('io', message)
}

/** Settles with the call, or fails as stalled. */
async function within<T>(name: string, limitMs: number, call: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const limit = new Promise<never>((_, reject) => {
    const message = `${name}: no answer from the source for ${limitMs} ms`
    timer = setTimeout(() => reject(new SourceError('stalled', message)), limitMs)
  })
  try {
    return await Promise.race([call, limit])
  } catch (error) {
    throw faultOf(error, name)
  } finally {
    clearTimeout(timer)
  }
}

/** A folder on the way down, and the real folders that lead to it. */
interface Place {
  readonly path: string
  readonly reals: readonly string[]
}

interface Child {
  readonly entry: SourceEntry
  readonly inside: Place | null
}

/** A real folder and those around it, up to the root. */
function realsTo(root: string, real: string): string[] {
  const reals = [real]
  for (let at = real; at !== root && at !== path.dirname(at); at = path.dirname(at)) {
    reals.unshift(path.dirname(at))
  }
  return reals
}

export interface DirectorySourceOptions {
  readonly root: string
  /** Further folders that links may lead to, such as the blobs of a Hugging Face cache. */
  readonly extraRoots?: readonly string[]
  readonly callMsMax?: number
}

export class DirectorySource implements Source {
  readonly root: string
  readonly #roots: readonly string[]
  readonly #callMsMax: number

  constructor(options: DirectorySourceOptions) {
    this.root = realpathSync(options.root)
    this.#roots = [this.root, ...(options.extraRoots ?? []).map(root => realpathSync(root))]
    this.#callMsMax = options.callMsMax ?? CALL_MS_MAX
  }

  localPath(name: string): string {
    return path.join(this.root, this.#checked(name))
  }

  #within<T>(name: string, call: Promise<T>): Promise<T> {
    return within(name, this.#callMsMax, call)
  }

  /** The name when it can only mean a place below the root. */
  #checked(name: string): string {
    const isBad =
      name.includes('\0') || path.isAbsolute(name) || name.split('/').some(part => part === '..')
    if (isBad) throw new SourceError('refused', `${JSON.stringify(name)} leads out of the source`)
    return name
  }

  #isAllowed(real: string): boolean {
    return this.#roots.some(root => real === root || real.startsWith(`${root}/`))
  }

  async stat(name: string): Promise<SourceEntry> {
    const full = this.localPath(name)
    const [stats, real] = await Promise.all([
      this.#within(name, fs.stat(full, { bigint: true })),
      this.#within(name, fs.realpath(full)),
    ])
    if (!this.#isAllowed(real)) {
      throw new SourceError('refused', `${name}: the link leads out of the source, to ${real}`)
    }
    const mode = modeOf(stats)
    if (stats.isDirectory()) return { path: name, kind: 'folder', mode, mtimeNs: stats.mtimeNs }
    if (stats.isFile()) return { path: name, kind: 'file', mode, ...statOf(stats) }
    throw new SourceError('refused', `${name}: neither a file nor a folder`)
  }

  async open(name: string): Promise<SourceHandle> {
    const full = this.localPath(name)
    const opening = fs.open(full, READ_FLAGS)
    // An open that comes back after its deadline must not keep its descriptor.
    let isLate = false
    opening.then(
      file => (isLate ? file.close() : undefined),
      () => {},
    )
    let file: fs.FileHandle
    try {
      file = await this.#within(name, opening)
    } catch (error) {
      isLate = true
      throw error
    }
    try {
      const real = await this.#within(name, fs.readlink(`/proc/self/fd/${file.fd}`))
      if (!this.#isAllowed(real)) {
        throw new SourceError('refused', `${name}: leads out of the source, to ${real}`)
      }
    } catch (error) {
      await file.close()
      throw error
    }
    return {
      fd: file.fd,
      stat: async () => statOf(await this.#within(name, file.stat({ bigint: true }))),
      close: () => file.close(),
    }
  }

  async list(folder: string): Promise<readonly SourceEntry[]> {
    const top = await this.stat(folder)
    if (top.kind !== 'folder') throw new SourceError('gone', `${folder} is no folder`)
    const found: SourceEntry[] = [top]
    const real = await this.#within(folder, fs.realpath(this.localPath(folder)))
    let level: Place[] = [{ path: folder, reals: realsTo(this.root, real) }]
    for (let depth = 0; level.length > 0 && depth < DEPTH_MAX; depth += 1) {
      const next: Place[] = []
      for (const place of level) {
        for (const { entry, inside } of await this.#children(place)) {
          found.push(entry)
          if (inside !== null) next.push(inside)
        }
        if (found.length > ENTRIES_MAX) {
          throw new SourceError('io', `${this.root} has more than ${ENTRIES_MAX} entries`)
        }
      }
      level = next
    }
    return found
  }

  async #children(place: Place): Promise<Child[]> {
    const full = path.join(this.root, place.path)
    const names = (await this.#within(place.path, fs.readdir(full))).toSorted()
    const children: (Child | null)[] = names.map(() => null)
    let next = 0
    const work = async (): Promise<void> => {
      while (next < names.length) {
        const at = next
        next += 1
        children[at] = await this.#child(place, names[at]!)
      }
    }
    await Promise.all(Array.from({ length: LIST_CALLS_MAX }, work))
    return children.filter(child => child !== null)
  }

  /** What a name in a listing is; null for what is not served (links out, devices, just gone). */
  async #child(place: Place, name: string): Promise<Child | null> {
    const below = place.path === '' ? name : `${place.path}/${name}`
    const full = path.join(this.root, below)
    try {
      const link = await this.#within(below, fs.lstat(full, { bigint: true }))
      if (link.isFile()) {
        const entry = { path: below, kind: 'file', mode: modeOf(link), ...statOf(link) } as const
        return { entry, inside: null }
      }
      if (link.isDirectory()) {
        const reals = [...place.reals, `${place.reals.at(-1)}/${name}`]
        const mode = modeOf(link)
        const entry = { path: below, kind: 'folder', mode, mtimeNs: link.mtimeNs } as const
        return { entry, inside: { path: below, reals } }
      }
      if (!link.isSymbolicLink()) return null
      const entry = await this.stat(below)
      if (entry.kind === 'file') return { entry, inside: null }
      const real = await this.#within(below, fs.realpath(full))
      // The target is a folder that we are in already: following it would never end.
      if (place.reals.includes(real)) return null
      return { entry, inside: { path: below, reals: [...place.reals, real] } }
    } catch (error) {
      const fault = faultOf(error, below)
      if (fault.fault === 'gone' || fault.fault === 'refused') return null
      throw fault
    }
  }
}
