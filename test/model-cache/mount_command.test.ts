/** `warmpath mount --mode tmpfs`, `warmup` and `cache` as processes, on the built command line. */
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { freePorts } from './members.ts'
import { fast, inFast, place, source, useWorkplace } from './own_workplace.ts'
import { until } from './workplace.ts'

const MIB = 2 ** 20

useWorkplace()

/** Every path below a folder with time, and of files size and the bits to read and run. */
function listing(root: string): string[] {
  const names = readdirSync(root, { recursive: true, encoding: 'utf8' })
  return names.toSorted().map(name => {
    const stats = statSync(path.join(root, name), { bigint: true })
    const facts = stats.isFile() ? [stats.size, stats.mode & 0o555n] : ['folder']
    return [name, stats.mtimeNs, ...facts].join(' ')
  })
}

describe('--mode tmpfs', () => {
  test('shows the same tree, stays in the foreground, and leaves nothing behind', async () => {
    place.write('model/a.safetensors', randomBytes(9 * MIB))
    place.write('model/config.json', '{}')
    place.write('model/deep/öd d ńame\n', 'odd')
    place.write('empty', '')
    utimesSync(path.join(source, 'empty'), 1_000_000, 1_000_000)
    utimesSync(path.join(source, 'model/config.json'), -1.5, -1.5)
    chmodSync(path.join(source, 'model/deep/öd d ńame\n'), 0o755)
    const { child, line } = await place.start(
      'mount',
      source,
      fast,
      '--capacity',
      '1GiB',
      '--mode',
      'tmpfs',
    )
    expect(line).toMatch(/^ready: .*fast \(tmpfs: .*\), 4 files, 9\.0 MiB$/)
    expect(listing(fast)).toEqual(listing(source))
    execFileSync('diff', ['-r', source, fast])
    expect(statSync(path.join(fast, 'model/config.json')).mode & 0o777).toBe(0o444)
    expect(await place.stop(child, 'SIGTERM')).toBe(0)
    expect(readdirSync(fast)).toEqual([])
    expect(readdirSync(path.join(place.folder, 'run'))).toEqual([])
  })

  test('a file that does not fit leads to the source', async () => {
    place.write('m/a', randomBytes(3 * MIB))
    place.write('m/b', randomBytes(3 * MIB))
    await place.start('mount', source, fast, '--capacity', '4MiB', '--mode', 'tmpfs')
    const links = ['m/a', 'm/b'].filter(name => lstatSync(path.join(fast, name)).isSymbolicLink())
    expect(links).toHaveLength(1)
    execFileSync('diff', ['-r', source, fast])
  })

  test('changed, added and deleted files of the source follow', async () => {
    place.write('m/a', 'one')
    place.write('m/b', 'gone soon')
    const words = ['--capacity', '1GiB', '--mode', 'tmpfs', '--revalidate', '250ms']
    await place.start('mount', source, fast, ...words)
    place.write('m/a', 'two, longer')
    place.write('n/c', 'new')
    rmSync(path.join(source, 'm/b'))
    await until(() => existsSync(inFast('n/c')) && !existsSync(inFast('m/b')))
    await until(() => readFileSync(inFast('m/a'), 'utf8') === 'two, longer')
  })

  test('after a kill the next start clears what was left and goes on', async () => {
    place.write('m/a', randomBytes(MIB))
    const words = ['mount', source, fast, '--capacity', '1GiB', '--mode', 'tmpfs']
    const { child } = await place.start(...words)
    await place.stop(child, 'SIGKILL')
    expect(readdirSync(fast)).toEqual(['m'])
    const { child: next } = await place.start(...words)
    execFileSync('diff', ['-r', source, fast])
    expect(await place.stop(next, 'SIGTERM')).toBe(0)
    expect(readdirSync(fast)).toEqual([])
  })

  test('status names what is there, drop and warm change it', async () => {
    place.write('m/a', randomBytes(MIB))
    place.write('m/b', randomBytes(MIB))
    const { child } = await place.start(
      'mount',
      source,
      fast,
      '--capacity',
      '1GiB',
      '--mode',
      'tmpfs',
    )
    const { stdout } = await place.run('cache', 'status', fast, '--json')
    const status: unknown = JSON.parse(stdout)
    expect(status).toMatchObject({
      kind: 'mount',
      daemon_pid: child.pid,
      supervisor_pid: null,
      caches: [{ path: fast, source, mode: 'tmpfs', ready: true, used_bytes: 2 * MIB }],
    })
    const table = await place.run('cache', 'status')
    expect(table.stdout).toMatch(/m\/a +1\.0 MiB +resident +source 1\.0 MiB/)
    expect((await place.run('cache', 'drop', path.join(fast, 'm/a'))).stdout).toContain('dropped 1')
    expect(lstatSync(path.join(fast, 'm/a')).isSymbolicLink()).toBe(true)
    expect((await place.run('cache', 'warm', fast)).stdout).toContain('resident 2')
    expect(lstatSync(path.join(fast, 'm/a')).isSymbolicLink()).toBe(false)
    const nothing = await place.run('cache', 'drop', path.join(fast, 'nothing'))
    expect([nothing.code, nothing.stderr]).toEqual([1, expect.stringContaining('nothing')])
  })
})

describe('what is refused before anything is touched', () => {
  test.each([
    ['a missing source', () => ['nothing', 'fast'], /source .* does not exist/],
    ['a missing folder', () => ['source', 'nothing'], /does not exist: make the folder first/],
    ['the source itself', () => ['source', 'source'], /is the source path/],
    ['a folder inside the source', () => ['source', 'source/in'], /lies inside the source/],
    ['a folder around the source', () => ['source', '.'], /lies inside the accelerated path/],
    ['a file', () => ['source', 'file'], /is a file/],
    ['a folder with files', () => ['source', 'full'], /is not empty \(a\)/],
  ])('%s', async (_, paths, message) => {
    mkdirSync(path.join(source, 'in'))
    mkdirSync(path.join(place.folder, 'full'))
    writeFileSync(path.join(place.folder, 'file'), '')
    writeFileSync(path.join(place.folder, 'full/a'), '')
    const words = paths().map(name => path.join(place.folder, name))
    const run = await place.run('mount', ...words, '--capacity', '1G', '--mode', 'tmpfs')
    expect(run.stderr).toMatch(message)
    expect([run.code, run.stdout]).toEqual([1, ''])
    expect(readdirSync(path.join(place.folder, 'full'))).toEqual(['a'])
  })

  test('a capacity without a unit', async () => {
    const run = await place.run('mount', source, fast, '--capacity', '20')
    expect(run.stderr).toContain('write "20GiB" or "20G"')
    expect(run.code).toBe(1)
  })

  test('a path that is served already', async () => {
    await place.start('mount', source, fast, '--capacity', '1G', '--mode', 'tmpfs')
    const run = await place.run('mount', source, fast, '--capacity', '1G', '--mode', 'tmpfs')
    expect(run.stderr).toMatch(/is served by process \d+ already/)
  })
})

function mounts(): string[] {
  return ['mount', source, fast, '--capacity', '1G', '--mode', 'tmpfs']
}

function warmsUp(...paths: string[]): string[] {
  return ['warmup', ...paths, '--capacity', '20MiB', '--listen', '127.0.0.1:0']
}

describe('words that a command refuses at start', () => {
  const refused: readonly [string, () => string[], RegExp][] = [
    ['no host', () => [...mounts(), '--warmup', 'not a host'], /^--warmup: expected host:port/],
    ['no port', () => [...mounts(), '--peers', 'a:1,b:99999'], /expected host:port/],
    ['a level', () => [...mounts(), '--log-level', 'bogus'], /expected silent, .*not "bogus"/],
    ['the last port', () => [...mounts(), '--listen', '127.0.0.1:65535'], /65535 is the last/],
    ['a level of warmup', () => [...warmsUp(source), '--log-level', 'x'], /expected silent/],
    ['a root', () => [...warmsUp(source), '--extra-root', '/nope'], /^the extra root \/nope does/],
    [
      'a root of mount',
      () => [...mounts(), '--extra-root', '/nope'],
      /^the extra root \/nope does/,
    ],
    ['a path twice', () => warmsUp(source, source), /^the source .* is given twice/],
    ['a file', () => warmsUp(process.execPath), /^the source .* is no folder/],
  ]
  test.each(refused)('%s', async (_, words, message) => {
    const run = await place.run(...words())
    expect(run.stderr).toMatch(message)
    expect(run.stderr).not.toMatch(/\n +at /)
    expect(run.code).not.toBe(0)
  })

  test('a port that is taken, or the next one', async () => {
    const [port = 0] = await freePorts(1)
    for (const taken of [port, port + 1]) {
      const server = createServer().listen(taken, '127.0.0.1')
      await once(server, 'listening')
      const run = await place.run(...mounts(), '--listen', `127.0.0.1:${port}`)
      server.close()
      await once(server, 'close')
      expect(run.stderr).toContain(`listen 127.0.0.1:${taken}`)
      expect(run.stderr).toContain('the port is taken\n')
      expect(run.code).toBe(1)
    }
  })
})

describe('warmup', () => {
  test('holds as many bytes of files as it was given', async () => {
    for (const name of ['a', 'b', 'c', 'd', 'e']) place.write(`m/${name}`, randomBytes(4 * MIB))
    const { line } = await place.start('warmup', source, '--capacity', '20MiB', '--listen', '0')
    expect(line).toMatch(/, 5 of 5 files, 20\.0 MiB$/)
  })

  test('loads, serves a mount that names it, and ends cleanly', async () => {
    place.write('m/a', randomBytes(9 * MIB))
    const words = ['--capacity', '1GiB', '--listen', '127.0.0.1:0']
    const { child, line } = await place.start('warmup', source, ...words)
    const url = /http:\/\/[\d.:]+/.exec(line)?.[0] ?? ''
    expect(line).toMatch(/^ready: http:.*, 1 of 1 files, 9\.0 MiB$/)
    await place.start('mount', source, fast, '--capacity', '1G', '--mode', 'tmpfs', '--warmup', url)
    execFileSync('diff', ['-r', source, fast])
    const { stdout } = await place.run('cache', 'status', fast, '--json')
    expect(JSON.parse(stdout)).toMatchObject({
      caches: [{ bytes_by_tier: { warmup: 9 * MIB }, warmup_error: null }],
    })
    const resident: unknown = await (await fetch(`${url}/v1/resident`)).json()
    expect(resident).toMatchObject({ models: [{ model: 'm', is_resident: true, files: 1 }] })
    expect(await (await fetch(`${url}/metrics`)).text()).toContain('warmpath_model_cache_ready 1')
    expect(await place.stop(child, 'SIGTERM')).toBe(0)
  })
})
