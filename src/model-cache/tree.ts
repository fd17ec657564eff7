/**
 * What the source holds, as of the last look: every file with its generation and its version.
 *
 *   scan every 30 s ─┐                         ┌─► added: new entry
 *   lookup, stat ────┴─► compare with entry ───┼─► changed: entry with the next version
 *                                              └─► gone: entry removed
 *
 * A version is a number that is never used twice in the life of the daemon. Bytes belong to a
 * version: nothing that was read for one is ever shown under another, which is what keeps old and
 * new bytes apart. The generation (digest.ts) is what other hosts can see of it; a file that was
 * replaced by one of equal size within one second has the same generation and another version, and
 * is then read from the source alone (`isAmbiguous`).
 *
 * Cost: some 400 bytes a file. What it does badly: a scan asks the source for every entry.
 */
import { fileIdOf, generationOf } from './digest.ts'
import {
  isSame,
  type Source,
  type SourceEntry,
  SourceError,
  type SourceFile,
  type SourceFolder,
} from './source.ts'

export interface TreeFile extends SourceFile {
  readonly version: number
  readonly fileId: string
  readonly generation: string
  /** Another content had this generation here: peers may mean that one. */
  readonly isAmbiguous: boolean
}

export type TreeEntry = TreeFile | SourceFolder

export interface TreeChange {
  readonly before: TreeEntry | null
  readonly after: TreeEntry | null
}

export interface TreeOptions {
  readonly source: Source
  readonly sourceId: string
  /** Monotonic milliseconds. */
  readonly now: () => number
  readonly onChange: (changes: readonly TreeChange[]) => void
  /** Whether a change at this path has to wait; it is looked at again. */
  readonly isHeldBack: (path: string, isGone: boolean) => boolean
}

function isUnchanged(before: TreeEntry | undefined, after: SourceEntry): boolean {
  if (before === undefined) return false
  if (before.kind === 'file' && after.kind === 'file') return isSame(before, after)
  const isSameKind = before.kind === after.kind
  return isSameKind && before.mtimeNs === after.mtimeNs && before.mode === after.mode
}

export class Tree {
  readonly #options: TreeOptions
  readonly #entries = new Map<string, TreeEntry>()
  readonly #checkedMs = new Map<string, number>()
  readonly #checks = new Map<string, Promise<TreeEntry | null>>()
  #versions = 0
  #scanning: Promise<void> | null = null
  #scans = 0

  constructor(options: TreeOptions) {
    this.#options = options
  }

  get(path: string): TreeEntry | null {
    return this.#entries.get(path) ?? null
  }

  /** All entries in the order in which they were listed. */
  entries(): IterableIterator<TreeEntry> {
    return this.#entries.values()
  }

  *files(): Generator<TreeFile> {
    for (const entry of this.#entries.values()) if (entry.kind === 'file') yield entry
  }

  get scans(): number {
    return this.#scans
  }

  #taken(entry: SourceEntry): TreeEntry {
    if (entry.kind === 'folder') return entry
    const before = this.#entries.get(entry.path)
    const generation = generationOf(entry)
    this.#versions += 1
    return {
      ...entry,
      version: this.#versions,
      fileId: fileIdOf(this.#options.sourceId, entry.path),
      generation,
      isAmbiguous: before?.kind === 'file' && before.generation === generation,
    }
  }

  /** Takes what the source says of one path; the change, if it is one. */
  #put(path: string, found: SourceEntry | null): TreeChange | null {
    const before = this.#entries.get(path)
    if (found === null) {
      if (before === undefined || this.#options.isHeldBack(path, true)) return null
      this.#checkedMs.delete(path)
      this.#entries.delete(path)
      return { before, after: null }
    }
    this.#checkedMs.set(path, this.#options.now())
    if (isUnchanged(before, found) || this.#options.isHeldBack(path, false)) return null
    const after = this.#taken(found)
    this.#entries.set(path, after)
    return { before: before ?? null, after }
  }

  /** Looks at the whole source; one look at a time. Throws what the source throws. */
  scan(): Promise<void> {
    this.#scanning ??= this.#scan().finally(() => {
      this.#scanning = null
    })
    return this.#scanning
  }

  async #scan(): Promise<void> {
    const changes = await this.#scanBelow('')
    this.#scans += 1
    if (changes.length > 0) this.#options.onChange(changes)
  }

  /** Compares a folder and everything below it with the source. */
  async #scanBelow(folder: string): Promise<TreeChange[]> {
    const startedMs = this.#options.now()
    const found = await this.#options.source.list(folder)
    const changes: TreeChange[] = []
    const seen = new Set<string>()
    for (const entry of found) {
      seen.add(entry.path)
      // A check that came in while the listing ran saw the path later than the listing did.
      if ((this.#checkedMs.get(entry.path) ?? -1) > startedMs) continue
      const change = this.#put(entry.path, entry)
      if (change !== null) changes.push(change)
    }
    for (const path of this.#entries.keys()) {
      const isBelow = folder === '' || path === folder || path.startsWith(`${folder}/`)
      if (!isBelow || seen.has(path)) continue
      if ((this.#checkedMs.get(path) ?? -1) > startedMs) continue
      const change = this.#put(path, null)
      if (change !== null) changes.push(change)
    }
    return changes
  }

  /**
   * The entry, asked anew when what is known is older than `ageMsMax`. A source that fails or
   * stalls leaves the known entry in place: the bytes that are here are still those of a
   * generation that existed, and a dead source must not take a resident model away.
   */
  async check(path: string, ageMsMax: number): Promise<TreeEntry | null> {
    const known = this.#entries.get(path) ?? null
    const checkedMs = this.#checkedMs.get(path)
    if (checkedMs !== undefined && this.#options.now() - checkedMs <= ageMsMax) return known
    const running = this.#checks.get(path)
    if (running !== undefined) return running
    const check = this.#check(path, known).finally(() => this.#checks.delete(path))
    this.#checks.set(path, check)
    return check
  }

  async #check(path: string, known: TreeEntry | null): Promise<TreeEntry | null> {
    let changes: TreeChange[] = []
    try {
      changes = await this.#look(path, known)
    } catch (error) {
      if (!(error instanceof SourceError)) throw error
      if (error.fault !== 'gone' && error.fault !== 'refused') return known
      // Nothing is anywhere where the source itself is away: that says nothing of the path.
      if (!(await this.#isThere())) return known
      changes = this.#removeBelow(path)
    }
    if (changes.length > 0) this.#options.onChange(changes)
    return this.#entries.get(path) ?? null
  }

  /** Whether the source is there at all; as a scan, it is not believed to be empty otherwise. */
  async #isThere(): Promise<boolean> {
    try {
      return (await this.#options.source.stat('')).kind === 'folder'
    } catch (error) {
      if (error instanceof SourceError) return false
      throw error
    }
  }

  /** Looks at a folder and all below it, for whoever pins its files as one generation. */
  async checkBelow(folder: string): Promise<void> {
    try {
      const changes = await this.#scanBelow(folder)
      if (changes.length > 0) this.#options.onChange(changes)
    } catch (error) {
      // As with one entry: what is known stays.
      if (!(error instanceof SourceError)) throw error
    }
  }

  /** A folder whose time has changed has other names in it: what is below is listed anew. */
  async #look(path: string, known: TreeEntry | null): Promise<TreeChange[]> {
    const found = await this.#options.source.stat(path)
    if (found.kind === 'folder' && !isUnchanged(known ?? undefined, found)) {
      return this.#scanBelow(path)
    }
    const change = this.#put(path, found)
    return change === null ? [] : [change]
  }

  #removeBelow(path: string): TreeChange[] {
    const changes: TreeChange[] = []
    for (const name of this.#entries.keys()) {
      if (name !== path && !name.startsWith(`${path}/`)) continue
      const change = this.#put(name, null)
      if (change !== null) changes.push(change)
    }
    return changes
  }
}
