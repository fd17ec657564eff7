/**
 * The accelerated path: a FUSE session that native threads answer, see
 * native/model_cache/session.h.
 *
 *     handOver() --> openMount() --> swapTree(entries) --> publish what is there --> serve()
 *     onOpenWanted(file) --> hydrate --> publish | bypass | fail
 *     onCheckWanted(file) --> look at the source --> swapTree if it changed --> confirm
 *
 * A **file id** stands for one generation of one path (or one folder) for as long as this daemon
 * lives: the same (path, generation) keeps its id over swaps. Across a restart of the daemon the
 * hand-over table keeps what the kernel knows of it, so that after the same `swapTree` and
 * `publish` readers notice nothing.
 *
 * OPEN of an absent file is held until publish, bypass or fail. LOOKUP and OPEN of what was last
 * confirmed more than `revalidateMs` ago are held until `confirm`, at most two seconds; then the
 * old answer is given. Everything else is answered natively at once. JavaScript of the daemon
 * must never touch the accelerated path itself: it would wait for itself.
 */
import { writeFileSync } from 'node:fs'
import os from 'node:os'
import {
  checkBytes,
  checkDescriptor,
  checked,
  EVENT_CHECK_WANTED,
  EVENT_MOUNT_ENDED,
  EVENT_OPEN_WANTED,
  listen,
  modelCacheAddon,
  nativeError,
} from './model_cache_addon.ts'

interface MountAddon {
  probeFuse(out: Int32Array): void
  mountOpen(
    fuse: number,
    store: number,
    wantsPassthrough: boolean,
    revalidateMs: number,
    openMsMax: number,
    out: Int32Array,
  ): number
  mountServe(mount: number, threads: number): void
  mountTree(
    mount: number,
    numbers: Float64Array,
    texts: readonly string[],
    out: Float64Array,
  ): number
  mountPublish(mount: number, file: number, fd: number): number
  mountBypass(mount: number, file: number, fd: number): number
  mountFail(mount: number, file: number, errno: number): void
  mountConfirm(mount: number, file: number): void
  mountExtend(mount: number, file: number): void
  mountEvict(mount: number, file: number, isForced: boolean): number
  mountUse(mount: number, file: number, out: Float64Array): boolean
  mountUsage(mount: number, capacityBytes: number, usedBytes: number): void
  mountCounts(mount: number, out: Float64Array): void
  mountMarkReady(mount: number): void
}

// Decode boundary: the addon's exports are declared here and in no other place.
const native = (): MountAddon => modelCacheAddon() as MountAddon

/** How files are served over FUSE. */
export type FrontMode = 'passthrough' | 'copy'

export interface FuseProbe {
  /** 'tmpfs': nothing can be mounted here. */
  readonly mode: FrontMode | 'tmpfs'
  /** In words, for the log, with the remedy where there is one. */
  readonly reason: string
}

export interface HandOver {
  readonly supervisorPid: number
  /** 0 in the first life of the daemon. */
  readonly restarts: number
  /** In the order of the supervisor's --mount. */
  readonly mounts: readonly HandedMount[]
}

export interface HandedMount {
  readonly fuseFd: number
  /** Root of the store's tmpfs (O_PATH): reach files by `/proc/self/fd/N/name`. */
  readonly storeFd: number
  /** `major:minor` of the mount. */
  readonly device: string
  /** What the store may hold after a daemon was killed for want of memory; null: its capacity. */
  readonly storeBytesMax: number | null
}

export interface TreeEntry {
  /** Index of the parent folder, below the entry's own; entry 0 is the root. */
  readonly parent: number
  /** One path component; '' for the root. */
  readonly name: string
  readonly isDirectory: boolean
  /** Permission bits of the source; what may be written is taken out. */
  readonly mode: number
  readonly size: number
  readonly mtimeSeconds: number
  readonly mtimeNanoseconds: number
  /** What tells two versions of a path apart; any text, '' for folders. */
  readonly generation: string
}

export interface MountOptions {
  readonly handed: HandedMount
  /** What may be used; passthrough turns into copy where the kernel refuses it (`facts`). */
  readonly mode: FrontMode
  readonly revalidateMs: number
  /** An open that waits longer since it came, or since `extend`, gets EIO. */
  readonly openMsMax: number
  /** An OPEN waits for this file. Once, however many wait, until it is answered. */
  readonly onOpenWanted: (file: number) => void
  /** Look at the source of this file or folder, swap the tree if it changed, then `confirm`. */
  readonly onCheckWanted: (file: number) => void
  /** The path was unmounted (0), or the connection failed (negative errno). */
  readonly onEnded: (error: number) => void
}

export interface MountFacts {
  readonly mode: FrontMode
  readonly reason: string
  /** An earlier daemon's session was taken over. */
  readonly isTakenOver: boolean
}

export interface FileUse {
  /** Opens that were answered and not yet released. */
  readonly opens: number
  /** Opens in this daemon's life. */
  readonly opensTotal: number
  /** Of these the ones that were held until the bytes were here. */
  readonly waitsTotal: number
  /** Milliseconds since the epoch of the last open or release; 0: never. */
  readonly usedAtMs: number
  /** The inode number that applications see. */
  readonly node: number
  /** Opens are held until its bytes are here. */
  readonly isAwaited: boolean
}

export interface MountCounts {
  readonly requests: number
  /** Requests that wait now, and all that ever did. */
  readonly held: number
  readonly heldTotal: number
  /** Bytes of READs in copy mode or of bypassed files. */
  readonly bytesCopied: number
  /** Checks that `confirm` came too late for: the old answer was given. */
  readonly checksLate: number
}

/**
 * FUSE threads of a mount. Where the kernel reads by itself one is best: it waits awake for the
 * next request of a burst (session.cc), while two take turns in sleeping. Where bytes are copied, a
 * second one lets an open pass meanwhile.
 */
const THREADS: Readonly<Record<FrontMode, number>> = { passthrough: 1, copy: 2 }
const ENTRY_NUMBERS = 6
/** Kilobytes that the kernel reads ahead in copy mode: READs of a megabyte, several on the way. */
const READ_AHEAD_KB = 4096

const REFUSED = 'the kernel refuses passthrough'

function refusal(error: number): string {
  if (error === -os.constants.errno.EOPNOTSUPP) {
    return 'the kernel offers no passthrough (Linux 6.9 or newer with FUSE_PASSTHROUGH has it)'
  }
  const { code = '' } = nativeError(error, '')
  const remedy = code === 'EPERM' ? ': CAP_SYS_ADMIN outside of user namespaces is needed' : ''
  return `${REFUSED} (${code}${remedy})`
}

/** Tries which mode this machine allows, by a mount that is attached nowhere. */
export function probeFuse(): FuseProbe {
  const out = new Int32Array(2)
  native().probeFuse(out)
  const [mountError = 0, passthroughError = 0] = out
  if (mountError < 0) {
    const { code = '' } = nativeError(mountError, '')
    const isMissing = code === 'ENOENT' || code === 'ENXIO' || code === 'ENODEV'
    const what = isMissing ? '/dev/fuse is missing' : `FUSE cannot be mounted (${code})`
    return { mode: 'tmpfs', reason: `${what}; /dev/fuse and CAP_SYS_ADMIN are needed` }
  }
  if (passthroughError < 0) return { mode: 'copy', reason: refusal(passthroughError) }
  return { mode: 'passthrough', reason: 'the kernel serves resident files itself' }
}

/** What the supervisor handed over, or null without one. */
export function handOver(): HandOver | null {
  const [pid = '', restarts = '', ...mounts] = (process.env.WARMPATH_HAND_OVER ?? '').split(' ')
  if (mounts.length === 0) return null
  return {
    supervisorPid: Number(pid),
    restarts: Number(restarts),
    mounts: mounts.map(text => {
      const [fuse = '', store = '', device = '', bytes] = text.split(',')
      const storeBytesMax = bytes === undefined ? null : Number(bytes)
      return { fuseFd: Number(fuse), storeFd: Number(store), device, storeBytesMax }
    }),
  }
}

function widenReadAhead(device: string): void {
  try {
    writeFileSync(`/sys/class/bdi/${device}/read_ahead_kb`, String(READ_AHEAD_KB))
  } catch {
    // Slower, and all that can be done without the right to write there.
  }
}

const REASONS: readonly string[] = [
  'as the daemon before',
  'the kernel serves resident files itself',
  'as configured',
  'the kernel offers no passthrough (Linux 6.9 or newer with FUSE_PASSTHROUGH has it)',
  REFUSED,
]

const REASON_REFUSED = 4

export class ModelMount {
  readonly facts: MountFacts
  readonly #id: number
  readonly #native = native()

  private constructor(id: number, facts: MountFacts) {
    this.#id = id
    this.facts = facts
  }

  /** Answers INIT or takes over; nothing else is answered before `serve`. */
  static open(options: MountOptions): ModelMount {
    const { fuseFd, storeFd, device } = options.handed
    checkDescriptor(fuseFd, 'fuseFd')
    checkDescriptor(storeFd, 'storeFd')
    checkBytes(options.revalidateMs, 'revalidateMs')
    checkBytes(options.openMsMax, 'openMsMax')
    const out = new Int32Array(4)
    const id = native().mountOpen(
      fuseFd,
      storeFd,
      options.mode === 'passthrough',
      options.revalidateMs,
      options.openMsMax,
      out,
    )
    checked(id, 'opening the FUSE session')
    const [isPassthrough = 0, isTakenOver = 0, reason = 0, error = 0] = out
    const mode = isPassthrough === 1 ? 'passthrough' : 'copy'
    if (mode === 'copy') widenReadAhead(device)
    listen(EVENT_OPEN_WANTED, id, event => options.onOpenWanted(event.a))
    listen(EVENT_CHECK_WANTED, id, event => options.onCheckWanted(event.a))
    listen(EVENT_MOUNT_ENDED, id, event => options.onEnded(event.error))
    const words = reason === REASON_REFUSED ? refusal(error) : (REASONS[reason] ?? '')
    return new ModelMount(id, { mode, reason: words, isTakenOver: isTakenOver === 1 })
  }

  /** Answers from now on, first what was waiting. */
  serve(): void {
    this.#native.mountServe(this.#id, THREADS[this.facts.mode])
  }

  /** Replaces the whole tree; returns the file id of each entry, in order. */
  swapTree(entries: readonly TreeEntry[]): Float64Array {
    if (entries[0]?.isDirectory !== true) throw new TypeError('entry 0 must be the root folder')
    const numbers = new Float64Array(entries.length * ENTRY_NUMBERS)
    const texts: string[] = []
    for (const [index, entry] of entries.entries()) {
      if (index > 0) checkEntry(entry, index)
      const { parent, isDirectory, mode, size, mtimeSeconds, mtimeNanoseconds } = entry
      const row = [parent, Number(isDirectory), mode, size, mtimeSeconds, mtimeNanoseconds]
      numbers.set(row, index * ENTRY_NUMBERS)
      texts.push(entry.name, entry.generation)
    }
    const files = new Float64Array(entries.length)
    checked(this.#native.mountTree(this.#id, numbers, texts, files), 'swapping the tree')
    return files
  }

  /** Every byte is there, verified and sealed: answers the held opens. Takes over `readFd`. */
  publish(file: number, readFd: number): void {
    checkDescriptor(readFd, 'readFd')
    checked(this.#native.mountPublish(this.#id, file, readFd), 'publishing a file')
  }

  /** Serves reads from the source's own file. Takes over `sourceFd`. */
  bypass(file: number, sourceFd: number): void {
    checkDescriptor(sourceFd, 'sourceFd')
    checked(this.#native.mountBypass(this.#id, file, sourceFd), 'bypassing a file')
  }

  /** Answers the held opens with the errno of this name; later opens ask again. */
  fail(file: number, code: string): void {
    const errno = new Map(Object.entries(os.constants.errno)).get(code)
    if (errno === undefined) throw new TypeError(`${code} is no name of an errno`)
    this.#native.mountFail(this.#id, file, errno)
  }

  /** The source of this file or folder was looked at just now. */
  confirm(file: number): void {
    this.#native.mountConfirm(this.#id, file)
  }

  /** More of the file has come: its held opens wait as long as from now. */
  extend(file: number): void {
    this.#native.mountExtend(this.#id, file)
  }

  /**
   * Ends a resident or bypassed file: 'busy' when somebody has it open or mapped, unless
   * `isForced` (its generation is gone; readers keep their bytes). After 'evicted' the store
   * file may be unlinked; its descriptor and its registration are closed.
   */
  evict(file: number, isForced: boolean): 'evicted' | 'busy' {
    const result = this.#native.mountEvict(this.#id, file, isForced)
    return checked(result, 'evicting a file') === 1 ? 'evicted' : 'busy'
  }

  use(file: number): FileUse {
    const out = new Float64Array(6)
    if (!this.#native.mountUse(this.#id, file, out)) throw new TypeError(`no file has id ${file}`)
    const [opens = 0, opensTotal = 0, usedAtMs = 0, node = 0, isAwaited = 0, waitsTotal = 0] = out
    return { opens, opensTotal, waitsTotal, usedAtMs, node, isAwaited: isAwaited === 1 }
  }

  /** What `df` shows. */
  setUsage(capacityBytes: number, usedBytes: number): void {
    checkBytes(capacityBytes, 'capacityBytes')
    checkBytes(usedBytes, 'usedBytes')
    this.#native.mountUsage(this.#id, capacityBytes, usedBytes)
  }

  counts(): MountCounts {
    const out = new Float64Array(5)
    this.#native.mountCounts(this.#id, out)
    const [requests = 0, held = 0, heldTotal = 0, bytesCopied = 0, checksLate = 0] = out
    return { requests, held, heldTotal, bytesCopied, checksLate }
  }

  /** Tells the supervisor that a crash from now on is worth a restart. */
  markReady(): void {
    this.#native.mountMarkReady(this.#id)
  }
}

function checkEntry({ parent, name, size }: TreeEntry, index: number): void {
  if (!(Number.isInteger(parent) && parent >= 0 && parent < index)) {
    throw new TypeError(`the parent of entry ${index} must come before it, got ${parent}`)
  }
  if (!/^[^/\0]+$/.test(name) || name === '.' || name === '..') {
    throw new TypeError(`entry ${index} needs a name of one component, got ${JSON.stringify(name)}`)
  }
  checkBytes(size, `size of ${name}`)
}
