/** The documents say what the source does: compared by import, not by hand. */
import { execFileSync } from 'node:child_process'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { KEPT_ROUTES, MODEL_PATH, ROUTES } from '../../src/api/endpoints.ts'
import { SERVE_FLAGS } from '../../src/config/flags.ts'
import { loadConfiguration } from '../../src/config/load.ts'
import { configurationSchema, type SettingSchema, settingSchema } from '../../src/config/schema.ts'
import { ERROR_CODES, OperatingError } from '../../src/errors.ts'
import { CACHE_METRICS } from '../../src/model-cache/metrics.ts'
import { nodeEntrySchema } from '../../src/nodes/config.ts'
import { CATALOG, type MetricSpec } from '../../src/observe/metrics/catalog.ts'
import { EDITS } from '../../src/observe/metrics/labels.ts'
import { DOC_RULES, namesIn, page, rowsOf, sectionOf } from './rules/docs.ts'
import { limitsExplained, limitsPage } from './rules/limits.ts'
import { filesIn, treeAt } from './source_tree.ts'

const tree = treeAt('.')
const configuration = page(tree, 'docs/configuration.md')
const api = page(tree, 'docs/http-api.md')
const metrics = page(tree, 'docs/metrics.md')

test.each([...DOC_RULES, limitsExplained])('$name', rule => {
  const found = rule.check(tree).map(({ path, line, message }) => `${path}:${line}: ${message}`)
  expect(found).toEqual([])
})

test('docs/limits.md lists the limits (npm run docs:limits rewrites it)', async () => {
  await expect(limitsPage(tree)).toMatchFileSnapshot('../../docs/limits.md')
})

/** Paths of all keys, `nodes[].url` for those of a list's entries. */
function keysOf(schema: SettingSchema, prefix = ''): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([key, inner]) => {
    const entry = inner.items?.properties === undefined ? null : inner.items
    const name = prefix + key
    return [name, ...keysOf(entry ?? inner, entry === null ? `${name}.` : `${name}[].`)]
  })
}

describe('docs/configuration.md', () => {
  test('describes every key once and no other', () => {
    const described = namesIn(configuration, 'Keys')
    expect(described.toSorted()).toEqual(keysOf(settingSchema()).toSorted())
  })

  test('gives every key its default', () => {
    const keys = sectionOf(configuration, 'Keys')
    const given = rowsOf(keys).flatMap(({ cells: [name = '', value = ''] }) =>
      /^`.*`$/.test(value) ? [[name.slice(1, -1), value.slice(1, -1)] as const] : [],
    )
    expect(given.length).toBeGreaterThan(30)
    const data: Record<string, Record<string, unknown>> = {}
    for (const [name, value] of given) {
      const [section = '', key] = name.split('.')
      if (section === 'nodes[]') continue
      if (key === undefined) data[section] ??= parse(value) as Record<string, unknown>
      else data[section] = { ...data[section], [key]: parse(value) as unknown }
    }
    const written = configurationSchema.parse(data)
    expect(written).toEqual(configurationSchema.parse({}))
    const inFlight = given.find(([name]) => name === 'nodes[].in_flight_max')?.[1]
    expect(nodeEntrySchema.parse({ url: 'http://a:1' }).in_flight_max).toBe(Number(inFlight))
  })

  test('says of every key of the top level whether a reload applies it', () => {
    const keys = sectionOf(configuration, 'Keys')
    for (const { cells } of rowsOf(keys)) expect(['yes', 'no', 'in part']).toContain(cells[2])
  })

  test('lists every flag once and no other', () => {
    const flags = namesIn(configuration, 'Flags').map(text => text.split(' ')[0]!.slice(2))
    expect(flags.toSorted()).toEqual([...Object.keys(SERVE_FLAGS), 'json'].toSorted())
  })

  test('lists every environment variable once and no other', () => {
    const source = filesIn(tree, /^src\/(config|commands)\/.*\.ts$/).map(file => file.text)
    const known = new Set(source.join('\n').match(/WARMPATH_[A-Z_]+/g))
    // A name in an example of a key, not a variable that is read.
    known.delete('WARMPATH_KEY')
    expect(namesIn(configuration, 'Environment').toSorted()).toEqual([...known].toSorted())
  })

  test('shows the short file of the README, which is accepted', () => {
    const example = /```yaml\n(.*?)```/s.exec(page(tree, 'README.md').text)?.[1] ?? ''
    const data = parse(example.replace('${WARMPATH_KEY}', 'x'.repeat(32))) as object
    expect(configurationSchema.safeParse(data).success).toBe(true)
    expect(loadConfiguration({}, {}).listen.port).toBe(8100)
  })
})

/** The flags that `warmpath COMMAND --help` prints. */
function flagsOfHelp(command: string): string[] {
  const args = ['dist/cli.js', command, '--help']
  const text = execFileSync(process.execPath, args, { encoding: 'utf8' })
  return [...text.matchAll(/^ {2}(--[a-z-]+)/gm)].map(match => match[1]!)
}

describe('commands', () => {
  test('docs/simulated-nodes.md lists every flag of warmpath sim once and no other', () => {
    const names = namesIn(page(tree, 'docs/simulated-nodes.md'))
    const listed = names.filter(name => name.startsWith('--'))
    const flags = flagsOfHelp('sim').filter(flag => flag !== '--help')
    expect(listed.toSorted()).toEqual(flags.toSorted())
  })

  test('docs/benchmarks.md lists every flag of warmpath bench once and no other', () => {
    const names = namesIn(page(tree, 'docs/benchmarks.md'))
    const listed = names.filter(name => name.startsWith('--')).map(name => name.split(' ')[0]!)
    expect(listed.toSorted()).toEqual(flagsOfHelp('bench').toSorted())
  })

  test('the flags that serve --help prints are those of the documents', () => {
    const flags = Object.keys(SERVE_FLAGS).map(name => `--${name}`)
    expect(flagsOfHelp('serve').toSorted()).toEqual(flags.toSorted())
  })
})

function typeOf(spec: MetricSpec): string {
  if (spec.kind === 'given') return spec.type
  if (spec.kind === 'counter' || spec.kind === 'node_counter') return 'counter'
  return spec.kind === 'histogram' ? 'histogram' : 'gauge'
}

function labelsOf(spec: MetricSpec): string[] {
  switch (spec.kind) {
    case 'counter':
      return spec.labels.map(label => label.name)
    case 'node_counter':
      return ['node', 'rank', ...spec.labels.map(label => label.name)]
    case 'thread_gauge':
      return ['thread']
    case 'given':
      return [...spec.labelNames]
    case 'histogram':
    case 'sum_gauge':
      return []
  }
}

describe('docs/metrics.md', () => {
  test('describes every metric once: name, type, labels and meaning', () => {
    const rows = rowsOf(sectionOf(metrics, 'Metrics')).map(({ cells }) => cells)
    const wanted = CATALOG.map(spec => [
      `\`${spec.name}\``,
      typeOf(spec),
      labelsOf(spec)
        .map(label => `\`${label}\``)
        .join(', '),
      spec.help,
    ])
    expect(rows).toEqual(wanted)
  })

  test('lists the values of every label', () => {
    const rows = rowsOf(sectionOf(metrics, 'Values of labels')).map(({ cells }) => cells)
    const wanted = CATALOG.flatMap(spec =>
      spec.kind === 'counter' || spec.kind === 'node_counter'
        ? spec.labels.map(label => [
            `\`${label.name}\` of \`${spec.name}\``,
            label.values.map(value => `\`${value}\``).join(', '),
          ])
        : [],
    )
    expect(rows).toEqual(wanted)
  })

  test('every metric that a document names exists', () => {
    const names = new Set(CATALOG.map(spec => spec.name))
    for (const { name } of Object.values(CACHE_METRICS)) names.add(name)
    // The addon and the executable of the model cache, which are no metrics.
    for (const name of ['warmpath_model_cache', 'warmpath_supervisor']) names.add(name)
    for (const file of filesIn(tree, /\.md$/)) {
      for (const [name] of file.text.matchAll(/\bwarmpath_[a-z0-9_]+\b/g)) {
        expect(names.has(name), `${file.path}: ${name}`).toBe(true)
      }
    }
  })
})

describe('docs/http-api.md', () => {
  test('lists every error code once, with its status', () => {
    const rows = rowsOf(sectionOf(api, 'Errors')).map(
      ({ cells: [code, status] }) => `${code} ${status}`,
    )
    const wanted = ERROR_CODES.map(code => `\`${code}\` ${new OperatingError(code, '').status}`)
    expect(rows.toSorted()).toEqual(wanted.toSorted())
  })

  test('lists every route of the data listener once and no other', () => {
    const cells = namesIn(api, 'Data listener').map(text => text.split(' '))
    const paths = cells.map(([, route = '']) => route)
    const kept = KEPT_ROUTES.map(([method, route]) => `${method} ${route}`)
    const known = [...ROUTES.keys(), `${MODEL_PATH}{id}`, ...KEPT_ROUTES.map(([, route]) => route)]
    expect(paths.toSorted()).toEqual(known.toSorted())
    for (const [method, route = ''] of cells) {
      if (kept.includes(`${method} ${route}`)) continue
      const found = ROUTES.get(route)
      expect([route, method]).toEqual([route, found?.kind === 'relay' ? found.method : 'GET'])
    }
  })

  test('lists every edit once', () => {
    expect(namesIn(api, 'What is changed in a request').toSorted()).toEqual([...EDITS].toSorted())
  })
})
