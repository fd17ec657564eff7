/**
 * What the model cache asks of a source: names, facts and bytes, nothing else. A directory is one
 * (directory_source.ts); a test puts another in front of it that stalls, lies or fails.
 *
 *   list()  ──► every file and folder, links resolved and checked
 *   stat()  ──► is it still the same file?
 *   open()  ──► a descriptor for the native copier, which reads whole chunks
 *
 * A source's failure is a SourceError with a closed reason, because the reason decides what
 * happens next: `gone` takes the file off the tree, `changed` starts the file anew, `io` and
 * `stalled` are tried again, `denied` (the daemon may not read it) is an error at once, `refused`
 * never is served.
 */

export const SOURCE_FAULTS = [
  'gone',
  'changed',
  'denied',
  'io',
  'stalled',
  'refused',
  'truncated',
] as const
export type SourceFault = (typeof SOURCE_FAULTS)[number]

export class SourceError extends Error {
  readonly fault: SourceFault

  constructor(fault: SourceFault, message: string) {
    super(message)
    this.name = 'SourceError'
    this.fault = fault
  }
}

/** Facts of a file by which two generations are told apart. */
export interface SourceStat {
  readonly size: number
  /** Modification time in nanoseconds of the epoch. */
  readonly mtimeNs: bigint
  /** Inode number and change time: they differ between hosts and only say "changed here". */
  readonly inode: bigint
  readonly ctimeNs: bigint
}

export interface SourceFile extends SourceStat {
  /** Permission bits. */
  readonly mode: number
  /** Path below the source, with "/" and no leading one. */
  readonly path: string
  readonly kind: 'file'
}

export interface SourceFolder {
  readonly path: string
  readonly kind: 'folder'
  readonly mode: number
  readonly mtimeNs: bigint
}

export type SourceEntry = SourceFile | SourceFolder

export interface SourceHandle {
  readonly fd: number
  stat(): Promise<SourceStat>
  close(): Promise<void>
}

export interface Source {
  /** A folder and every entry below it, folders before what lies in them; throws SourceError. */
  list(folder: string): Promise<readonly SourceEntry[]>
  /** One entry by its path ('' is the source itself); throws SourceError `gone` or `refused`. */
  stat(path: string): Promise<SourceEntry>
  open(path: string): Promise<SourceHandle>
  /** The path on this host that holds the bytes, for files that are passed through. */
  localPath(path: string): string
}

/** Whether two stats are of one generation as this host can tell. */
export function isSame(a: SourceStat, b: SourceStat): boolean {
  return (
    a.size === b.size && a.mtimeNs === b.mtimeNs && a.inode === b.inode && a.ctimeNs === b.ctimeNs
  )
}

/** Opens exactly this version; a path that leads to another one is the fault `changed`. */
export async function openVersion(source: Source, file: SourceFile): Promise<SourceHandle> {
  const handle = await source.open(file.path)
  try {
    if (isSame(await handle.stat(), file)) return handle
    throw new SourceError('changed', `${file.path} is not what it was when it was listed`)
  } catch (error) {
    await handle.close()
    throw error
  }
}
