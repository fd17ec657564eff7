/**
 * Where resident bytes lie: a folder on a file system of memory, one file a generation of a model
 * file. Two kinds: the private tmpfs of the native addon (huge pages, immutable files, no path
 * that others could reach), and a plain folder (`--mode tmpfs`, and hosts without the privilege).
 *
 *   create ──► write chunks ──► seal ──► read-only descriptor ──► publish … unlink
 *
 * A file has its full size from the first moment: tmpfs gives huge pages to a file whose size is
 * known (measured: none at all to one that grows by appending).
 */
import {
  chmodSync,
  closeSync,
  constants,
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import path from 'node:path'
import {
  createStoreFile,
  hugeBytesOf,
  sealStoreFile,
  unlinkStoreFile,
} from '../native/model_chunks.ts'

/** What `st_blocks` counts in. */
const BLOCK_BYTES = 512

/**
 * Bytes of a shared file system that files leave free: symbolic links to the source that are longer
 * than an inode holds, and folders, take a page each there.
 */
const SLACK_BYTES = 1024 * 1024

/** How the names of notes end. */
export const NOTE_SUFFIX = '.meta'

/** The native side's table of what the kernel was told, in every store of a FUSE mount. */
const HAND_OVER_NAME = '.hand_over'

/** The store cannot take bytes; another source of them would not help. */
export class StoreError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'StoreError'
  }
}

export interface Store {
  readonly kind: 'private' | 'folder'
  /** A path by which this process reaches the folder; sidecars lie beside the files. */
  readonly folder: string
  /** A writable descriptor of a new file of that size; throws where it cannot be held. */
  create(name: string, size: number): number
  /** Bytes that the file system has left; null: it was made as large as the capacity. */
  freeBytes(): number | null
  /** Nothing can be written any more but through open descriptors; gives a read-only one. */
  seal(name: string): number
  unlink(name: string): void
  /** Some bytes beside a file, or null to take them away. */
  note(name: string, bytes: Buffer | null): void
  /** Writes over a part of a note; one that is not there is left so. */
  noteAt(name: string, offset: number, bytes: Buffer): void
  /** Bytes of a sealed file in huge pages; null where nobody can tell. */
  hugeBytes(fd: number): number | null
  /** Bytes that the file system counts as used, with those that only readers hold; null: shared. */
  usedBytes(): number | null
}

/**
 * A folder of a file system that others write to as well. Its room is asked for and not taken in
 * advance: in small pages, fallocate would hold JavaScript for a quarter of a second a gigabyte.
 * So a write may still find it full, which is no fault of the source (StoreError).
 */
export function folderStore(folder: string): Store {
  const at = (name: string): string => path.join(folder, name)
  const freeBytes = (): number => {
    const { bavail, bsize } = statfsSync(existsSync(folder) ? folder : path.dirname(folder))
    return Math.max(0, bavail * bsize - SLACK_BYTES)
  }
  return {
    kind: 'folder',
    folder,
    freeBytes,
    create: (name, size) => {
      // The folder is there only while something is being filled.
      mkdirSync(folder, { recursive: true, mode: 0o700 })
      if (size > freeBytes()) throw new StoreError(`${folder} has no room for ${size} bytes`)
      const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW
      const fd = openSync(at(name), flags, 0o600)
      ftruncateSync(fd, size)
      return fd
    },
    seal: name => {
      chmodSync(at(name), 0o444)
      return openSync(at(name), constants.O_RDONLY | constants.O_NOFOLLOW)
    },
    unlink: name => rmSync(at(name), { force: true }),
    // A plain folder is not taken over by the next daemon: its files have left it by rename.
    note: () => {},
    noteAt: () => {},
    hugeBytes: () => null,
    usedBytes: () => null,
  }
}

/** The tmpfs without a path that `folderFd` is the root of. */
export function privateStore(folderFd: number): Store {
  const folder = `/proc/self/fd/${folderFd}/`
  const used = (): number => {
    const { blocks, bfree, bsize } = statfsSync(folder)
    return (blocks - bfree) * bsize
  }
  // Pages of notes and of the native side's table are no files' pages.
  const noteBytes = new Map<string, number>()
  let ownBytes = 0
  const blocksOf = (name: string): number => {
    const { blocks = 0 } = statSync(folder + name, { throwIfNoEntry: false }) ?? {}
    return blocks * BLOCK_BYTES
  }
  for (const name of readdirSync(folder)) {
    if (!name.endsWith(NOTE_SUFFIX)) continue
    noteBytes.set(name, blocksOf(name))
    ownBytes += blocksOf(name)
  }
  return {
    kind: 'private',
    folder,
    create: (name, size) => createStoreFile(folderFd, name, size),
    freeBytes: () => null,
    seal: name => sealStoreFile(folderFd, name),
    unlink: name => unlinkStoreFile(folderFd, name),
    note: (name, bytes) => {
      ownBytes -= noteBytes.get(name) ?? 0
      noteBytes.delete(name)
      if (bytes === null) {
        rmSync(folder + name, { force: true })
        return
      }
      writeFileSync(folder + name, bytes)
      noteBytes.set(name, blocksOf(name))
      ownBytes += blocksOf(name)
    },
    noteAt: (name, offset, bytes) => {
      if (!noteBytes.has(name)) return
      const fd = openSync(folder + name, constants.O_WRONLY | constants.O_NOFOLLOW)
      try {
        writeSync(fd, bytes, 0, bytes.length, offset)
      } finally {
        closeSync(fd)
      }
    },
    hugeBytes: fd => {
      try {
        return hugeBytesOf(fd)
      } catch {
        // A figure for a metric: no reason to fail.
        return null
      }
    },
    usedBytes: () => Math.max(0, used() - ownBytes - blocksOf(HAND_OVER_NAME)),
  }
}
