import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { ConfigurationError } from '../../src/config/error.ts'
import { loadStorage } from '../../src/config/storage.ts'
import {
  cacheEntries,
  emptyPreloads,
  isPreloaded,
  overlapFault,
  storageSchema,
} from '../../src/model-cache/config.ts'
import { listeningOf } from '../../src/model-cache/listening.ts'

const folder = mkdtempSync(path.join(os.tmpdir(), 'warmpath-config-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function load(text: string) {
  const config = path.join(folder, 'cache.json')
  writeFileSync(config, text)
  return loadStorage({ config }, [], {})
}

function faultsOf(work: () => unknown): readonly string[] {
  try {
    work()
  } catch (error) {
    if (error instanceof ConfigurationError) return error.faults
    throw error
  }
  return []
}

/** As the article prints it. */
const ARTICLE = `{
  "metadata": {"name": "qwen", "instance": 1},
  "storage":[
   {"mount_path":"/mnt/models/Qwen3-8B/",
    "oss":{"path":"oss://path/to/models/Qwen3-8B/","readOnly":false}},
   {"mount_path":"/mnt/models/Qwen3-8B-fast/",
    "cache":{"capacity":"10G","path":"/mnt/models/Qwen3-8B/",
     "preload":"/","cacheroot_service":"warm:8300"}},
   {"mount_path":"/mnt/other-fast","cache":{"capacity":"20GiB","path":"/srv/other","mode":"tmpfs"}}
  ]}`

describe('--config', () => {
  test("takes the article's JSON as it is, several entries at once", () => {
    const [first, second] = load(ARTICLE)
    expect(first).toMatchObject({
      path: '/mnt/models/Qwen3-8B',
      accelerated: '/mnt/models/Qwen3-8B-fast',
      sourceId: 'oss://path/to/models/Qwen3-8B',
      capacity: 10e9,
      preload: '/',
      cacheroot_service: 'warm:8300',
      mode: 'auto',
      revalidate: 5000,
      scan: 30_000,
    })
    expect(second).toMatchObject({ sourceId: '/srv/other', capacity: 20 * 2 ** 30, mode: 'tmpfs' })
  })

  test('names the place of an unknown key, and the nearest', () => {
    const text = ARTICLE.replace('"preload":"/"', '"prelaod":"/"')
    expect(faultsOf(() => load(text))).toEqual([
      expect.stringMatching(/cache\.json:8:\d+: unknown key "prelaod" .*nearest is "preload"/),
    ])
  })

  test('refuses a bare number below 1 MiB with the remedy', () => {
    const text = ARTICLE.replace('"10G"', '10')
    expect(faultsOf(() => load(text))[0]).toMatch(/cache\.json:7:.*write "10GiB" or "10G"/)
  })

  test('refuses entries that overlap', () => {
    const text = ARTICLE.replace('/mnt/other-fast', '/mnt/models/Qwen3-8B-fast/inner')
    expect(faultsOf(() => load(text))[0]).toContain('overlap')
  })
})

function entry(mount_path: string, source: string): object {
  return { mount_path, cache: { path: source, capacity: '1G' } }
}

function faults(...storage: object[]): string[] {
  return cacheEntries(storageSchema.parse({ storage }), '/').faults
}

describe('entries that would load from each other', () => {
  test.each([
    ['/fast', /\/fast is the source path/],
    ['/fast/m', /source \/fast\/m lies inside the accelerated path \/fast/],
    ['/', /accelerated path \/fast lies inside the source \//],
  ])('the second has %s as its source: refused, in either order', (chained, message) => {
    const [one, two] = [entry('/fast', '/source'), entry('/fast-2', chained)]
    expect(faults(one, two)).toContainEqual(expect.stringMatching(message))
    expect(faults(two, one)).toContainEqual(expect.stringMatching(message))
  })

  test('several may have one source', () => {
    expect(faults(entry('/fast', '/source'), entry('/fast-2', '/source'))).toEqual([])
  })
})

describe('flags', () => {
  test('make the same entry', () => {
    const flags = { capacity: '1GiB', warmup: 'http://w:1', peers: ['a:1,b:2', 'c:3'] }
    expect(loadStorage(flags, ['/src', '/fast'], {})[0]).toMatchObject({
      path: '/src',
      accelerated: '/fast',
      capacity: 2 ** 30,
      cacheroot_service: 'http://w:1',
      peers: ['a:1', 'b:2', 'c:3'],
    })
  })

  test.each([
    [{ capacity: '20' }, ['/a', '/b'], /--capacity: 20 is 20 bytes/],
    [{ capacity: '1G' }, ['/a', '/a'], /is the source path/],
    [{ capacity: '1G' }, ['/a', '/a/b'], /lies inside the source/],
    [{ capacity: '1G' }, ['/a/b', '/a'], /lies inside the accelerated path/],
    [{ capacity: '1G', mode: 'fast' }, ['/a', '/b'], /--mode/],
    [{}, ['/a', '/b'], /--capacity SIZE is missing/],
    [{ capacity: '1G' }, ['/a'], /SOURCE and ACCELERATED/],
  ])('%j %j is refused', (flags, words, message) => {
    expect(() => loadStorage(flags, words, {})).toThrow(message)
  })
})

test('paths that only look alike do not overlap', () => {
  expect(overlapFault('/mnt/X', '/mnt/X-fast')).toBeNull()
  expect(overlapFault('/', '/fast')).not.toBeNull()
})

test('preload is everything, or what lies below its paths', () => {
  expect(isPreloaded(undefined, 'a')).toBe(false)
  expect(isPreloaded('/', 'a/b')).toBe(true)
  expect(isPreloaded(['/a/', 'c'], 'a/b')).toBe(true)
  expect(isPreloaded(['/a/', 'c'], 'ab')).toBe(false)
})

test('a preload below which nothing lies is known', () => {
  expect(emptyPreloads(undefined, [])).toEqual([])
  expect(emptyPreloads('/', ['a/b'])).toEqual([])
  expect(emptyPreloads(['/a/', 'b', '/ab'], ['a/b'])).toEqual(['b', '/ab'])
  expect(emptyPreloads('/', [])).toEqual(['/'])
})

test('listening beyond loopback needs a token', () => {
  expect(listeningOf('0.0.0.0:1', undefined)).toMatchObject({ kind: 'fault' })
  expect(listeningOf('127.0.0.1:1', undefined)).toMatchObject({ kind: 'listening' })
  const file = path.join(folder, 'token')
  writeFileSync(file, 'short')
  expect(listeningOf('0.0.0.0:1', file)).toMatchObject({ kind: 'fault' })
  writeFileSync(file, `${'t'.repeat(32)}\n`)
  expect(listeningOf('0.0.0.0:1', file)).toEqual({
    kind: 'listening',
    listening: { listen: { host: '0.0.0.0', port: 1 }, token: 't'.repeat(32) },
  })
})
