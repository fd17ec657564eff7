/**
 * docs/limits.md: every named limit of src/ and native/ with its value and the sentence above it.
 * A limit is a constant whose name ends in _MAX, _MIN or _MS. `npm run docs:limits` rewrites it.
 */
import { filesIn, type Rule, type SourceFile, type SourceTree } from '../source_tree.ts'

export interface Limit {
  readonly name: string
  readonly value: string
  readonly path: string
  readonly line: number
  /** The comment above, as one line; empty when there is none. */
  readonly why: string
}

const HEAD = '(?:export |inline |static )*(?:const|constexpr [\\w:]+)'
const LIMIT = new RegExp(`^${HEAD} ([A-Z][A-Z0-9_]*_(?:MAX|MIN|MS))(?:: number)? =\\s*(.*?);?$`)
/** The simulated node keeps the limits of vLLM, and stress programs only their own. */
const COUNTED = /^(src\/(?!sim\/)|native\/(?!stress\/)).*\.(ts|cc|h)$/

/**
 * The lines of comment that end right above line `index`, without their marks. Limits that follow
 * each other without a blank line share the comment above the first.
 */
function commentAbove(lines: readonly string[], index: number): string {
  const above = lines[index - 1] ?? ''
  if (LIMIT.test(above)) return commentAbove(lines, index - 1)
  if (/^ {2}\S/.test(above) && LIMIT.test(lines[index - 2] ?? '')) {
    return commentAbove(lines, index - 2)
  }
  const texts: string[] = []
  for (let at = index - 1; at >= 0; at -= 1) {
    const line = lines[at]!.trim()
    if (!/^(\/\/|\/\*|\*)/.test(line)) break
    const text = line.replace(/^(\/\*\*?|\*\/|\*|\/\/+!?)\s?/, '').replace(/\s*\*\/$/, '')
    texts.unshift(text.trim())
    if (line.startsWith('/*')) break
  }
  return texts.join(' ').trim()
}

/** The value, also when the formatter put it on the next line. */
function valueAt(file: SourceFile, index: number, value: string): string {
  const text = value === '' ? (file.lines[index + 1] ?? '').trim().replace(/;$/, '') : value
  return text.replace(/\s*\/\/.*$/, '')
}

export function limitsOf(tree: SourceTree): Limit[] {
  return filesIn(tree, COUNTED).flatMap(file =>
    file.lines.flatMap((line, index) => {
      const match = LIMIT.exec(line)
      if (match === null) return []
      const value = valueAt(file, index, match[2]!)
      const why = commentAbove(file.lines, index)
      return [{ name: match[1]!, value, path: file.path, line: index + 1, why }]
    }),
  )
}

export const limitsExplained: Rule = {
  name: 'a limit has a comment that says what it is for',
  check: tree =>
    limitsOf(tree)
      .filter(limit => limit.why === '')
      .map(({ name, path, line }) => ({ path, line, message: `${name} has no comment` })),
}

/** The page docs/limits.md. */
export function limitsPage(tree: SourceTree): string {
  const limits = limitsOf(tree).toSorted(
    (a, b) => a.path.localeCompare(b.path, 'en') || a.line - b.line,
  )
  const rows = limits.map(
    ({ name, value, path, why }) =>
      `| \`${name}\` | \`${value}\` | ${why.replaceAll('|', '\\|')} | [${path}](../${path}) |`,
  )
  return [
    '# Limits',
    '',
    'Every named limit in the code. Made from the source by `npm run docs:limits`; a test compares. What can be configured is in',
    '[configuration](configuration.md).',
    '',
    '| limit | value | why | where |',
    '| --- | --- | --- | --- |',
    ...rows,
    '',
  ].join('\n')
}
