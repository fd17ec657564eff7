/**
 * Whether an accelerated path can be taken, looked at before anything is mounted or written: a
 * second mount on one path would stack silently, and a plain folder with other people's files must
 * not be tidied up by us.
 *
 * A path that is a mount of ours whose daemon has died is fine: it is detached by the supervisor.
 * Such a path must not be touched with stat, which may hang or answer from a cache, so mountinfo is
 * read first.
 */
import { readdirSync, readFileSync, realpathSync, statfsSync, statSync } from 'node:fs'
import path from 'node:path'
import { overlapFault } from './config.ts'
import { HIDDEN } from './folder_front.ts'

/** Type that our mounts have in mountinfo. */
const OWN_TYPE = 'fuse.warmpath'

/** `statfs` type of a tmpfs. */
const TMPFS_MAGIC = 0x01021994

export interface MountFact {
  readonly path: string
  readonly type: string
}

/** Mounts of this namespace; octal escapes of mountinfo undone. */
export function mountFacts(text: string): MountFact[] {
  return text.split('\n').flatMap(line => {
    const [left = '', right = ''] = line.split(' - ')
    const at = left.split(' ')[4]
    const [type] = right.split(' ')
    if (at === undefined || type === undefined) return []
    const plain = at.replaceAll(/\\([0-7]{3})/g, (_, octal: string) =>
      String.fromCharCode(Number.parseInt(octal, 8)),
    )
    return [{ path: plain, type }]
  })
}

function mountOn(accelerated: string): MountFact | null {
  try {
    const facts = mountFacts(readFileSync('/proc/self/mountinfo', 'utf8'))
    return facts.findLast(fact => fact.path === accelerated) ?? null
  } catch {
    return null
  }
}

/** The path with its folders resolved, without touching what is mounted on it. */
export function resolvedPath(accelerated: string): string {
  const { dir, base } = path.parse(accelerated)
  try {
    const parent = path.join(realpathSync(dir), base)
    return mountOn(parent)?.type === OWN_TYPE ? parent : realpathSync(parent)
  } catch {
    return accelerated
  }
}

/**
 * What is left of a path below an accelerated path, whatever links either was named by; null where
 * it lies elsewhere. Goes down to the mount and no further, since behind it nobody may answer.
 */
export function pathBelow(accelerated: string, wanted: string): string | null {
  const place = resolvedPath(accelerated)
  const parts = wanted.split('/')
  for (let count = 2; count <= parts.length; count += 1) {
    const outer = parts.slice(0, count).join('/')
    if (outer === accelerated || resolvedPath(outer) === place) {
      return parts.slice(count).join('/')
    }
  }
  return null
}

export type MountPointState =
  | { readonly kind: 'free' }
  /** A mount of ours is there: alive or dead, the control socket tells. */
  | { readonly kind: 'own_mount' }
  | { readonly kind: 'fault'; readonly message: string }

function fault(message: string): MountPointState {
  return { kind: 'fault', message }
}

/** Looks at source and accelerated path; `leftovers` are names that a killed run put there. */
export function inspectMountPoint(
  source: string,
  accelerated: string,
  isFolderMode: boolean,
  leftovers: readonly string[],
): MountPointState {
  let realSource: string
  try {
    realSource = realpathSync(source)
    if (!statSync(realSource).isDirectory()) return fault(`the source ${source} is no folder`)
  } catch {
    return fault(`the source ${source} does not exist or cannot be read`)
  }
  const place = resolvedPath(accelerated)
  const overlap = overlapFault(realSource, place)
  if (overlap !== null) return fault(overlap)
  const mounted = mountOn(place)
  if (mounted?.type === OWN_TYPE) return { kind: 'own_mount' }
  if (mounted !== null && !isFolderMode) {
    return fault(
      `${accelerated} is a mount of ${mounted.type} already: unmount it, or choose another`,
    )
  }
  try {
    if (!statSync(place).isDirectory()) {
      return fault(`the accelerated path ${accelerated} is a file: give an empty folder`)
    }
    const own = new Set([HIDDEN, ...leftovers.map(name => name.split('/')[0])])
    const foreign = readdirSync(place).filter(name => !own.has(name))
    if (foreign.length === 0) return { kind: 'free' }
    const shown = foreign.slice(0, 3).join(', ')
    return fault(
      `the accelerated path ${accelerated} is not empty (${shown}): give an empty folder`,
    )
  } catch {
    return fault(`the accelerated path ${accelerated} does not exist: make the folder first`)
  }
}

/** Whether files written there lie in memory. */
export function isMemory(folder: string): boolean {
  return statfsSync(folder).type === TMPFS_MAGIC
}
