/**
 * The files that the tidy rules look at: all that git tracks or would track, as text. A tree can
 * also be made of texts in memory, which is how a violation is planted to check a rule.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'

export interface SourceFile {
  /** Path from the root of the repository, with "/". */
  readonly path: string
  readonly text: string
  readonly lines: readonly string[]
}

export interface SourceTree {
  readonly files: readonly SourceFile[]
  /** Whether the path is a file or a folder of the tree. */
  has(path: string): boolean
}

/** One place where a rule is broken. */
export interface Finding {
  readonly path: string
  /** Counted from 1; 0: the whole file. */
  readonly line: number
  readonly message: string
}

export interface Rule {
  readonly name: string
  check(tree: SourceTree): Finding[]
}

const BINARY = /\.(png|ico|node|gz|woff2)$/

export function treeOf(texts: Readonly<Record<string, string>>): SourceTree {
  const files = Object.entries(texts).map(([name, text]) => ({
    path: name,
    text,
    lines: text.split('\n'),
  }))
  const known = new Set<string>()
  for (const { path: name } of files) {
    for (let at = name; at !== '.'; at = path.posix.dirname(at)) known.add(at)
  }
  return { files, has: name => known.has(name.replace(/\/$/, '')) }
}

/** The tree of a repository on disk: tracked files, and new ones that git does not ignore. */
export function treeAt(root: string): SourceTree {
  const args = ['ls-files', '-z', '--cached', '--others', '--exclude-standard', '--deduplicate']
  const listed = execFileSync('git', args, { cwd: root, encoding: 'utf8' })
  const texts: Record<string, string> = {}
  for (const name of listed.split('\0')) {
    if (name === '' || BINARY.test(name)) continue
    try {
      texts[name] = readFileSync(path.join(root, name), 'utf8')
    } catch (error) {
      // A tracked file that was deleted and not yet committed.
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error
    }
  }
  return treeOf(texts)
}

/** Files whose path matches. */
export function filesIn(tree: SourceTree, pattern: RegExp): SourceFile[] {
  return tree.files.filter(file => pattern.test(file.path))
}

/** One finding for each line that matches. */
export function linesMatching(file: SourceFile, pattern: RegExp, message: string): Finding[] {
  return file.lines.flatMap((line, index) =>
    pattern.test(line) ? [{ path: file.path, line: index + 1, message }] : [],
  )
}

export const TYPESCRIPT = /\.ts$/
export const CODE = /\.(ts|mjs|cc|h)$/
export const NATIVE = /\.(cc|h)$/
