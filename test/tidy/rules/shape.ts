/**
 * Rules about the shape of files: length of lines, functions and files, and the header comment.
 *
 * A function is found by its layout, which the formatters fix: a line that ends in "{" and holds a
 * parameter list opens it, the next line of the same indentation that begins with "}" closes it.
 */
import {
  CODE,
  type Finding,
  filesIn,
  linesMatching,
  type Rule,
  type SourceFile,
  type SourceTree,
} from '../source_tree.ts'

export const COLUMNS_MAX = 100
export const FILE_LINES_MAX = 400
export const FILE_BYTES_MAX = 25 * 1024
export const FUNCTION_LINES_MAX = 70

/** Lines from which a file is no longer trivial and opens with a comment. */
export const HEADER_FROM_LINES = 40

const CONTROL = /^\s*(\}?\s*(else|catch|finally)|if|for|while|switch|do|try|return|case|default)\b/
const CONTAINER =
  /^\s*(export |inline |static )*(namespace|class|struct|interface|enum|union|extern)\b/
/** Callbacks that only group tests. */
const GROUP = /^\s*describe(\.\w+)*\(/

/** A line that is one text or one pattern: no formatter can break it. */
const ONE_TEXT = /^\s*(['"`/]).*\1,?$/

export const columns: Rule = {
  name: `lines have at most ${COLUMNS_MAX} columns`,
  check: tree =>
    filesIn(tree, CODE).flatMap(file =>
      file.lines.flatMap((line, index) => {
        // Characters, not UTF-16 units: pictures in comments may hold others.
        const columnCount = Array.from(line).length
        if (columnCount <= COLUMNS_MAX || ONE_TEXT.test(line)) return []
        return [{ path: file.path, line: index + 1, message: `${columnCount} columns` }]
      }),
    ),
}

export const fileSize: Rule = {
  name: `files have at most ${FILE_LINES_MAX} lines and ${FILE_BYTES_MAX} bytes`,
  check: tree =>
    filesIn(tree, CODE).flatMap(file => {
      const lines = file.lines.length - 1
      const bytes = Buffer.byteLength(file.text)
      const isLong = lines > FILE_LINES_MAX || bytes > FILE_BYTES_MAX
      return isLong ? [{ path: file.path, line: 0, message: `${lines} lines, ${bytes} bytes` }] : []
    }),
}

function indentation(line: string): number {
  return line.length - line.trimStart().length
}

/** Whether the line opens the body of a function. */
function opensFunction(line: string): boolean {
  if (!line.endsWith('{') || CONTROL.test(line) || CONTAINER.test(line)) return false
  return !GROUP.test(line) && (line.includes(')') || line.includes('=> {'))
}

function longFunctions(file: SourceFile): Finding[] {
  const findings: Finding[] = []
  for (const [index, line] of file.lines.entries()) {
    if (!opensFunction(line)) continue
    const indent = indentation(line)
    const closes = (text: string): boolean =>
      text.trimStart().startsWith('}') && indentation(text) === indent
    const length = file.lines.slice(index + 1).findIndex(closes) + 2
    if (length <= FUNCTION_LINES_MAX) continue
    findings.push({ path: file.path, line: index + 1, message: `function of ${length} lines` })
  }
  return findings
}

export const functionSize: Rule = {
  name: `functions have at most ${FUNCTION_LINES_MAX} lines`,
  check: tree => filesIn(tree, CODE).flatMap(longFunctions),
}

/** A .cc file whose .h lies beside it has its comment there. */
function hasHeaderElsewhere(file: SourceFile, tree: SourceTree): boolean {
  return file.path.endsWith('.cc') && tree.has(file.path.replace(/cc$/, 'h'))
}

/** Whether a comment comes before everything but preprocessor lines and blank ones. */
function opensWithComment(file: SourceFile): boolean {
  const first = file.lines.find(line => line !== '' && !line.startsWith('#'))
  return first !== undefined && /^\/[/*]/.test(first)
}

export const header: Rule = {
  name: `a file of ${HEADER_FROM_LINES} lines or more opens with a comment`,
  check: tree =>
    filesIn(tree, /^(src|native|bench)\/.*\.(ts|cc|h)$/)
      .filter(file => file.lines.length >= HEADER_FROM_LINES)
      .filter(file => !hasHeaderElsewhere(file, tree) && !opensWithComment(file))
      .map(file => ({ path: file.path, line: 1, message: 'no header comment' })),
}

export const whitespace: Rule = {
  name: 'no trailing blanks, no tabs, one line end at the end',
  check: tree =>
    filesIn(tree, /\.(ts|mjs|cc|h|md|txt|json|yaml)$/).flatMap(file => {
      const findings = linesMatching(file, /[ \t]+$/, 'trailing blanks')
      const isEnded = file.text.endsWith('\n') && !file.text.endsWith('\n\n')
      const end = { path: file.path, line: file.lines.length, message: 'bad end of file' }
      return isEnded ? findings : [...findings, end]
    }),
}

export const SHAPE_RULES: readonly Rule[] = [columns, fileSize, functionSize, header, whitespace]
