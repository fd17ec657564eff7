/**
 * Rules about the documents: what the source offers (keys, flags, metrics, errors, headers,
 * routes) stands in docs/ exactly once, and docs/ offers nothing else.
 */
import path from 'node:path'
import {
  type Finding,
  filesIn,
  type Rule,
  type SourceFile,
  type SourceTree,
} from '../source_tree.ts'

/** One row of a table: the text of its cells. */
export interface Row {
  readonly line: number
  readonly cells: readonly string[]
}

/** Rows of all tables of a page, heads and rulers left out. */
export function rowsOf(file: SourceFile): Row[] {
  return file.lines.flatMap((line, index) => {
    if (!line.startsWith('| ')) return []
    const isHead = file.lines[index + 1]?.startsWith('| -') ?? false
    if (isHead || line.startsWith('| -')) return []
    const cells = line.slice(2, -2).split(/ \| /)
    return [{ line: index + 1, cells: cells.map(cell => cell.trim()) }]
  })
}

/** First words in backticks of the rows whose first cell is in backticks. */
export function namesIn(file: SourceFile, heading?: string): string[] {
  const section = heading === undefined ? file : sectionOf(file, heading)
  return rowsOf(section).flatMap(({ cells }) => /^`([^`]+)`/.exec(cells[0] ?? '')?.slice(1) ?? [])
}

/** The part of a page under a heading, up to the next heading of that level or above. */
export function sectionOf(file: SourceFile, heading: string): SourceFile {
  const from = file.lines.findIndex(line => line.replace(/^#+ /, '') === heading && line[0] === '#')
  if (from === -1) throw new Error(`${file.path} has no heading "${heading}"`)
  const level = /^#+/.exec(file.lines[from]!)![0].length
  const isNext = (line: string): boolean => (/^(#+) /.exec(line)?.[1]?.length ?? 9) <= level
  const length = file.lines.slice(from + 1).findIndex(isNext)
  const lines = file.lines.slice(from, length === -1 ? undefined : from + 1 + length)
  return { path: file.path, text: lines.join('\n'), lines }
}

/** The file of a tree; throws when it is not there. */
export function page(tree: SourceTree, name: string): SourceFile {
  const found = tree.files.find(file => file.path === name)
  if (found === undefined) throw new Error(`${name} is missing`)
  return found
}

function anchorsOf(file: SourceFile): Set<string> {
  const headings = file.lines.filter(line => /^#+ /.test(line))
  return new Set(
    headings.map(line =>
      line
        .replace(/^#+ /, '')
        .toLowerCase()
        .replaceAll(/[^\w\- ]/g, '')
        .replaceAll(' ', '-'),
    ),
  )
}

function brokenLinks(file: SourceFile, tree: SourceTree): Finding[] {
  return file.lines.flatMap((line, index) => {
    const links = [...line.matchAll(/\]\(([^)\s]+)\)/g)].map(match => match[1]!)
    return links.flatMap(link => {
      if (/^[a-z]+:/.test(link)) return []
      const [target = '', anchor] = link.split('#')
      const folder = path.posix.dirname(file.path)
      const name = target === '' ? file.path : path.posix.join(folder, target)
      const found = tree.files.find(({ path: at }) => at === name)
      const at = { path: file.path, line: index + 1 }
      if (!tree.has(name)) return [{ ...at, message: `${name} does not exist` }]
      if (anchor === undefined || found === undefined || anchorsOf(found).has(anchor)) return []
      return [{ ...at, message: `${name} has no heading for #${anchor}` }]
    })
  })
}

export const links: Rule = {
  name: 'links between documents resolve',
  check: tree => filesIn(tree, /(\.md|^llms\.txt)$/).flatMap(file => brokenLinks(file, tree)),
}

/** Every page is reached from the README and from llms.txt. */
export const pagesListed: Rule = {
  name: 'README.md and llms.txt list every page of docs/',
  check: tree =>
    ['README.md', 'llms.txt'].flatMap(name => {
      const list = tree.files.find(file => file.path === name)
      if (list === undefined) return []
      return filesIn(tree, /^docs\/.*\.md$/)
        .filter(file => !list.text.includes(`(${file.path})`))
        .map(file => ({ path: name, line: 0, message: `${file.path} is not listed` }))
    }),
}

interface Package {
  readonly dependencies: Readonly<Record<string, string>>
  readonly devDependencies: Readonly<Record<string, string>>
}

export const dependencies: Rule = {
  name: 'docs/dependencies.md lists exactly the dependencies, with their versions',
  check: tree => {
    const file = page(tree, 'docs/dependencies.md')
    // Decode boundary: our own package.json.
    const wanted = JSON.parse(page(tree, 'package.json').text) as Package
    const all = Object.entries({ ...wanted.dependencies, ...wanted.devDependencies })
    const listed = new Map(
      rowsOf(file).map(({ cells }) => [cells[0]?.replaceAll('`', ''), cells[1]]),
    )
    const at = { path: file.path, line: 0 }
    const missing = all.filter(([name, version]) => listed.get(name) !== version)
    const extra = [...listed.keys()].filter(name => !all.some(([known]) => known === name))
    return [
      ...missing.map(([name, version]) => ({ ...at, message: `${name} ${version} is not listed` })),
      ...extra.map(name => ({ ...at, message: `${name} is no dependency` })),
    ]
  },
}

/** Names of headers of our own or of others' routers, as texts of the source. */
const HEADER = /['"`](x-[a-z]+(?:-[a-z]+)*)['"`]/gi

export const headers: Rule = {
  name: 'docs/http-api.md names every x- header that the gateway knows',
  check: tree => {
    const file = page(tree, 'docs/http-api.md')
    return filesIn(tree, /^src\/(front|api|access|exchange)\/.*\.ts$/).flatMap(source =>
      [...source.text.matchAll(HEADER)]
        .map(match => match[1]!.toLowerCase())
        .filter(name => !file.text.includes(`\`${name}\``))
        .map(name => ({ path: source.path, line: 0, message: `${name} is not in the docs` })),
    )
  },
}

/** Metrics are written somewhere, else their page promises what never comes. */
export const metricsWritten: Rule = {
  name: 'every metric of the catalog is written by some room',
  check: tree => {
    const catalog = page(tree, 'src/observe/metrics/catalog.ts')
    const writers = filesIn(tree, /^src\/(?!bench\/|sim\/|observe\/metrics\/(?!thread)).*\.ts$/)
    const lines = writers.flatMap(file => file.lines.filter(line => !/^\s*(\*|\/)/.test(line)))
    const text = lines.join('\n')
    return catalog.lines.flatMap((line, index) => {
      const key = /^ {2}([a-z]\w*): (\w+\(|\{)/.exec(line)?.[1]
      if (key === undefined || new RegExp(`\\b[MNHG]\\.${key}\\b|'${key}'`).test(text)) return []
      return [{ path: catalog.path, line: index + 1, message: `${key} is never written` }]
    })
  },
}

export const DOC_RULES: readonly Rule[] = [
  links,
  pagesListed,
  dependencies,
  headers,
  metricsWritten,
]
