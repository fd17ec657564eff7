/**
 * The rules are rules only if they find what breaks them: for each, a small tree that keeps it and
 * one in which a violation was planted.
 */
import { describe, expect, test } from 'vitest'
import * as code from './rules/code.ts'
import * as names from './rules/names.ts'
import * as shape from './rules/shape.ts'
import { type Rule, treeOf } from './source_tree.ts'

type Texts = Record<string, string>

/** Paths and lines that a rule finds in a tree of these texts. */
function found(rule: Rule, texts: Texts): string[] {
  return rule.check(treeOf(texts)).map(({ path, line }) => `${path}:${line}`)
}

const lines = (count: number): string => 'x\n'.repeat(count)
const body = (count: number): string => `function f(): void {\n${lines(count - 2)}}\n`

/** What breaks a rule at the named place, and what comes close but does not. */
interface Plant {
  readonly rule: Rule
  readonly bad: Texts
  readonly at: readonly string[]
  readonly good: Texts
}

const SHAPE: readonly Plant[] = [
  {
    rule: shape.columns,
    bad: { 'src/a.ts': `ok\n// ${'x'.repeat(98)}\n` },
    at: ['src/a.ts:2'],
    good: {
      'src/a.ts': `// ${'é'.repeat(97)}\n  '${'x'.repeat(200)}',\n`,
      'a.md': 'x'.repeat(300),
    },
  },
  {
    rule: shape.fileSize,
    bad: { 'src/a.ts': lines(401), 'native/b.cc': 'x'.repeat(25 * 1024 + 1) },
    at: ['src/a.ts:0', 'native/b.cc:0'],
    good: { 'src/a.ts': lines(400), 'docs/a.md': lines(500) },
  },
  {
    rule: shape.functionSize,
    bad: {
      'src/a.ts': body(71),
      'src/b.ts': `class A {\n  #f(a: A): B {\n${lines(69)}  }\n}\n`,
      'src/c.ts': `const f = async () => {\n${lines(69)}}\n`,
      'src/d.ts': `function f(\n  a: A,\n): B {\n${lines(69)}}\n`,
      'native/e.cc': `void F::g(int a) const {\n${lines(69)}}\n`,
      'test/f.test.ts': `test('a', () => {\n${lines(69)}})\n`,
    },
    at: [
      'src/a.ts:1',
      'src/b.ts:2',
      'src/c.ts:1',
      'src/d.ts:3',
      'native/e.cc:1',
      'test/f.test.ts:1',
    ],
    good: {
      'src/a.ts': body(70),
      'src/b.ts': `class A {\n${lines(80)}}\n`,
      'src/c.ts': `const table = {\n${lines(80)}}\n`,
      'native/d.h': `namespace a {\n${lines(80)}}\n`,
      'test/e.test.ts': `describe('a', () => {\n${lines(80)}})\n`,
    },
  },
  {
    rule: shape.header,
    bad: {
      'src/a.ts': `import x\n${lines(40)}`,
      'native/b.h': `#pragma once\n\nint x;\n${lines(40)}`,
      'native/c.cc': `#include "d.h"\n${lines(40)}`,
    },
    at: ['src/a.ts:1', 'native/b.h:1', 'native/c.cc:1'],
    good: {
      'src/a.ts': `#!/usr/bin/env node\n/** Why. */\n${lines(40)}`,
      'native/b.h': `#pragma once\n\n// Why.\n${lines(40)}`,
      'native/b.cc': lines(40),
      'src/c.ts': lines(38),
    },
  },
  {
    rule: shape.whitespace,
    bad: { 'a.md': 'x \n', 'b.ts': 'x', 'c.ts': 'x\n\n' },
    at: ['a.md:1', 'b.ts:1', 'c.ts:3'],
    good: { 'a.md': 'x\n\ny\n' },
  },
]

const NAMES: readonly Plant[] = [
  {
    rule: names.bannedNames,
    bad: {
      'src/utils/a.ts': '',
      'src/cache_manager.ts': '',
      'test/helpers.ts': '',
      'native/common/a.h': '',
    },
    at: ['src/utils/a.ts:0', 'src/cache_manager.ts:0', 'test/helpers.ts:0', 'native/common/a.h:0'],
    good: { 'src/nodes/uncommon.ts': '' },
  },
  {
    rule: names.spelling,
    bad: { 'src/nodes/FleetView.ts': '', 'src/fleet-view.ts': '', 'src/Nodes/a.ts': '' },
    at: ['src/nodes/FleetView.ts:0', 'src/fleet-view.ts:0', 'src/Nodes/a.ts:0'],
    good: { 'src/model-cache/fleet_view.test.ts': '', 'vitest.config.ts': '', 'README.md': '' },
  },
  {
    rule: names.direction,
    bad: {
      'src/nodes/a.ts': "import { x } from '../routing/b.ts'\nimport '../sim/c.ts'\n",
      'src/errors.ts': "import type { x } from './setting.ts'\n",
      'src/prompt/b.ts': "const x = await import('../front/c.ts')\n",
      'src/native/c.ts': "export {\n  x,\n} from '../observe/d.ts'\n",
      'src/api/d.ts': "import { x } from '../../test/e.ts'\n",
      'src/elsewhere/e.ts': '',
    },
    at: [
      'src/nodes/a.ts:1',
      'src/nodes/a.ts:2',
      'src/errors.ts:1',
      'src/prompt/b.ts:1',
      'src/native/c.ts:3',
      'src/api/d.ts:1',
      'src/elsewhere/e.ts:0',
    ],
    good: {
      'src/routing/a.ts': "import { x } from '../nodes/b.ts'\nimport y from './c.ts'\n",
      'src/nodes/b.ts': "import { x } from '../errors.ts'\nimport fs from 'node:fs'\n",
    },
  },
  {
    rule: names.importsExist,
    bad: { 'src/a.ts': "import { x } from './b'\nimport { y } from './gone.ts'\n", 'src/b.ts': '' },
    at: ['src/a.ts:1', 'src/a.ts:2'],
    good: { 'src/a.ts': "import { x } from './b.ts'\n", 'src/b.ts': '' },
  },
]

const CODE: readonly Plant[] = [
  {
    rule: code.unfinished,
    bad: { 'src/a.ts': '// TODO later\n', 'native/b.cc': '// FIXME\n', 'README.md': 'XXX\n' },
    at: ['src/a.ts:1', 'native/b.cc:1', 'README.md:1'],
    good: { 'src/a.ts': 'const TODOS = 1\n' },
  },
  {
    rule: code.anyType,
    bad: { 'src/a.ts': 'let a: any\nlet b = c as any\nlet d: Map<any, x>\nlet e: any[]\n' },
    at: ['src/a.ts:1', 'src/a.ts:2', 'src/a.ts:3', 'src/a.ts:4'],
    good: { 'src/a.ts': '// of: any kind\nconst any = 1\nexpect.any(x)\n * note: any case\n' },
  },
  {
    rule: code.assertions,
    bad: { 'src/a.ts': 'const a = b as C\nconst d = (e as { f: g }).f\n' },
    at: ['src/a.ts:1', 'src/a.ts:2'],
    good: {
      'src/a.ts':
        "import { a as b } from './c.ts'\nconst d = [1] as const\nlog('as said')\n" +
        '// Decode boundary.\nconst e = f as G\n',
      'test/a.ts': 'const a = b as C\n',
    },
  },
  {
    rule: code.sleeps,
    bad: {
      'test/a.test.ts':
        'await new Promise(resolve => setTimeout(resolve, 100))\n' +
        "import { setTimeout } from 'node:timers/promises'\nawait sleep(5)\n",
    },
    at: ['test/a.test.ts:1', 'test/a.test.ts:2', 'test/a.test.ts:3'],
    good: { 'test/a.test.ts': 'setTimeout(() => reject(new Error()), LIMIT)\n' },
  },
  {
    rule: code.switchedOff,
    bad: { 'test/a.test.ts': "test.only('a')\ndescribe.skip('b')\nit.todo('c')\nxit('d')\n" },
    at: ['test/a.test.ts:1', 'test/a.test.ts:2', 'test/a.test.ts:3', 'test/a.test.ts:4'],
    good: { 'test/a.test.ts': "test.skipIf(!hasFuse)('a')\ntest.each([1])('b')\n" },
  },
  {
    rule: code.consoles,
    bad: { 'src/a.ts': "  console.log('x')\n" },
    at: ['src/a.ts:1'],
    good: { 'test/a.test.ts': "console.info('x')\n" },
  },
  {
    rule: code.deadExports,
    bad: {
      'src/nodes/a.ts': 'export const a = 1\nexport function b() {}\nexport interface C {}\n',
    },
    at: ['src/nodes/a.ts:1', 'src/nodes/a.ts:2', 'src/nodes/a.ts:3'],
    good: {
      'src/nodes/a.ts':
        'export const a = 1\nexport const E_MAX = 1\nexport interface C {}\nconst d: C = {}\n',
      'test/a.test.ts': "import { a } from '../src/nodes/a.ts'\n",
    },
  },
  {
    rule: code.places,
    bad: {
      'src/a.ts': "const a = '/tmp/x'\n",
      'docs/a.md': 'see /home/me\n',
      'b.json': '{"a": "https://registry.example.org/x"}\n',
    },
    at: ['src/a.ts:1', 'docs/a.md:1', 'b.json:1'],
    good: { 'src/a.ts': "const a = 'src/tmp/x'\n", 'docs/a.md': 'http://10.0.0.1/home/x\n' },
  },
  {
    rule: code.lockfile,
    bad: { 'package-lock.json': '{\n"resolved": "https://x.example/y.tgz"\n}\n' },
    at: ['package-lock.json:2'],
    good: { 'package-lock.json': '{\n"integrity": "sha512-x"\n}\n' },
  },
]

describe.each([...SHAPE, ...NAMES, ...CODE])('$rule.name', ({ rule, bad, at, good }) => {
  test('finds what was planted, at its place', () => {
    expect(found(rule, bad)).toEqual(at)
  })

  test('leaves alone what comes close', () => {
    expect(found(rule, good)).toEqual([])
  })
})

test('every rule has its plant', () => {
  const planted = new Set([...SHAPE, ...NAMES, ...CODE].map(({ rule }) => rule))
  for (const rule of [...shape.SHAPE_RULES, ...names.NAME_RULES, ...code.CODE_RULES]) {
    expect(planted.has(rule), rule.name).toBe(true)
  }
})
