import { mkdirSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { withoutSecrets } from '../../src/config/effective.ts'
import { ConfigurationError } from '../../src/config/error.ts'
import type { Environment, ServeFlags } from '../../src/config/flags.ts'
import { loadConfiguration } from '../../src/config/load.ts'

let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'warmpath-config-'))
})
afterEach(() => rm(folder, { recursive: true }))

function written(name: string, text: string): string {
  const file = path.join(folder, name)
  writeFileSync(file, text)
  return file
}

/** Configuration of a file with this text. */
function load(text: string, flags: ServeFlags = {}, environment: Environment = {}) {
  return loadConfiguration({ ...flags, config: written('warmpath.yaml', text) }, environment)
}

/** The faults of a configuration, without the folder of the test. */
function faultsOf(run: () => unknown): string[] {
  try {
    run()
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error
    return error.faults.map(fault => fault.replaceAll(`${folder}/`, ''))
  }
  throw new Error('the configuration was accepted')
}

const KEY = 'sk-0123456789abcdef0123456789abcdef'
const ADMIN_KEY = 'sk-admin-0123456789abcdef01234567'

describe('sources', () => {
  test('without any source it listens on loopback only, admin on the next port', () => {
    const configuration = loadConfiguration({}, {})
    expect(configuration.listen).toEqual({ host: '127.0.0.1', port: 8100 })
    expect(configuration.admin).toEqual({ host: '127.0.0.1', port: 8101 })
    expect(configuration.nodes).toEqual([])
    expect(configuration.routing.policy).toBe('prefix')
    expect(configuration.limits.body_bytes_max).toBe(32 * 1024 * 1024)
    expect(configuration.threads).toBeGreaterThanOrEqual(1)
    expect(Object.isFrozen(configuration.routing)).toBe(true)
  })

  test('the short file of the manual does', () => {
    mkdirSync(path.join(folder, 'Qwen3-8B'))
    written('Qwen3-8B/tokenizer.json', '{}')
    written('Qwen3-8B/tokenizer_config.json', '{}')
    const text = `
listen: 127.0.0.1:8100
admin: 127.0.0.1:8101
threads: 2
api_keys: ["\${WARMPATH_KEY}"]           # left out: loopback only, no key asked
nodes:
  - url: http://10.0.0.1:8000
    kv_events: tcp://10.0.0.1:5557     # left out: asked from the engine, else predictive mode
    kv_replay: tcp://10.0.0.1:5657
models:
  - name: Qwen/Qwen3-8B
    tokenizer: Qwen3-8B
`
    const configuration = load(text, {}, { WARMPATH_KEY: KEY })
    expect(configuration.threads).toBe(2)
    expect(configuration.api_keys).toEqual([KEY])
    expect(configuration.nodes[0]).toMatchObject({
      url: 'http://10.0.0.1:8000',
      kv_events: 'tcp://10.0.0.1:5557',
      kv_replay: 'tcp://10.0.0.1:5657',
    })
    expect(configuration.models).toEqual([
      { name: 'Qwen/Qwen3-8B', tokenizer: path.join(folder, 'Qwen3-8B') },
    ])
  })

  test('flags win over the environment, the environment over the file', () => {
    const text = `{listen: "127.0.0.1:1000", log: {level: error}, api_keys: [${KEY}]}`
    const environment = { WARMPATH_PORT: '2000', WARMPATH_LOG_LEVEL: 'warn' }
    expect(load(text).listen.port).toBe(1000)
    expect(load(text, {}, environment).listen).toEqual({ host: '127.0.0.1', port: 2000 })
    const flags = { port: '3000', host: '::1', 'log-level': 'debug', 'api-key': ['other'] }
    const configuration = load(text, flags, environment)
    expect(configuration.listen).toEqual({ host: '::1', port: 3000 })
    expect(configuration.log.level).toBe('debug')
    expect(configuration.api_keys).toEqual(['other'])
    expect(load(text, {}, environment).log.level).toBe('warn')
  })

  test('WARMPATH_CONFIG names the file, WARMPATH_API_KEYS lists keys', () => {
    const file = written('w.yaml', 'threads: 3')
    const environment = { WARMPATH_CONFIG: file, WARMPATH_API_KEYS: `${KEY}, other` }
    const configuration = loadConfiguration({}, environment)
    expect(configuration.threads).toBe(3)
    expect(configuration.file).toBe(file)
    expect(configuration.api_keys).toEqual([KEY, 'other'])
  })

  test('a node and a model can be given by flags', () => {
    const node = ['http://a:8000,kv_events=tcp://a:5557,in_flight_max=9', 'http://b:8000']
    const configuration = loadConfiguration({ node, model: ['m/x=toy'], policy: 'least-load' }, {})
    expect(configuration.nodes).toMatchObject([
      { url: 'http://a:8000', kv_events: 'tcp://a:5557', in_flight_max: 9 },
      { url: 'http://b:8000' },
    ])
    expect(configuration.models).toEqual([{ name: 'm/x', tokenizer: 'toy' }])
    expect(configuration.routing.policy).toBe('least-load')
  })

  test('keys of a file are added to those of the list', () => {
    written('keys.txt', `# team a\n${KEY}\n\nother-key\n`)
    const configuration = load('{api_keys: [first], api_keys_file: keys.txt}')
    expect(configuration.api_keys).toEqual(['first', KEY, 'other-key'])
  })
})

describe('spellings', () => {
  test('sizes, durations and numbers may carry units or come from variables', () => {
    const text = `
threads: \${N}
limits: {body_bytes_max: 1MiB}
timeouts: {first_byte_ms: 2m, connect_ms: "\${NOTHING:-1.5s}"}
routing: {retry_share: "0.25", wait_ms_max: 5s}
`
    const configuration = load(text, {}, { N: '4' })
    expect(configuration.threads).toBe(4)
    expect(configuration.limits.body_bytes_max).toBe(1024 * 1024)
    expect(configuration.timeouts.first_byte_ms).toBe(120_000)
    expect(configuration.timeouts.connect_ms).toBe(1500)
    expect(configuration.routing).toMatchObject({ retry_share: 0.25, wait_ms_max: 5000 })
  })

  test('a variable brings in text only, never keys', () => {
    const text = `models: [{name: "\${NAME}", tokenizer: toy}]`
    const name = 'x\n  - name: y\nthreads: 9'
    expect(load(text, {}, { NAME: name }).models[0]?.name).toBe(name)
    expect(load('models: [{name: "$${NAME}", tokenizer: toy}]').models[0]?.name).toBe('${NAME}')
  })
})

describe('faults', () => {
  test.each([
    [
      'an unknown key, with its nearest name',
      'threads: 1\nnodess: []',
      '2:1: unknown key "nodess"; the nearest is "nodes"',
    ],
    [
      'an unknown key inside a list',
      'nodes:\n  - url: http://a:1\n    kv_event: none',
      '3:5: unknown key "kv_event" under "nodes[0]"; the nearest is "kv_events"',
    ],
    ['an unknown key that is near nothing', 'zzz: 1', '1:1: unknown key "zzz"'],
    [
      'a wrong value',
      'log:\n  level: loud',
      '2:10: log.level: expected one of "silent"|"error"|"warn"|"info"|"debug"',
    ],
    ['a wrong number', 'threads: two', '1:10: threads: expected a whole number, not "two"'],
    ['a number out of range', 'threads: 0', '1:10: threads: 0 is out of range: 1 to 256'],
    ['a key left empty', 'api_keys:', '1:10: api_keys: expected array, received null'],
    [
      'a path in the address of a node',
      'nodes: [{url: "http://a:1/v1"}]',
      '1:15: nodes[0].url: must be the origin of a node, without a path, such as ' +
        'http://10.0.0.1:8000',
    ],
    ['no YAML', 'nodes: [', '1:9: '],
    ['a key given twice', 'threads: 1\nthreads: 2', '2:1: '],
    ['a missing variable', 'a: 1\nlisten: ${NOPE}', '2:9: environment variable NOPE is not set'],
    ['a broken reference', 'listen: ${a-b}', '1:9: "${a-b}" is no variable'],
    ['a list at the top', '- a', '1:1: expected keys such as "nodes:"'],
    ['a node listed twice', 'nodes: [{url: "http://a:1"}, {url: "http://a:1/"}]', '1:36: nodes[1]'],
    ['a model listed twice', 'models: [{name: a}, {name: a}]', '1:28: models[1].name: model a'],
    [
      'a replay socket without events',
      'nodes: [{url: "http://a:1", kv_replay: "tcp://a:2"}]',
      '1:40: nodes[0].kv_replay: kv_replay is of no use without kv_events',
    ],
    ['a missing tokenizer', 'models: [{name: a, tokenizer: nowhere}]', '1:31: models[0].tokenizer'],
  ])('%s is refused at its place', (_, text, expected) => {
    const [first] = faultsOf(() => load(text))
    expect(first).toContain(`warmpath.yaml:${expected}`)
  })

  test('all faults are told at once, in the order of the file', () => {
    const text = 'thread: 1\nlog:\n  level: loud\nzzz: 1\nlimits: {body_bytes_max: 1}'
    const lines = faultsOf(() => load(text)).map(fault => fault.split(':')[1])
    expect(lines).toEqual(['1', '3', '4', '5'])
  })

  test('a fault of a flag or a variable names it', () => {
    expect(faultsOf(() => loadConfiguration({ threads: 'x' }, {}))[0]).toMatch(/^--threads: /)
    expect(faultsOf(() => loadConfiguration({ port: '99999' }, {}))[0]).toMatch(/^--port: listen/)
    const variable = { WARMPATH_LOG_LEVEL: 'loud' }
    expect(faultsOf(() => loadConfiguration({}, variable))[0]).toMatch(/^WARMPATH_LOG_LEVEL: /)
    expect(faultsOf(() => loadConfiguration({ config: 'nowhere.yaml' }, {}))[0]).toMatch(
      /^nowhere\.yaml: cannot be read/,
    )
  })

  test('no fault repeats a key', () => {
    const short = 'shortkey'
    const seen = [
      ...faultsOf(() => loadConfiguration({ host: '0.0.0.0', 'api-key': [short] }, {})),
      ...faultsOf(() => load(`api_keys: [${short}]\nadmin_keys: [${short}]`)),
      ...faultsOf(() => load(`api_keys: ["${short} with space"]`)),
      ...faultsOf(() => load(`api_keys: {${short}: 1}`)),
    ]
    expect(seen.join('\n')).not.toContain(short)
    expect(seen.length).toBeGreaterThanOrEqual(4)
  })
})

describe('a public address', () => {
  const hosts = ['0.0.0.0', '::', '10.0.0.5', 'gateway.example', '::ffff:10.0.0.5']
  const loopback = ['127.0.0.1', '127.1.2.3', '::1', 'localhost', '::ffff:127.0.0.1']

  test.each(hosts)('%s is refused without a key, for data and for admin', host => {
    const [data] = faultsOf(() => loadConfiguration({ host }, {}))
    expect(data).toContain('no API key is set: add api_keys')
    const place = host.includes(':') ? `[${host}]` : host
    const [admin] = faultsOf(() => loadConfiguration({ admin: `${place}:9000` }, {}))
    expect(admin).toContain('no admin key is set: add admin_keys')
    const keys = { 'api-key': [KEY], 'admin-key': [ADMIN_KEY] }
    expect(loadConfiguration({ host, admin: `${place}:9000`, ...keys }, {}).listen.host).toBe(host)
  })

  test.each(loopback)('%s needs no key', host => {
    expect(loadConfiguration({ host }, {}).listen.host).toBe(host)
  })

  test('an API key opens no admin listener and an admin key no data listener', () => {
    const admin = '0.0.0.0:9000'
    expect(faultsOf(() => loadConfiguration({ admin, 'api-key': [KEY] }, {}))).toHaveLength(1)
    const flags = { host: '0.0.0.0', 'admin-key': [ADMIN_KEY] }
    expect(faultsOf(() => loadConfiguration(flags, {}))).toHaveLength(1)
  })

  test('a key shorter than 32 characters is refused there', () => {
    const short = 'x'.repeat(31)
    const [fault] = faultsOf(() => loadConfiguration({ host: '::', 'api-key': [short] }, {}))
    expect(fault).toMatch(/^--api-key: api_keys\[0\]: a key of 31 characters is too short/)
    expect(loadConfiguration({ 'api-key': [short] }, {}).api_keys).toEqual([short])
    const long = { host: '::', 'api-key': ['x'.repeat(32)] }
    expect(loadConfiguration(long, {}).api_keys).toHaveLength(1)
  })
})

test('localhost is an address of loopback', () => {
  const faults = faultsOf(() => load('listen: localhost:9000\nadmin: 127.0.0.1:9000\n'))
  expect(faults[0]).toContain('give one another port')
  const elsewhere = `admin: 10.0.0.1:9000\nadmin_keys: [${ADMIN_KEY}]\n`
  expect(load(`listen: localhost:9000\n${elsewhere}`).admin.port).toBe(9000)
})

test.each([
  ['nodes: *all\n', 'warmpath.yaml:1:8: *all refers to an anchor &all that is not there'],
  [
    `a: &a [1,1,1,1,1,1,1,1,1,1]\nb: &b [${'*a,'.repeat(20)}]\nc: [${'*b,'.repeat(20)}]\n`,
    'warmpath.yaml: Excessive alias count',
  ],
])('an alias that cannot be followed is a fault of the file', (text, fault) => {
  expect(faultsOf(() => load(text))[0]).toContain(fault)
})

test('data and admin on one address and port are refused', () => {
  for (const admin of ['127.0.0.1:8100', '8100', '0.0.0.0:8100']) {
    const faults = faultsOf(() => loadConfiguration({ admin, 'admin-key': [ADMIN_KEY] }, {}))
    expect(faults[0]).toContain('the data and the admin listener are both on')
  }
  expect(faultsOf(() => loadConfiguration({ port: '65535' }, {}))[0]).toContain('no port is left')
  expect(loadConfiguration({ port: '0' }, {}).admin.port).toBe(0)
})

test('the effective configuration shows no secret and can be read again', () => {
  const text = `
api_keys: [${KEY}]
admin_keys: [${ADMIN_KEY}]
nodes: [{url: "http://a:1", api_key: node-secret}]
`
  const shown = JSON.stringify(withoutSecrets(load(text)))
  for (const secret of [KEY, ADMIN_KEY, 'node-secret']) expect(shown).not.toContain(secret)
  const plain = load('{threads: 2, models: [{name: a, tokenizer: toy}]}')
  const again = load(JSON.stringify(withoutSecrets(plain)))
  expect(again).toEqual(plain)
})
