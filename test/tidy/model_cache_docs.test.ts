/** docs/model-cache.md says what the model cache does: compared by import, not by hand. */
import { execFileSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { cacheSchema } from '../../src/model-cache/config.ts'
import { CACHE_METRICS } from '../../src/model-cache/metrics.ts'
import { namesIn, page, rowsOf, sectionOf } from './rules/docs.ts'
import { treeAt } from './source_tree.ts'

const text = page(treeAt('.'), 'docs/model-cache.md')

test.each(['mount', 'warmup', 'cache'])('lists every flag of warmpath %s once', command => {
  const args = ['dist/cli.js', command, '--help']
  const help = execFileSync(process.execPath, args, { encoding: 'utf8' })
  const flags = [...help.matchAll(/^ {2}(--[a-z-]+)/gm)].map(match => match[1]!)
  const listed = namesIn(text, `Flags of ${command}`).map(name => name.split(' ')[0]!)
  expect([...listed, '--help'].toSorted()).toEqual(flags.toSorted())
})

test('describes every key of cache once', () => {
  const rows = rowsOf(sectionOf(text, 'Configuration file'))
  const listed = rows.map(({ cells }) => [cells[0], cells[2]])
  const wanted = Object.entries(cacheSchema.shape).map(([key, schema]) => [
    `\`${key}\``,
    schema.description,
  ])
  expect(listed).toEqual(wanted)
})

test('describes every metric once', () => {
  const rows = rowsOf(sectionOf(text, 'Cache metrics')).map(({ cells }) => cells)
  const wanted = Object.values(CACHE_METRICS).map(({ name, type, labels, help }) => [
    `\`${name}\``,
    type,
    labels.map(label => `\`${label}\``).join(', '),
    help,
  ])
  expect(rows).toEqual(wanted)
})
