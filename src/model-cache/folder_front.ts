/**
 * `--mode tmpfs`: a plain folder in which files appear whole, by rename, and need no privilege.
 *
 *   ACCELERATED/.warmpath/<store name>  ──(whole, verified, mode and mtime as there)──►  its place
 *
 * Nothing may be written by others: bits for it are taken out of the modes of files. Folders keep
 * them for the daemon, which puts files there without any privilege.
 * The index and the configuration of a model come last, because loaders take them as the sign that
 * the model is there. A file that does not fit, or that was changed and is being loaded anew, is a
 * symbolic link to the source. Nothing is loaded on demand: there is no way to know who opens a
 * file. Readers keep the old bytes of a changed file for as long as they have it open or mapped,
 * since rename only takes the name away.
 */
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmdirSync,
  rmSync,
  symlinkSync,
} from 'node:fs'
import path from 'node:path'
import { stampFile } from '../native/model_chunks.ts'
import { closeSlot, type Front } from './front.ts'
import type { Slot } from './slot.ts'
import type { Source } from './source.ts'
import type { Tree } from './tree.ts'

/** The folder inside the accelerated path in which files are filled. */
export const HIDDEN = '.warmpath'

/** Bits of a mode that let somebody read or run. */
const READABLE = 0o555

/** Files that a loader opens first: shown after the weights they speak of. */
export function isIndex(name: string): boolean {
  return /\.(json|index)$/.test(name)
}

export class FolderFront implements Front {
  readonly mode = 'tmpfs'
  readonly #root: string
  readonly #source: Source
  readonly #shown = new Map<string, Slot>()
  /** Modification times of the folders, which every change of ours in them would set anew. */
  readonly #folders = new Map<string, bigint>()
  #isCleared = false

  constructor(root: string, source: Source) {
    this.#root = root
    this.#source = source
  }

  get hidden(): string {
    return path.join(this.#root, HIDDEN)
  }

  #at(name: string): string {
    return path.join(this.#root, name)
  }

  treeChanged(tree: Tree): void {
    for (const [name] of this.#shown) if (tree.get(name)?.kind !== 'file') this.#remove(name)
    const folders = [...tree.entries()].filter(
      entry => entry.kind === 'folder' && entry.path !== '',
    )
    for (const { path: name, mtimeNs } of folders) this.#makeFolder(name, mtimeNs)
    const gone = [...this.#folders.keys()].filter(name => tree.get(name)?.kind !== 'folder')
    // Deepest first: a folder can go when what lay in it has gone.
    for (const name of gone.toSorted().toReversed()) this.#removeFolder(name)
    for (const name of this.#folders.keys()) this.#stamp(name)
  }

  #makeFolder(name: string, mtimeNs: bigint): void {
    if (!this.#folders.has(name)) mkdirSync(this.#at(name), { recursive: true, mode: 0o755 })
    this.#folders.set(name, mtimeNs)
  }

  #stamp(folder: string): void {
    const mtimeNs = this.#folders.get(folder)
    if (mtimeNs === undefined) return
    try {
      stampFile(this.#at(folder), mtimeNs)
    } catch {
      // Somebody took it away: it is made anew with the next file in it.
    }
  }

  #removeFolder(name: string): void {
    try {
      rmdirSync(this.#at(name))
    } catch {
      // Somebody put something of their own there: it stays.
    }
    this.#folders.delete(name)
  }

  #remove(name: string): void {
    rmSync(this.#at(name), { force: true })
    this.#shown.delete(name)
  }

  publish(slot: Slot): void {
    const { mode, mtimeNs } = slot.file
    const hidden = path.join(this.hidden, slot.storeName)
    chmodSync(hidden, mode & READABLE)
    stampFile(hidden, mtimeNs)
    this.#put(hidden, slot)
  }

  /** Shows what lies in the hidden folder at the path of the slot. */
  #put(hidden: string, slot: Slot): void {
    const { path: name } = slot.file
    mkdirSync(path.dirname(this.#at(name)), { recursive: true })
    renameSync(hidden, this.#at(name))
    this.#stamp(path.posix.dirname(name))
    this.#shown.set(name, slot)
    this.#tidy()
  }

  /** The hidden folder is not to be seen when nothing is being filled. */
  #tidy(): void {
    try {
      rmdirSync(this.hidden)
    } catch {
      // Another file is being filled in it.
    }
  }

  /** The name leads to the source from now on, without a moment in which it leads nowhere. */
  #showSource(slot: Slot): void {
    // A load that is cancelled at the end fails after everything was taken away.
    if (this.#isCleared) return
    const { path: name } = slot.file
    const link = path.join(this.hidden, `${slot.storeName}.link`)
    mkdirSync(this.hidden, { recursive: true, mode: 0o700 })
    rmSync(link, { force: true })
    symlinkSync(this.#source.localPath(name), link)
    this.#put(link, slot)
  }

  async bypass(slot: Slot): Promise<void> {
    this.#showSource(slot)
  }

  showLast(): void {}

  /** Who opens it is told by the source itself what is wrong with it. */
  fail(slot: Slot): void {
    this.#showSource(slot)
  }

  progress(): void {}

  isInUse(): boolean {
    return false
  }

  refresh(): void {}

  /**
   * The memory is given back and the name leads to the source, until the file is loaded anew or the
   * tree says that it is gone. Who reads a file of a plain folder cannot be known; whoever does
   * keeps its bytes, so nothing here is ever busy.
   */
  evict(slot: Slot): 'evicted' | 'busy' {
    if (this.#shown.get(slot.file.path) === slot) this.#showSource(slot)
    closeSlot(slot)
    return 'evicted'
  }

  /** Removes everything that was put here; readers keep what they have open. */
  clear(): void {
    this.#isCleared = true
    for (const name of this.#shown.keys()) this.#remove(name)
    for (const name of [...this.#folders.keys()].toSorted().toReversed()) this.#removeFolder(name)
    rmSync(this.hidden, { recursive: true, force: true })
  }
}

/** What a run that was killed left in the folder; false when something else lies there too. */
export function clearLeftovers(root: string, names: readonly string[]): boolean {
  for (const name of names) rmSync(path.join(root, name), { force: true })
  rmSync(path.join(root, HIDDEN), { recursive: true, force: true })
  const folders = new Set(names.flatMap(name => parents(name)))
  for (const name of [...folders].toSorted().toReversed()) {
    try {
      rmdirSync(path.join(root, name))
    } catch {
      // Not empty: not ours alone.
    }
  }
  return readdirSync(root).length === 0
}

function parents(name: string): string[] {
  const parent = path.posix.dirname(name)
  return parent === '.' ? [] : [...parents(parent), parent]
}
