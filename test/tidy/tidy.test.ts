/** The repository keeps its own rules: one test a rule, over every file that git tracks. */
import { describe, expect, test } from 'vitest'
import { CODE_RULES } from './rules/code.ts'
import { NAME_RULES } from './rules/names.ts'
import { SHAPE_RULES } from './rules/shape.ts'
import { treeAt } from './source_tree.ts'

const tree = treeAt('.')

describe('tidy', () => {
  test.each([...SHAPE_RULES, ...NAME_RULES, ...CODE_RULES])('$name', rule => {
    const found = rule.check(tree).map(({ path, line, message }) => `${path}:${line}: ${message}`)
    expect(found).toEqual([])
  })

  test('the tree holds the whole repository', () => {
    const paths = tree.files.map(file => file.path)
    for (const known of [
      'src/cli.ts',
      'native/addon.cc',
      'package.json',
      'test/tidy/tidy.test.ts',
    ]) {
      expect(paths).toContain(known)
    }
    expect(paths.some(path => path.startsWith('node_modules'))).toBe(false)
  })
})
