/** What the source does while it is mounted: replaced, deleted, failing, stalling, leading out. */
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  closeSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
} from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { DirectorySource } from '../../src/model-cache/directory_source.ts'
import { copyChunk } from '../../src/native/model_chunks.ts'
import { gatedPeer } from './gated_peer.ts'
import { freeze } from './killing.ts'
import { fast, inFast, place, source, useWorkplace } from './own_workplace.ts'
import { canMount } from './privileges.ts'
import { type Folders, makeFolders, Served, tidyUp } from './served.ts'
import { mapped, program, until } from './workplace.ts'

const MIB = 2 ** 20

useWorkplace()

function mount(...flags: string[]) {
  const words = ['--capacity', '1GiB', '--revalidate', '50ms', '--scan', '100ms']
  return place.start('mount', source, fast, ...words, ...flags)
}

/** Puts a file in place of another by one rename, as publishers of models do. */
function replace(name: string, bytes: Buffer, seconds?: number): void {
  const fresh = path.join(place.folder, 'fresh')
  place.write('../fresh', bytes)
  if (seconds !== undefined) utimesSync(fresh, seconds, seconds)
  renameSync(fresh, path.join(source, name))
}

/** Resolves when the daemon has looked at the whole source after now. */
let marks = 0
async function lookedAt(): Promise<void> {
  marks += 1
  place.write(`marks/${marks}`, '')
  await until(() => readdirSync(inFast('.')).includes('marks'))
  await until(() => readdirSync(inFast('marks')).includes(String(marks)))
}

async function isResident(name: string): Promise<boolean> {
  const { files } = (await place.asked()).caches[0]!
  return files.some(file => file.path === name && file.state === 'resident')
}

describe.runIf(canMount)('a source that changes', () => {
  test('to another file of equal size and second: this host notices', async () => {
    const [before, after] = [randomBytes(2 * MIB), randomBytes(2 * MIB)]
    place.write('m/a', before)
    utimesSync(path.join(source, 'm/a'), 1e9, 1e9)
    await mount()
    expect((await readFile(inFast('m/a'))).equals(before)).toBe(true)
    replace('m/a', after, 1e9)
    await until(async () => (await readFile(inFast('m/a'))).equals(after))
  })

  test('again, while an open waits for it: the open has the version it was promised', async () => {
    const [first, second, third] = [MIB, 2 * MIB, 3 * MIB].map(size => randomBytes(size))
    place.write('m/a', second!)
    // The peer has the second version and gives nothing of it, so that its load lasts.
    const peer = await gatedPeer(source, 'm/a', second!)
    try {
      const kept = path.join(place.folder, 'kept')
      renameSync(path.join(source, 'm/a'), kept)
      place.write('m/a', first!)
      const words = ['--capacity', '1GiB', '--revalidate', '0', '--scan', '1h']
      await place.start('mount', source, fast, ...words, '--peers', peer.address)
      expect((await readFile(inFast('m/a'))).equals(first!)).toBe(true)
      renameSync(kept, path.join(source, 'm/a'))
      const reading = readFile(inFast('m/a'))
      await until(async () => (await place.asked()).caches[0]!.files[0]?.state === 'hydrating')
      replace('m/a', third!)
      expect((await stat(inFast('m/a'))).size).toBe(third!.length)
      const read = await reading
      expect([read.length, read.equals(second!)]).toEqual([second!.length, true])
      expect((await readFile(inFast('m/a'))).equals(third!)).toBe(true)
    } finally {
      await peer.close()
    }
  })

  test('under a loader that pins its generation: every shard is of one version', async () => {
    const shards = ['m/a', 'm/b', 'm/c']
    const olds = new Map(shards.map(name => [name, randomBytes(2 * MIB)]))
    const news = new Map(shards.map(name => [name, randomBytes(2 * MIB)]))
    for (const [name, bytes] of olds) place.write(name, bytes)
    await mount('--pin-generation')
    const digestMapped = await mapped(inFast('m/a'))
    await until(async () => (await isResident('m/b')) && (await isResident('m/c')))
    await until(async () => (await place.drop('m/c')).dropped === 1)
    for (const [name, bytes] of news) replace(name, bytes)
    place.write('m/d', 'of the new version')
    await lookedAt()
    expect((await readFile(inFast('m/b'))).equals(olds.get('m/b')!)).toBe(true)
    expect(readdirSync(inFast('m'))).toEqual(['a', 'b', 'c'])
    // Nobody has the old bytes any more: an error, never the new ones beside the old.
    await expect(readFile(inFast('m/c'))).rejects.toMatchObject({ code: 'EIO' })
    expect((await readFile(inFast('m/a'))).equals(olds.get('m/a')!)).toBe(true)
    await digestMapped()
    await until(() => readdirSync(inFast('m')).includes('d'))
    for (const [name, bytes] of news) {
      expect((await readFile(inFast(name))).equals(bytes)).toBe(true)
    }
  })

  test('by a deletion: kept while it is in memory where that is wanted', async () => {
    const bytes = randomBytes(2 * MIB)
    place.write('m/a', bytes)
    await mount('--on-delete', 'keep')
    expect((await readFile(inFast('m/a'))).equals(bytes)).toBe(true)
    rmSync(path.join(source, 'm'), { recursive: true })
    await lookedAt()
    expect((await readFile(inFast('m/a'))).equals(bytes)).toBe(true)
    await until(async () => (await place.drop('m/a')).dropped === 1)
    await until(() => !readdirSync(fast).includes('m'))
    await expect(readFile(inFast('m/a'))).rejects.toMatchObject({ code: 'ENOENT' })
  })
})

function away(): string {
  return path.join(place.folder, 'away')
}

describe.runIf(canMount)('a source that is away', () => {
  test.each([
    ['renamed', () => renameSync(source, away()), () => renameSync(away(), source)],
    [
      'unmounted',
      () => execFileSync('umount', [source]),
      () => execFileSync('mount', ['--bind', away(), source]),
    ],
  ])('(%s) takes nothing away that is in memory', async (how, leave, comeBack) => {
    if (how === 'unmounted') {
      execFileSync('mount', ['-t', 'tmpfs', 'none', place.make('away')])
      comeBack()
    }
    try {
      const bytes = randomBytes(2 * MIB)
      for (const name of ['a', 'm/a']) place.write(name, bytes)
      const { errors } = await mount('--preload', '/')
      await until(async () => (await isResident('a')) && (await isResident('m/a')))
      leave()
      await until(() => errors().includes('source cannot be listed'))
      for (const name of ['a', 'm/a', 'm/a', 'a']) {
        expect((await readFile(inFast(name))).equals(bytes)).toBe(true)
      }
      comeBack()
      rmSync(path.join(source, 'm'), { recursive: true })
      await until(() => !readdirSync(fast).includes('m'))
      await place.end()
    } finally {
      if (how === 'unmounted') execFileSync('umount', ['-l', source, away()])
    }
  })
})

test.runIf(canMount)('a folder whose mode changes shows it', async () => {
  mkdirSync(path.join(source, 'm'), { mode: 0o755 })
  await mount()
  chmodSync(path.join(source, 'm'), 0o700)
  await until(async () => ((await stat(inFast('m'))).mode & 0o777) === 0o500)
})

describe.runIf(canMount)('a source whose names lead out of it', () => {
  test('shows what lies in it and in the extra roots, as files, and nothing else', async () => {
    // The layout of a Hugging Face cache: a revision's files are links to blobs beside it.
    const hub = place.make('hub')
    const [blobs, revision] = [path.join(hub, 'blobs'), path.join(hub, 'snapshots/main')]
    for (const folder of [blobs, revision]) mkdirSync(folder, { recursive: true })
    const link = (name: string, to: string): void => symlinkSync(to, path.join(revision, name))
    place.write('../hub/blobs/1234', 'weights')
    place.write('../hub/snapshots/main/config.json', '{}')
    place.write('../hub/snapshots/main/swapped', 'honest')
    place.write('../hub/secret', 'secret')
    link('model.safetensors', '../../blobs/1234')
    link('again', 'model.safetensors')
    link('to-secret', '../../secret')
    link('to-root', '/etc/passwd')
    link('to-folder', '/etc')
    link('loop', 'loop')
    link('here', '.')
    const flags = ['--capacity', '1GiB', '--extra-root', blobs, '--revalidate', '0']
    await place.start('mount', revision, fast, ...flags)
    const shown = ['again', 'config.json', 'model.safetensors', 'swapped']
    expect(readdirSync(fast).toSorted()).toEqual(shown)
    expect(shown.every(name => lstatSync(inFast(name)).isFile())).toBe(true)
    expect(await readFile(inFast('model.safetensors'), 'utf8')).toBe('weights')
    expect(await readFile(inFast('again'), 'utf8')).toBe('weights')
    for (const name of ['to-secret', 'to-root', 'to-folder/passwd', 'loop', 'here/config.json']) {
      await expect(readFile(inFast(name))).rejects.toMatchObject({ code: 'ENOENT' })
    }
    // A file that becomes a link after it was listed.
    rmSync(path.join(revision, 'swapped'))
    link('swapped', '../../secret')
    let text: string | null = 'honest'
    await until(async () => {
      text = await readFile(inFast('swapped'), 'utf8').catch(() => null)
      expect([null, 'honest']).toContain(text)
      return text === null
    })
  })

  test('and names that are sent to the daemon do not climb either', async () => {
    place.write('m/a', 'a')
    place.write('../secret', 'secret')
    await mount()
    for (const target of [
      '../secret',
      'm/../../secret',
      path.join(place.folder, 'secret'),
      'm\0a',
    ]) {
      const answer = await place.ask({ verb: 'warm', path: fast, target })
      expect(answer).toMatchObject({ error: expect.stringContaining('the source has nothing') })
    }
    const { address } = (await place.asked()).caches[0]!
    for (const name of ['/../../secret', '/v1/blob/../../secret', '/v1/digests/..%2f..%2fsecret']) {
      const answer = await fetch(`http://${address}${name}`)
      expect([400, 404]).toContain(answer.status)
      expect(await answer.text()).not.toContain('secret\n')
    }
  })
})

/** The last try under the fault may be under way yet, and its reader gets its error. */
async function readsAgain(name: string, bytes: Buffer): Promise<void> {
  await until(async () => {
    const found = await readFile(inFast(name)).catch(() => null)
    if (found !== null) expect(found.equals(bytes)).toBe(true)
    return found !== null
  })
}

describe.runIf(canMount)('a source that fails', () => {
  let folders: Folders
  let gate = ''
  let server: Served | null = null
  beforeEach(() => {
    folders = makeFolders()
    gate = path.join(folders.root, 'gate')
  })
  // The other hook, which ends everything by force, comes after this one.
  afterEach(async () => {
    // First whoever may be hanging in it.
    place.write(path.relative(source, gate), '')
    await place.end()
    await tidyUp(folders, server)
    server = null
  })

  /** The source is itself a mount, whose opens are held until there is a gate, or fail as told. */
  async function start(...flags: string[]): Promise<Served> {
    server = await Served.start(folders, [`gate=${gate}`])
    const words = ['--capacity', '1GiB', '--open-timeout', '1500ms', ...flags]
    await place.start('mount', folders.mount, fast, ...words)
    return server
  }

  test.each(['EIO', 'ESTALE'])(
    'with %s: tried again, then EIO, and nothing is kept',
    async code => {
      const bytes = randomBytes(2 * MIB)
      place.write(path.relative(source, path.join(folders.source, 'a')), bytes)
      const served = await start()
      const reader = { isOver: false }
      const reading = readFile(inFast('a')).finally(() => {
        reader.isOver = true
      })
      const failed = expect(reading).rejects.toMatchObject({ code: 'EIO' })
      let refused = 0
      while (!reader.isOver) {
        if (Number((await served.askJson('counts')).held) === 0) continue
        await served.ask(`fail a ${code}`)
        refused += 1
      }
      await failed
      expect(refused).toBeGreaterThan(1)
      await until(async () => (await place.asked()).caches[0]!.used_bytes === 0)
      place.write(path.relative(source, gate), '')
      await readsAgain('a', bytes)
    },
  )

  test('by a stall: EIO in time, other files are served, and it recovers', async () => {
    const bytes = randomBytes(2 * MIB)
    place.write(path.relative(source, path.join(folders.source, 'a')), bytes)
    const served = await start()
    const startedMs = performance.now()
    await expect(readFile(inFast('a'))).rejects.toMatchObject({ code: 'EIO' })
    expect(performance.now() - startedMs).toBeGreaterThan(1000)
    expect((await served.askJson('counts')).held).toBeGreaterThan(0)
    expect(lstatSync(inFast('a')).size).toBe(bytes.length)
    expect(await isResident('a')).toBe(false)
    place.write(path.relative(source, gate), '')
    await readsAgain('a', bytes)
    expect(await program('sha256sum', inFast('a'))).toContain(' ')
  })

  test('by standing still: what lies elsewhere is read, now and later', async () => {
    const bytes = randomBytes(9 * MIB)
    place.write(path.relative(source, path.join(folders.source, 'bad')), randomBytes(40 * MIB))
    for (const name of ['m/good', 'm/other']) place.write(name, bytes)
    server = await Served.start(folders, ['mode=copy'])
    const pid = await server.daemonPid()
    symlinkSync(path.join(folders.mount, 'bad'), path.join(source, 'm/bad'))
    const words = ['--extra-root', folders.mount, '--open-timeout', '4s', '--preload', 'm/bad']
    const { child } = await place.start('mount', source, fast, '--capacity', '1GiB', ...words)
    await until(
      async () => (await isResident('m/bad')) && (await place.drop('m/bad')).dropped === 1,
    )
    await freeze(pid)
    try {
      const failed = expect(readFile(inFast('m/bad'))).rejects.toMatchObject({ code: 'EIO' })
      expect((await readFile(inFast('m/good'))).equals(bytes)).toBe(true)
      await failed
      await until(async () => (await place.drop('m/good')).dropped === 1)
      expect((await readFile(inFast('m/good'))).equals(bytes)).toBe(true)
      expect(await place.stop(child, 'SIGTERM')).toBe(0)
    } finally {
      process.kill(pid, 'SIGCONT')
    }
  })

  test('and does not answer: a path that hangs takes one thread, not one a call', async () => {
    place.write(path.relative(source, path.join(folders.source, 'a')), 'a')
    server = await Served.start(folders)
    const hanging = new DirectorySource({ root: folders.mount, callMsMax: 100 })
    const pid = await server.daemonPid()
    await freeze(pid)
    try {
      for (let call = 0; call < 9; call += 1) {
        await expect(hanging.open('unknown')).rejects.toMatchObject({ fault: 'stalled' })
      }
      expect((await stat(source)).isDirectory()).toBe(true)
    } finally {
      process.kill(pid, 'SIGCONT')
    }
    const fault = async (): Promise<unknown> => hanging.open('unknown').catch(error => error.fault)
    await until(async () => (await fault()) === 'gone')
  })

  test('and hangs in reads: a copy of another file finds a thread', async () => {
    place.write(path.relative(source, path.join(folders.source, 'bad')), randomBytes(8 * MIB))
    place.write('good', randomBytes(MIB))
    server = await Served.start(folders, ['mode=copy'])
    const [from, good, to] = [
      openSync(path.join(folders.mount, 'bad'), 'r'),
      openSync(path.join(source, 'good'), 'r'),
      openSync(path.join(place.folder, 'to'), 'w'),
    ]
    const pid = await server.daemonPid()
    await freeze(pid)
    const hanging = [0, 1, 2, 3].map(at =>
      copyChunk({ from, to, offset: 2 * MIB * at, length: 2 * MIB }),
    )
    try {
      expect(await copyChunk({ from: good, to, offset: 0, length: MIB })).toHaveLength(16)
    } finally {
      process.kill(pid, 'SIGCONT')
    }
    await Promise.all(hanging)
    for (const fd of [from, good, to]) closeSync(fd)
  })
})
