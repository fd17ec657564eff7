/** A directory as a source: what is listed, what is refused. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { DirectorySource } from '../../src/model-cache/directory_source.ts'
import { SourceError } from '../../src/model-cache/source.ts'
import { rememberingLog } from './members.ts'

let folder = ''
let root = ''

beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'warmpath-source-'))
  root = path.join(folder, 'source')
  mkdirSync(path.join(root, 'model'), { recursive: true })
  writeFileSync(path.join(root, 'model/a'), 'aaaa')
  writeFileSync(path.join(folder, 'secret'), 'secret')
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

async function names(source: DirectorySource): Promise<string[]> {
  return (await source.list('')).map(entry => `${entry.kind} ${entry.path}`).toSorted()
}

async function faultOf(work: Promise<unknown>): Promise<string> {
  try {
    await work
  } catch (error) {
    if (error instanceof SourceError) return error.fault
    throw error
  }
  return 'none'
}

test('files and folders are listed, links inside are followed, the rest is left out', async () => {
  symlinkSync('a', path.join(root, 'model/inside'))
  symlinkSync('../../secret', path.join(root, 'model/outside'))
  symlinkSync('loop', path.join(root, 'model/loop'))
  symlinkSync('..', path.join(root, 'model/up'))
  symlinkSync('model', path.join(root, 'latest'))
  symlinkSync('gone', path.join(root, 'broken'))
  execFileSync('mkfifo', [path.join(root, 'pipe')])
  expect(await names(new DirectorySource({ root }))).toEqual([
    'file latest/a',
    'file latest/inside',
    'file model/a',
    'file model/inside',
    'folder ',
    'folder latest',
    'folder model',
  ])
})

test('a link into an extra root is served', async () => {
  const blobs = path.join(folder, 'blobs')
  mkdirSync(blobs)
  writeFileSync(path.join(blobs, '1234'), 'blob')
  symlinkSync('../../blobs/1234', path.join(root, 'model/weights'))
  const plain = new DirectorySource({ root })
  expect(await names(plain)).not.toContain('file model/weights')
  expect(await faultOf(plain.open('model/weights'))).toBe('refused')
  const wide = new DirectorySource({ root, extraRoots: [blobs] })
  expect(await names(wide)).toContain('file model/weights')
  const handle = await wide.open('model/weights')
  expect((await handle.stat()).size).toBe(4)
  await handle.close()
})

test.each(['../secret', 'model/../../secret', '/etc/passwd', 'model/\0a'])(
  'the name %j is refused',
  async name => {
    const source = new DirectorySource({ root })
    expect(await faultOf(source.stat(name))).toBe('refused')
    expect(await faultOf(source.open(name))).toBe('refused')
  },
)

test('a link that leads out is refused when it is opened', async () => {
  symlinkSync('../../secret', path.join(root, 'model/outside'))
  const source = new DirectorySource({ root })
  expect(await faultOf(source.open('model/outside'))).toBe('refused')
  expect(await faultOf(source.stat('model/outside'))).toBe('refused')
})

test('a missing file is gone', async () => {
  const source = new DirectorySource({ root })
  expect(await faultOf(source.stat('nothing'))).toBe('gone')
  expect(await faultOf(source.open('model/a/b'))).toBe('gone')
})

test('what lies deeper than can be sane is left out, and named once', async () => {
  const deep = Array.from({ length: 70 }, () => 'd').join('/')
  mkdirSync(path.join(root, deep), { recursive: true })
  const log = rememberingLog()
  const source = new DirectorySource({ root, log })
  for (let look = 0; look < 2; look += 1) {
    expect((await names(source)).filter(name => name.startsWith('folder d'))).toHaveLength(63)
  }
  expect(log.lines.map(({ level, message }) => [level, message])).toEqual([
    ['warn', 'left out of the source'],
  ])
})
