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
 * A folder that the daemon may not read is left out, named once in the log, and so is what lies too
 * deep: the rest is served. A file that it may not read is listed; who opens it is told.
 *
 * A root that is on another file system than before, and empty, is taken for a mount that is away,
 * not for a source whose files were all deleted.
 *
 * Every call has a deadline: a network file system that hangs must not hang the cache. The thread
 * that hangs inside the kernel is lost until the kernel gives it back; that is why the daemon asks
 * for more of them (UV_THREADPOOL_SIZE), and why a path whose last call still hangs is not asked
 * again: retries would take thread after thread.
 */
import type { BigIntStats } from 'node:fs'
import { constants, promises as fs, realpathSync, statSync } from 'node:fs'
import path from 'node:path'
import type { Log } from '../observe/log.ts'
import {
  type Source,
  type SourceEntry,
  SourceError,
  type SourceHandle,
  type SourceStat,
} from './source.ts'

/** Milliseconds that one call to the source may take before it counts as stalled. */
const CALL_MS_MAX = 15_000

/**
 * Calls past their deadline that hold a thread; beyond it the source is not asked at all. Half of
 * the daemon's threads: the rest is for its own files and for other sources.
 */
const HANGING_MAX = 8

/** Entries of one source: beyond it the tree itself would not fit beside the files. */
export const ENTRIES_MAX = 1_000_000

/** Folders inside each other; deeper is a loop or an accident. */
const DEPTH_MAX = 64

/** Calls to the source at once while it is listed: a NAS answers each in a millisecond. */
const LIST_CALLS_MAX = 8

/** Paths that are left out and named in the log; thousands would say no more. */
const LEFT_OUT_MAX = 64

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
  if (code === 'EACCES' || code === 'EPERM') return new SourceError('denied', message)
  if (code === 'ENOENT' || code === 'ENOTDIR') return new SourceError('gone', message)
  return new SourceError('io', message)
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
  /** Where it is said what is left out. */
  readonly log?: Log
}

export class DirectorySource implements Source {
  readonly root: string
  readonly #roots: readonly string[]
  readonly #callMsMax: number
  /** The file system that the root was last seen on. */
  #device: bigint
  readonly #log: Log | null
  readonly #leftOut = new Set<string>()
  /** How many calls hang, by path. */
  readonly #hanging = new Map<string, number>()

  constructor(options: DirectorySourceOptions) {
    this.root = realpathSync(options.root)
    this.#roots = [this.root, ...(options.extraRoots ?? []).map(root => realpathSync(root))]
    this.#callMsMax = options.callMsMax ?? CALL_MS_MAX
    this.#log = options.log ?? null
    this.#device = statSync(this.root, { bigint: true }).dev
  }

  localPath(name: string): string {
    return path.join(this.root, this.#checked(name))
  }

  /** Settles with the call, or fails as stalled. */
  async #within<T>(name: string, start: () => Promise<T>): Promise<T> {
    const limitMs = this.#callMsMax
    if (this.#hanging.has(name) || this.#hanging.size >= HANGING_MAX) {
      throw new SourceError('stalled', `${name}: the source has not answered for ${limitMs} ms`)
    }
    const call = start()
    let timer: NodeJS.Timeout | undefined
    const limit = new Promise<never>((_, reject) => {
      const message = `${name}: no answer from the source for ${limitMs} ms`
      timer = setTimeout(() => {
        this.#hangs(name, call)
        reject(new SourceError('stalled', message))
      }, limitMs)
    })
    try {
      return await Promise.race([call, limit])
    } catch (error) {
      throw faultOf(error, name)
    } finally {
      clearTimeout(timer)
    }
  }

  #hangs(name: string, call: Promise<unknown>): void {
    this.#hanging.set(name, (this.#hanging.get(name) ?? 0) + 1)
    const isBack = (): void => {
      const left = (this.#hanging.get(name) ?? 0) - 1
      if (left > 0) this.#hanging.set(name, left)
      else this.#hanging.delete(name)
    }
    call.then(isBack, isBack)
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
      this.#within(name, () => fs.stat(full, { bigint: true })),
      this.#within(name, () => fs.realpath(full)),
    ])
    if (!this.#isAllowed(real)) {
      throw new SourceError('refused', `${name}: the link leads out of the source, to ${real}`)
    }
    if (name === '') await this.#checkMounted(stats.dev)
    const mode = modeOf(stats)
    if (stats.isDirectory()) return { path: name, kind: 'folder', mode, mtimeNs: stats.mtimeNs }
    if (stats.isFile()) return { path: name, kind: 'file', mode, ...statOf(stats) }
    throw new SourceError('refused', `${name}: neither a file nor a folder`)
  }

  async #checkMounted(device: bigint): Promise<void> {
    if (device === this.#device) return
    if ((await this.#within('', () => fs.readdir(this.root))).length === 0) {
      throw new SourceError('io', `${this.root} is empty and was a mount before: it is away`)
    }
    this.#device = device
  }

  async open(name: string): Promise<SourceHandle> {
    const full = this.localPath(name)
    // An open that comes back after its deadline must not keep its descriptor.
    let isLate = false
    const opening = async (): Promise<fs.FileHandle> => {
      const opened = await fs.open(full, READ_FLAGS)
      if (isLate) await opened.close()
      return opened
    }
    let file: fs.FileHandle
    try {
      file = await this.#within(name, opening)
    } catch (error) {
      isLate = true
      throw error
    }
    try {
      const real = await this.#within(name, () => fs.readlink(`/proc/self/fd/${file.fd}`))
      if (!this.#isAllowed(real)) {
        throw new SourceError('refused', `${name}: leads out of the source, to ${real}`)
      }
    } catch (error) {
      await file.close()
      throw error
    }
    return {
      fd: file.fd,
      stat: async () => statOf(await this.#within(name, () => file.stat({ bigint: true }))),
      close: () => file.close(),
    }
  }

  async list(folder: string): Promise<readonly SourceEntry[]> {
    const top = await this.stat(folder)
    if (top.kind !== 'folder') throw new SourceError('gone', `${folder} is no folder`)
    const found: SourceEntry[] = [top]
    const closed = new Set<string>()
    const real = await this.#within(folder, () => fs.realpath(this.localPath(folder)))
    let level: Place[] = [{ path: folder, reals: realsTo(this.root, real) }]
    for (let depth = 0; level.length > 0; depth += 1) {
      const next: Place[] = []
      for (const place of level) {
        const children = depth < DEPTH_MAX ? await this.#children(place) : null
        if (depth === DEPTH_MAX) this.#leaveOut(place.path, `lies in ${DEPTH_MAX} folders`)
        if (children === null) closed.add(place.path)
        for (const { entry, inside } of children ?? []) {
          found.push(entry)
          if (inside !== null) next.push(inside)
        }
        if (found.length > ENTRIES_MAX) {
          throw new SourceError('io', `${this.root} has more than ${ENTRIES_MAX} entries`)
        }
      }
      level = next
    }
    return closed.size === 0 ? found : found.filter(entry => !closed.has(entry.path))
  }

  /** Says once what is not served although it is there. */
  #leaveOut(name: string, why: string): void {
    if (this.#leftOut.has(name) || this.#leftOut.size >= LEFT_OUT_MAX) return
    this.#leftOut.add(name)
    this.#log?.warn({ path: path.join(this.root, name), reason: why }, 'left out of the source')
  }

  /** Names of a folder; null for one that may not be read. */
  async #names(folder: string): Promise<string[] | null> {
    try {
      const full = path.join(this.root, folder)
      return (await this.#within(folder, () => fs.readdir(full))).toSorted()
    } catch (error) {
      const fault = faultOf(error, folder)
      if (fault.fault !== 'denied' || folder === '') throw fault
      this.#leaveOut(folder, fault.message)
      return null
    }
  }

  async #children(place: Place): Promise<Child[] | null> {
    const names = await this.#names(place.path)
    if (names === null) return null
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
      const link = await this.#within(below, () => fs.lstat(full, { bigint: true }))
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
      const real = await this.#within(below, () => fs.realpath(full))
      // The target is a folder that we are in already: following it would never end.
      if (place.reals.includes(real)) return null
      return { entry, inside: { path: below, reals: [...place.reals, real] } }
    } catch (error) {
      const fault = faultOf(error, below)
      if (fault.fault === 'denied') this.#leaveOut(below, fault.message)
      else if (fault.fault !== 'gone' && fault.fault !== 'refused') throw fault
      return null
    }
  }
}
