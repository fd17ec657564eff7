import { mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Configuration } from '../../src/config/effective.ts'
import type { ServeFlags } from '../../src/config/flags.ts'
import { loadConfiguration } from '../../src/config/load.ts'
import { ConfigurationWatch, difference, type RuntimeKey } from '../../src/config/watch.ts'
import { RELOAD_OUTCOMES } from '../../src/observe/metrics/labels.ts'

let folder = ''
let watch: Watched | null = null
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'warmpath-watch-'))
})
afterEach(async () => {
  watch?.watch.close()
  await rm(folder, { recursive: true })
})

interface Watched {
  readonly watch: ConfigurationWatch
  readonly applied: { configuration: Configuration; changed: readonly RuntimeKey[] }[]
  readonly outcomes: string[]
  readonly lines: string[]
}

function watching(flags: ServeFlags): Watched {
  const applied: Watched['applied'] = []
  const outcomes: string[] = []
  const lines: string[] = []
  const note = (fields: object, message: string): void => {
    lines.push(`${message} ${JSON.stringify(fields)}`)
  }
  const load = (): Configuration => loadConfiguration(flags, {})
  watch = {
    watch: new ConfigurationWatch({
      current: load(),
      load,
      apply: (configuration, changed) => applied.push({ configuration, changed }),
      log: { debug: note, info: note, warn: note, error: note },
      onOutcome: index => outcomes.push(RELOAD_OUTCOMES[index] ?? ''),
    }),
    applied,
    outcomes,
    lines,
  }
  return watch
}

const KEY = 'sk-0123456789abcdef0123456789abcdef'
const nodes = (...names: string[]): string =>
  `nodes: [${names.map(name => `{url: "http://${name}:1"}`).join(', ')}]\n`

test('a change of the file is applied', async () => {
  const config = path.join(folder, 'w.yaml')
  writeFileSync(config, nodes('a'))
  const { applied } = watching({ config })
  writeFileSync(config, nodes('a', 'b'))
  await vi.waitFor(() => expect(applied).toHaveLength(1), { timeout: 5000 })
  expect(applied[0]?.changed).toEqual(['nodes'])
  expect(applied[0]?.configuration.nodes).toHaveLength(2)
})

test('a swap of a symbolic link beside the file is applied, as Kubernetes does it', async () => {
  for (const [version, names] of [
    ['..v1', ['a']],
    ['..v2', ['a', 'b']],
  ] as const) {
    mkdirSync(path.join(folder, version))
    writeFileSync(path.join(folder, version, 'w.yaml'), nodes(...names))
  }
  symlinkSync('..v1', path.join(folder, '..data'))
  symlinkSync('..data/w.yaml', path.join(folder, 'w.yaml'))
  const { applied } = watching({ config: path.join(folder, 'w.yaml') })
  symlinkSync('..v2', path.join(folder, '..data_tmp'))
  renameSync(path.join(folder, '..data_tmp'), path.join(folder, '..data'))
  await vi.waitFor(() => expect(applied).toHaveLength(1), { timeout: 5000 })
  expect(applied[0]?.configuration.nodes).toHaveLength(2)
})

test('SIGHUP reloads also what is no change of the file', async () => {
  const config = path.join(folder, 'w.yaml')
  writeFileSync(config, nodes('a'))
  const { outcomes } = watching({ config })
  process.kill(process.pid, 'SIGHUP')
  await vi.waitFor(() => expect(outcomes).toEqual(['unchanged']))
})

describe('a reload', () => {
  test('with a fault keeps the old configuration and says where the fault is', () => {
    const config = path.join(folder, 'w.yaml')
    writeFileSync(config, nodes('a'))
    const { watch: watcher, applied, outcomes, lines } = watching({ config })
    writeFileSync(config, `${nodes('a', 'b')}nodess: 1\n`)
    watcher.reload()
    expect([applied.length, outcomes]).toEqual([0, ['rejected']])
    expect(lines[0]).toContain('w.yaml:2:1: unknown key')
    writeFileSync(config, nodes('a', 'b'))
    watcher.reload()
    expect(applied).toHaveLength(1)
    expect(outcomes).toEqual(['rejected', 'applied'])
  })

  test('tells which changes need a restart and leaves them out', () => {
    const config = path.join(folder, 'w.yaml')
    writeFileSync(config, 'threads: 1\nlog: {level: info}')
    const { watch: watcher, applied, lines } = watching({ config })
    writeFileSync(config, 'threads: 2\nlog: {level: debug, destination: stderr}')
    watcher.reload()
    expect(applied[0]?.changed).toEqual(['log.level'])
    expect(applied[0]?.configuration.threads).toBe(1)
    expect(applied[0]?.configuration.log).toEqual({ level: 'debug', destination: 'stdout' })
    expect(lines[0]).toContain('need a restart {"keys":["threads","log"]}')
  })

  test('cannot take the last key from a listener that stays public', () => {
    const config = path.join(folder, 'w.yaml')
    writeFileSync(config, `listen: 0.0.0.0:9000\napi_keys: [${KEY}]`)
    const { watch: watcher, applied, outcomes } = watching({ config })
    writeFileSync(config, 'listen: 127.0.0.1:9000')
    watcher.reload()
    expect([applied.length, outcomes]).toEqual([0, ['rejected']])
  })

  test('follows the file of keys', () => {
    const keys = path.join(folder, 'keys')
    writeFileSync(keys, KEY)
    const { watch: watcher, applied } = watching({ 'api-keys-file': keys })
    writeFileSync(keys, `${KEY}\n${KEY}2`)
    watcher.reload()
    expect(applied[0]?.changed).toEqual(['api_keys'])
  })
})

test('configurations that are equal have no difference', () => {
  const a = loadConfiguration({ port: '0' }, {})
  const b = loadConfiguration({ port: '0' }, {})
  expect(difference(a, b)).toEqual({ changed: [], needsRestart: [] })
  const moved = loadConfiguration({ port: '1', policy: 'round-robin' }, {})
  expect(difference(a, moved)).toEqual({
    changed: [],
    needsRestart: ['listen', 'routing', 'admin'],
  })
})
