/** Rules about names of files and folders and about the direction of imports between rooms. */
import path from 'node:path'
import {
  CODE,
  type Finding,
  filesIn,
  type Rule,
  type SourceFile,
  type SourceTree,
} from '../source_tree.ts'

/** The rooms of src/, highest first: a room imports from rooms below it only. */
export const ROOMS = [
  'cli.ts',
  'commands',
  'bench',
  'sim',
  'config',
  'front',
  'api',
  'jobs',
  'access',
  'exchange',
  'responses',
  'routing',
  'nodes',
  'prompt',
  'model-cache',
  'observe',
  'native',
  'setting.ts',
  'address.ts',
  'errors.ts',
  'record.ts',
] as const

const BANNED = ['util', 'utils', 'helper', 'helpers', 'common', 'service', 'services', 'manager']
const STEM = /^[a-z0-9]+(_[a-z0-9]+)*$/
const FOLDER = /^[a-z0-9]+([-_][a-z0-9]+)*$/

function stemOf(name: string): string {
  return path.posix.basename(name).replace(/(\.test|\.config)?\.[a-z]+$/, '')
}

export const bannedNames: Rule = {
  name: 'no file or folder is a catch-all',
  check: tree =>
    tree.files.flatMap(file => {
      const parts = file.path.split('/').flatMap(part => part.split(/[._-]/))
      const banned = parts.find(part => BANNED.includes(part))
      return banned === undefined ? [] : [{ path: file.path, line: 0, message: `"${banned}"` }]
    }),
}

export const spelling: Rule = {
  name: 'files of code are snake_case',
  check: tree =>
    filesIn(tree, CODE).flatMap(file => {
      const folders = file.path.split('/').slice(0, -1)
      if (STEM.test(stemOf(file.path)) && folders.every(folder => FOLDER.test(folder))) return []
      return [{ path: file.path, line: 0, message: 'not snake_case' }]
    }),
}

interface Import {
  readonly line: number
  readonly target: string
}

const FROM = /(?:\bfrom|\bimport|\bimport\(|\bnew URL\()\s*['"`](\.[^'"`]*)['"`]/

/** Relative imports of a file, as paths from the root. */
export function importsOf(file: SourceFile): Import[] {
  const folder = path.posix.dirname(file.path)
  return file.lines.flatMap((line, index) => {
    const target = FROM.exec(line)?.[1]
    if (target === undefined) return []
    return [{ line: index + 1, target: path.posix.join(folder, target) }]
  })
}

function roomOf(name: string): number {
  const room = name.split('/')[1]
  return ROOMS.findIndex(known => known === room)
}

function upwardImports(file: SourceFile): Finding[] {
  const from = roomOf(file.path)
  if (from === -1) return [{ path: file.path, line: 0, message: 'lies in no room of src/' }]
  return importsOf(file).flatMap(({ line, target }) => {
    const at = { path: file.path, line }
    if (!target.startsWith('src/')) return [{ ...at, message: `src/ imports ${target}` }]
    const to = roomOf(target)
    if (to >= from) return []
    return [{ ...at, message: `${ROOMS[from]} is below ${ROOMS[to] ?? target} and imports it` }]
  })
}

export const direction: Rule = {
  name: 'imports point down the list of rooms',
  check: tree => filesIn(tree, /^src\/.*\.ts$/).flatMap(upwardImports),
}

export const importsExist: Rule = {
  name: 'relative imports name a file, with its extension',
  check: tree =>
    // The rules' own tests hold imports as data.
    filesIn(tree, /^(?!test\/tidy\/planted).*\.ts$/).flatMap(file =>
      importsOf(file)
        .filter(({ target }) => !target.includes('${') && !target.startsWith('..'))
        .filter(({ target }) => !isKnown(tree, target))
        .map(({ line, target }) => ({ path: file.path, line, message: `${target} is missing` })),
    ),
}

/** A file of the tree, or one that the build makes of a file of the tree. */
function isKnown(tree: SourceTree, target: string): boolean {
  if (tree.has(target) || target.startsWith('build/') || target.startsWith('dist')) return true
  return tree.has(target.replace(/\.js$/, '.ts'))
}

export const NAME_RULES: readonly Rule[] = [bannedNames, spelling, direction, importsExist]
