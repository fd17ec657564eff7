/** The rules about documents find what was planted, and leave alone what comes close. */
import { describe, expect, test } from 'vitest'
import * as docs from './rules/docs.ts'
import { limitsExplained, limitsPage } from './rules/limits.ts'
import { type Rule, treeOf } from './source_tree.ts'

function found(rule: Rule, texts: Record<string, string>): string[] {
  return rule.check(treeOf(texts)).map(({ path, line }) => `${path}:${line}`)
}

describe('tables', () => {
  const text = [
    '# Page',
    '## Keys',
    '| key | default |',
    '| --- | --- |',
    '| `a` | 1 |',
    '### More',
    '| key |',
    '| --- |',
    '| `b.c` |',
    '## Flags',
    '| `--d X` | no head |',
  ].join('\n')
  const file = treeOf({ 'a.md': text }).files[0]!

  test('rows are without heads and rulers', () => {
    expect(docs.rowsOf(file).map(row => row.line)).toEqual([5, 9, 11])
    expect(docs.rowsOf(file)[0]?.cells).toEqual(['`a`', '1'])
  })

  test('a section ends at the next heading of its level', () => {
    expect(docs.namesIn(file, 'Keys')).toEqual(['a', 'b.c'])
    expect(docs.namesIn(file, 'Flags')).toEqual(['--d X'])
    expect(() => docs.sectionOf(file, 'Nothing')).toThrow('no heading')
  })
})

test('a link to a missing file or heading is found', () => {
  const texts = {
    'README.md': '[a](docs/a.md#over-there)\n[b](docs/gone.md)\n[c](https://x.example/y)\n',
    'docs/a.md': '# Over there\n[up](../README.md) [self](#over-there) [bad](#nowhere)\n',
  }
  expect(found(docs.links, texts)).toEqual(['README.md:2', 'docs/a.md:2'])
})

test('a page that the README or llms.txt leaves out is found', () => {
  const texts = { 'README.md': '[a](docs/a.md)\n', 'llms.txt': '\n', 'docs/a.md': '\n' }
  expect(found(docs.pagesListed, texts)).toEqual(['llms.txt:0'])
})

function table(rows: string): string {
  return `| package | version |\n| --- | --- |\n${rows}`
}

test('a dependency that is missing, extra or of another version is found', () => {
  const names = { dependencies: { a: '1.0.0', b: '2.0.0' }, devDependencies: { c: '3.0.0' } }
  const check = (rows: string): number =>
    found(docs.dependencies, {
      'package.json': JSON.stringify(names),
      'docs/dependencies.md': table(rows),
    }).length
  expect(check('| `a` | 1.0.0 |\n| `b` | 2.0.0 |\n| `c` | 3.0.0 |\n')).toBe(0)
  expect(check('| `a` | 1.0.0 |\n| `b` | 2.0.1 |\n| `c` | 3.0.0 |\n')).toBe(1)
  expect(check('| `a` | 1.0.0 |\n| `b` | 2.0.0 |\n')).toBe(1)
  expect(check('| `a` | 1.0.0 |\n| `b` | 2.0.0 |\n| `c` | 3.0.0 |\n| `d` | 1 |\n')).toBe(1)
})

test('a header that is not in the docs is found', () => {
  const texts = {
    'docs/http-api.md': '`x-known`\n',
    'src/front/a.ts': "set('X-Known'); set('x-unknown')\n",
    'src/sim/b.ts': "set('x-other')\n",
  }
  expect(found(docs.headers, texts)).toEqual(['src/front/a.ts:0'])
})

test('a metric that no room writes is found', () => {
  const texts = {
    'src/observe/metrics/catalog.ts': '  a: counter(\n  b: counter(\n  c: given(\n  d: {\n',
    'src/exchange/a.ts': "add(M.a, 1)\nsample('c', 1)\nset(G.dd, 1)\n",
  }
  expect(found(docs.metricsWritten, texts)).toEqual([
    'src/observe/metrics/catalog.ts:2',
    'src/observe/metrics/catalog.ts:4',
  ])
})

describe('limits', () => {
  const texts = {
    'src/a.ts': [
      '/**',
      ' * Bytes of a | b;',
      ' * more would grow.',
      ' */',
      'export const A_BYTES_MAX = 4 * 1024',
      '// Two lines.',
      'const B_MS: number =',
      '  250',
      'const B_MORE_MS = 300',
      '',
      'const C_ITEMS_MAX = 7',
      'const NO_LIMIT = 7',
    ].join('\n'),
    'native/d.h': '/// Slots.\ninline constexpr std::uint32_t D_SLOTS_MAX = 9;\n',
    'src/sim/e.ts': 'const E_MAX = 1\n',
  }

  test('are listed with value and reason', () => {
    const rows = limitsPage(treeOf(texts))
      .split('\n')
      .filter(line => line.startsWith('| `'))
    expect(rows).toEqual([
      '| `D_SLOTS_MAX` | `9` | Slots. | [native/d.h](../native/d.h) |',
      '| `A_BYTES_MAX` | `4 * 1024` | Bytes of a \\| b; more would grow. | [src/a.ts](../src/a.ts) |',
      '| `B_MS` | `250` | Two lines. | [src/a.ts](../src/a.ts) |',
      '| `B_MORE_MS` | `300` | Two lines. | [src/a.ts](../src/a.ts) |',
      '| `C_ITEMS_MAX` | `7` |  | [src/a.ts](../src/a.ts) |',
    ])
  })

  test('without a comment are found', () => {
    expect(found(limitsExplained, texts)).toEqual(['src/a.ts:11'])
  })
})
