/**
 * Rules about what code may say: nothing unfinished, no escape from the type system, no test that
 * sleeps or is switched off, no export that nobody uses, no place of one machine.
 */
import {
  type Finding,
  filesIn,
  linesMatching,
  type Rule,
  type SourceFile,
  type SourceTree,
  TYPESCRIPT,
} from '../source_tree.ts'

/** These files hold the forbidden words, as data. */
const SELF = /^test\/tidy\//

function others(tree: SourceTree, pattern: RegExp): SourceFile[] {
  return filesIn(tree, pattern).filter(file => !SELF.test(file.path))
}

export const unfinished: Rule = {
  name: 'nothing is left unfinished',
  check: tree =>
    others(tree, /\.(ts|mjs|cc|h|md|yaml|gyp)$/).flatMap(file =>
      linesMatching(file, /\b(TODO|FIXME|XXX|HACK)\b/, 'unfinished'),
    ),
}

export const anyType: Rule = {
  name: 'no type is any',
  check: tree =>
    others(tree, TYPESCRIPT).flatMap(file =>
      linesMatching(file, /^(?!\s*(\*|\/\/)).*(:|<|\bas|\|) any\b|<any[,>]|\bany\[\]/, 'any'),
    ),
}

const ASSERTION = /\bas (?!const\b)[A-Za-z{(['"\w]/
const NO_ASSERTION = /^\s*(\*|\/\*|\/\/|import\b|export \*|export \{|[A-Za-z]+ as [A-Za-z]+,?$)/
/** Lines above an assertion among which its comment is looked for. */
const COMMENT_LINES = 6

/** An assertion outside strings and comments; a name in an import list is none. */
function asserts(line: string): boolean {
  if (NO_ASSERTION.test(line)) return false
  const code = line.replaceAll(/'[^']*'|"[^"]*"|`[^`]*`/g, "''").replace(/\/\/.*$/, '')
  return ASSERTION.test(code)
}

export const assertions: Rule = {
  name: 'a type assertion has a comment that says why it holds',
  check: tree =>
    filesIn(tree, /^src\/.*\.ts$/).flatMap(file =>
      file.lines.flatMap((line, index) => {
        const above = file.lines.slice(Math.max(0, index - COMMENT_LINES), index + 1)
        if (!asserts(line) || above.some(text => /\/\/|^\s*\*/.test(text))) return []
        return [{ path: file.path, line: index + 1, message: 'assertion without a comment' }]
      }),
    ),
}

export const sleeps: Rule = {
  name: 'a test awaits a condition, never a time',
  check: tree =>
    others(tree, /^test\/.*\.ts$/).flatMap(file => [
      ...linesMatching(file, /setTimeout\(\s*(resolve|done|ok|r|res)\b/, 'sleep'),
      ...linesMatching(file, /from 'node:timers\/promises'/, 'sleep'),
      ...linesMatching(file, /\bawait (sleep|delay|pause)\(/, 'sleep'),
    ]),
}

export const switchedOff: Rule = {
  name: 'no test is switched off or runs alone',
  check: tree =>
    others(tree, /^test\/.*\.ts$/).flatMap(file => [
      ...linesMatching(file, /\b(test|it|describe)(\.\w+)*\.(only|skip|todo|fails)\b/, 'switched'),
      ...linesMatching(file, /\b(xit|xtest|xdescribe|fit|fdescribe)\(/, 'switched'),
    ]),
}

export const consoles: Rule = {
  name: 'src/ writes to the log or to the streams of the process, not to the console',
  check: tree =>
    filesIn(tree, /^src\/.*\.ts$/).flatMap(file =>
      linesMatching(file, /^\s*console\.\w+\(/, 'console'),
    ),
}

const DECLARED =
  /^export (?:async )?(?:const|let|function\*?|class|interface|type|abstract class) ([A-Za-z0-9_$]+)/

/** Every word of every file, with the number of files it stands in. */
function wordCounts(tree: SourceTree): Map<string, number> {
  const counts = new Map<string, number>()
  for (const file of filesIn(tree, TYPESCRIPT)) {
    for (const word of new Set(file.text.match(/[A-Za-z0-9_$]+/g) ?? [])) {
      counts.set(word, (counts.get(word) ?? 0) + 1)
    }
  }
  return counts
}

interface Declared {
  readonly name: string
  readonly line: number
  /** A type may be exported for its own file's sake: other exports are made of it. */
  readonly isType: boolean
}

function declaredIn(file: SourceFile): Declared[] {
  return file.lines.flatMap((line, index) => {
    const name = DECLARED.exec(line)?.[1]
    // A constant may stand for one row of a layout or for a limit that a test wants to reach.
    if (name === undefined || /^[A-Z0-9_]{2,}$/.test(name)) return []
    return [{ name, line: index + 1, isType: /^export (interface|type)\b/.test(line) }]
  })
}

function isUsedInside(file: SourceFile, { name }: Declared): boolean {
  return file.text.split(new RegExp(`\\b${name}\\b`)).length > 2
}

export const deadExports: Rule = {
  name: 'an export is used by another file',
  check: tree => {
    const counts = wordCounts(tree)
    return filesIn(tree, /^src\/(?!cli\.ts|commands\/).*\.ts$/).flatMap(file =>
      declaredIn(file)
        .filter(({ name }) => (counts.get(name) ?? 0) < 2)
        .filter(declared => !declared.isType || !isUsedInside(file, declared))
        .map(({ name, line }) => ({ path: file.path, line, message: `${name} is not used` })),
    )
  },
}

/** Folders of one machine, and hosts that serve packages. */
const PLACES = /(^|[\s"'`(=])\/(tmp|work|opt|home|root|Users)\/[\w.]/
const REGISTRY = /https?:\/\/[\w.-]*(registry|artifactory|nexus|pypi|mirror)[\w.-]*/i

export const places: Rule = {
  name: 'nothing names a folder of one machine or a host of packages',
  check: tree =>
    tree.files
      .filter(file => !SELF.test(file.path) && file.path !== 'package-lock.json')
      .flatMap((file): Finding[] => [
        ...linesMatching(file, PLACES, 'a folder of one machine'),
        ...linesMatching(file, REGISTRY, 'a host of packages'),
      ]),
}

export const lockfile: Rule = {
  name: 'the lock file pins by digest and names no host',
  check: tree =>
    filesIn(tree, /^package-lock\.json$/).flatMap(file =>
      linesMatching(file, /"resolved": "http/, 'a host of packages'),
    ),
}

export const CODE_RULES: readonly Rule[] = [
  unfinished,
  anyType,
  assertions,
  sleeps,
  switchedOff,
  consoles,
  deadExports,
  places,
  lockfile,
]
