/** `warmpath mount` over FUSE: the failure table on a real mount, with the real daemon. */
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { mountsBelow } from './children.ts'
import { freeze } from './killing.ts'
import { fast, inFast, place, source, useWorkplace } from './own_workplace.ts'
import { canMount } from './privileges.ts'
import { digest, digestOf } from './sha256.ts'
import { mapped, program, type Status, until } from './workplace.ts'

const MIB = 2 ** 20

useWorkplace()

async function metricsPage(): Promise<string> {
  const { address } = (await place.asked()).caches[0]!
  return await (await fetch(`http://${address}/metrics`)).text()
}

/** Values of the counters of opens and bytes, by their label. */
async function counted(): Promise<unknown> {
  const found = (await metricsPage()).matchAll(/_(?:opens|bytes)_total\{\w+="(\w+)"\} (\d+)/g)
  return Object.fromEntries([...found].map(([, label, value]) => [label, Number(value)]))
}

function mount(...flags: string[]) {
  return place.start('mount', source, fast, '--capacity', '1GiB', ...flags)
}

function find(root: string): Promise<string> {
  return program('sh', '-c', `cd ${root} && find -L . -type f -printf '%P %s %T@\\n' | sort`)
}

function du(root: string): Promise<string> {
  const files = `cd ${root} && find -L . -type f -print0`
  return program('sh', '-c', `${files} | du -bclL --files0-from=- | sort`)
}

function isLiveMember(peer: Status['caches'][number]['peers'][number]): boolean {
  return peer.state === 'live' && !peer.is_warmup
}

function byName(a: string | Buffer, b: string | Buffer): number {
  return String(a) < String(b) ? -1 : 1
}

describe.runIf(canMount)('a mount', () => {
  test('shows what the source has, to the usual programs', async () => {
    place.write('model/a.safetensors', randomBytes(9 * MIB))
    place.write('model/config.json', '{}')
    place.write('model/deep/öd d ńame\n', 'odd')
    place.write('empty', '')
    mkdirSync(path.join(source, 'model/nothing'))
    utimesSync(path.join(source, 'empty'), 1_000_000, 1_000_000)
    symlinkSync('a.safetensors', path.join(source, 'model/link'))
    symlinkSync('/etc/passwd', path.join(source, 'model/out'))
    const { child, line } = await mount()
    expect(line).toMatch(/^ready: .*fast \((passthrough|copy): .*\), 5 files, 18\.0 MiB$/)
    rmSync(path.join(source, 'model/out'))
    await program('diff', '-r', source, fast)
    const copy = path.join(place.folder, 'copy')
    await program('cp', '-r', fast, copy)
    await program('diff', '-r', source, copy)
    expect(await find(fast)).toBe(await find(source))
    expect(await du(fast)).toBe(await du(source))
    const { stdout } = await place.run('cache', 'status', fast, '--json')
    expect(JSON.parse(stdout)).toMatchObject({
      supervisor_pid: child.pid,
      caches: [{ ready: true }],
    })
    expect(await place.stop(child, 'SIGTERM')).toBe(0)
    expect([mountsBelow(place.folder), readdirSync(fast)]).toEqual([[], []])
  })

  test('loads the rest of a model when its first file is opened', async () => {
    for (const name of ['a', 'b', 'c']) place.write(`model/${name}`, randomBytes(2 * MIB))
    place.write('other/d', randomBytes(2 * MIB))
    await mount()
    await program('head', '-c1', path.join(fast, 'model/b'))
    await until(async () => {
      const { files } = (await place.asked()).caches[0]!
      const states = Object.fromEntries(files.map(file => [file.path, file.state]))
      expect(states['other/d']).toBe('absent')
      return ['a', 'b', 'c'].every(name => states[`model/${name}`] === 'resident')
    })
  })

  test('a capacity below the model and one file: all is read, and it is not passed', async () => {
    for (const name of ['a', 'b', 'c', 'd']) place.write(`m/${name}`, randomBytes(4 * MIB))
    place.write('m/huge', randomBytes(20 * MIB))
    await place.start('mount', source, fast, '--capacity', '10MiB')
    for (let pass = 0; pass < 2; pass += 1) {
      await program('diff', '-r', source, fast)
      const { used_bytes: used, capacity_bytes: capacity, files } = (await place.asked()).caches[0]!
      expect(used).toBeLessThanOrEqual(capacity)
      expect(files.filter(({ state }) => state === 'resident').length).toBeGreaterThanOrEqual(2)
    }
  })

  test('more small files than descriptors: all are read', { timeout: 60_000 }, async () => {
    for (let i = 0; i < 2000; i++) place.write(`m/${i}`, `file ${i}`)
    const limit = ['sh', '-c', 'ulimit -n 1500; exec "$@"', 'sh']
    await place.startAs(limit, 'mount', source, fast, '--capacity', '100MiB')
    for (let pass = 0; pass < 2; pass += 1) await program('diff', '-r', source, fast)
    const { files } = (await place.asked()).caches[0]!
    const resident = files.filter(({ state }) => state === 'resident').length
    expect(resident).toBeGreaterThan(100)
    expect(resident).toBeLessThan(500)
  })

  test('a changed file: new opens see the new bytes, open and mapped ones the old', async () => {
    const [before, after] = [randomBytes(5 * MIB), randomBytes(6 * MIB)]
    place.write('m/a', before)
    await mount('--revalidate', '200ms')
    const file = path.join(fast, 'm/a')
    const digestMapped = await mapped(file)
    const fd = openSync(file, 'r')
    place.write('m/a', after)
    await until(async () => (await digest(file)) === digestOf(after))
    const bytes = Buffer.alloc(before.length)
    readSync(fd, bytes, 0, bytes.length, 0)
    closeSync(fd)
    expect(bytes.equals(before)).toBe(true)
    expect(await digestMapped()).toBe(digestOf(before))
  })

  test('added files appear and deleted ones go at the next look', async () => {
    place.write('m/a', 'a')
    await mount('--revalidate', '200ms')
    place.write('m/b', 'b')
    place.write('n/c', 'c')
    rmSync(path.join(source, 'm/a'))
    await until(() => {
      const names = readdirSync(fast, { recursive: true }).toSorted(byName)
      return JSON.stringify(names) === JSON.stringify(['m', 'm/b', 'n', 'n/c'])
    })
    expect(readFileSync(path.join(fast, 'n/c'), 'utf8')).toBe('c')
  })

  test('each open is counted once, by what it found, with its bytes', async () => {
    place.write('m/a', randomBytes(5 * MIB))
    place.write('n/huge', randomBytes(30 * MIB))
    await place.start('mount', source, fast, '--capacity', '16MiB')
    await digest(inFast('m/a'))
    expect(await counted()).toMatchObject({ miss: 1, source: 5 * MIB })
    for (let read = 0; read < 2; read += 1) await digest(inFast('m/a'))
    expect(await counted()).toMatchObject({ miss: 1, hit: 2, local: 10 * MIB, source: 5 * MIB })
    for (let read = 0; read < 3; read += 1) await digest(inFast('n/huge'))
    expect(await counted()).toEqual({
      miss: 1,
      hit: 2,
      bypass: 3,
      local: 10 * MIB,
      source: 95 * MIB,
    })
    expect(await metricsPage()).toContain('warmpath_model_cache_source_amplification 1\n')
  })

  test('is asked for by any name of its path, and names do not break the lines', async () => {
    place.write('m/odd\nname', 'a')
    const alias = path.join(place.folder, 'alias')
    symlinkSync(place.folder, alias)
    const odd = path.join(alias, 'odd\nplace')
    mkdirSync(odd)
    const { line } = await place.start('mount', source, odd, '--capacity', '64MiB')
    expect(line).toMatch(/^ready: .*alias\/odd\\x0aplace \(.*, 1 files, 1 B$/)
    for (const root of [alias, place.folder]) {
      const file = path.join(root, 'odd\nplace/m/odd\nname')
      await readFile(file)
      const { stdout } = await place.run('cache', 'status', file)
      expect(stdout).toMatch(/^ {2}m\/odd\\x0aname +1 B +resident/m)
      expect((await place.run('cache', 'drop', file)).stdout).toContain('dropped 1')
    }
    const elsewhere = await place.run('cache', 'drop', path.join(source, 'm'))
    expect([elsewhere.code, elsewhere.stderr]).toEqual([1, expect.stringContaining('no cache')])
  })

  test('nothing can be written', async () => {
    place.write('m/a', 'a')
    await mount()
    expect(() => writeFileSync(inFast('m/a'), 'b')).toThrow(/EROFS|EACCES/)
    expect(() => writeFileSync(inFast('m/new'), 'b')).toThrow(/EROFS|EACCES/)
    expect(() => rmSync(inFast('m/a'))).toThrow(/EROFS|EACCES/)
    expect(() => mkdirSync(inFast('x'))).toThrow(/EROFS|EACCES/)
    expect(statSync(inFast('m/a')).mode & 0o222).toBe(0)
  })

  test('a dropped file is loaded again, a mapped one cannot be dropped', async () => {
    const bytes = randomBytes(3 * MIB)
    place.write('m/a', bytes)
    await mount('--preload', '/')
    const file = path.join(fast, 'm/a')
    const digestMapped = await mapped(file)
    expect((await place.run('cache', 'drop', file)).stdout).toContain('busy 1')
    expect(await digestMapped()).toBe(digestOf(bytes))
    await until(async () => (await place.run('cache', 'drop', file)).stdout.includes('dropped 1'))
    expect((await place.asked()).caches[0]!.used_bytes).toBe(0)
    expect(await digest(file)).toBe(digestOf(bytes))
  })
})

describe.runIf(canMount)('kills', () => {
  test('of the daemon: mapped files stay readable, and the rest is loaded', async () => {
    const [warm, cold] = [randomBytes(8 * MIB), randomBytes(64 * MIB)]
    place.write('m/warm', warm)
    place.write('n/cold', cold)
    await mount()
    await digest(path.join(fast, 'm/warm'))
    const digestMapped = await mapped(path.join(fast, 'm/warm'))
    const { daemon_pid: pid } = await place.asked()
    const reading = digest(path.join(fast, 'n/cold'))
    process.kill(pid, 'SIGKILL')
    expect(await reading).toBe(digestOf(cold))
    expect(await digest(path.join(fast, 'm/warm'))).toBe(digestOf(warm))
    expect(await digestMapped()).toBe(digestOf(warm))
    expect((await place.asked()).restarts).toBe(1)
  })

  test('of daemon and supervisor: the next start clears the dead mount', async () => {
    const bytes = randomBytes(8 * MIB)
    place.write('m/a', bytes)
    const { child } = await mount()
    const file = path.join(fast, 'm/a')
    const digestMapped = await mapped(file)
    const { daemon_pid: pid } = await place.asked()
    await freeze(pid)
    await place.stop(child, 'SIGKILL')
    const { child: next } = await mount()
    expect(mountsBelow(place.folder)).toHaveLength(1)
    expect(await digest(file)).toBe(digestOf(bytes))
    expect(await digestMapped()).toBe(digestOf(bytes))
    expect(await place.stop(next, 'SIGTERM')).toBe(0)
    expect(mountsBelow(place.folder)).toEqual([])
  })

  test('SIGTERM under a mapping: unmounted, exit 0, the reader goes on', async () => {
    const bytes = randomBytes(8 * MIB)
    place.write('m/a', bytes)
    const { child } = await mount()
    const digestMapped = await mapped(path.join(fast, 'm/a'))
    expect(await place.stop(child, 'SIGTERM')).toBe(0)
    expect(mountsBelow(place.folder)).toEqual([])
    expect(await digestMapped()).toBe(digestOf(bytes))
  })
})

describe.runIf(canMount)('what is refused before anything is mounted', () => {
  test('a path that is a mount already, of another kind or our own', async () => {
    execFileSync('mount', ['-t', 'tmpfs', 'none', fast])
    const other = await place.run('mount', source, fast, '--capacity', '1G')
    expect([other.code, other.stderr]).toEqual([1, expect.stringContaining('is a mount of tmpfs')])
    execFileSync('umount', [fast])
    await mount()
    const again = await place.run('mount', source, fast, '--capacity', '1G')
    expect([again.code, again.stderr]).toEqual([1, expect.stringMatching(/served by process \d+/)])
    expect(mountsBelow(place.folder)).toHaveLength(1)
  })
})

describe.runIf(canMount)('four mounts of one service', () => {
  test('read each source byte about once', { timeout: 120_000 }, async () => {
    // Chunks that are on their way in the moment in which members learn of each other may be read
    // twice: two of 240 MiB usually, six on a busy machine. A model has more than either.
    const bytes = randomBytes(640 * MIB)
    place.write('m/a', bytes)
    const words = ['--capacity', '1MiB', '--listen', '127.0.0.1:0']
    const warmup = await place.start('warmup', source, ...words)
    const url = /http:\/\/[\d.:]+/.exec(warmup.line)?.[0] ?? ''
    const paths = ['one', 'two', 'three', 'four'].map(name => place.make(name))
    const flags = ['--capacity', '1GiB', '--warmup', url]
    await Promise.all(paths.map(at => place.start('mount', source, at, ...flags)))
    // Members who do not know each other yet would read for themselves.
    await until(async () => {
      const all = await Promise.all(paths.map(at => place.asked(at)))
      const known = all.map(({ caches }) => caches[0]!.peers.filter(isLiveMember).length)
      return known.every(count => count === paths.length - 1)
    })
    const digests = await Promise.all(paths.map(at => digest(path.join(at, 'm/a'))))
    expect(new Set(digests)).toEqual(new Set([digestOf(bytes)]))
    const states = await Promise.all(paths.map(at => place.asked(at)))
    const fromSource = states.map(({ caches }) => caches[0]!.bytes_by_tier['source'] ?? 0)
    const read = fromSource.reduce((sum, count) => sum + count)
    expect(read / bytes.length).toBeLessThanOrEqual(1.05)
  })
})
