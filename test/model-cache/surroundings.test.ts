/** What the host lacks or runs out of: memory, disks, devices, rights, time; and what stays after. */
import { execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  closeSync,
  constants,
  lstatSync,
  openSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import type { Duplex } from 'node:stream'
import { afterEach, describe, expect, test } from 'vitest'
import { deferred } from '../../src/model-cache/deferred.ts'
import { digestOf, fileIdOf, generationOf } from '../../src/model-cache/digest.ts'
import { DirectorySource } from '../../src/model-cache/directory_source.ts'
import { packageRoot } from '../../src/native/package_root.ts'
import { mountsBelow, tracked } from './children.ts'
import { Site } from './members.ts'
import { type MemoryGroup, memoryGroup } from './memory_group.ts'
import { fast, inFast, place, source, useWorkplace } from './own_workplace.ts'
import { canMount } from './privileges.ts'
import { digest } from './sha256.ts'
import { mapped, program, type Started, until } from './workplace.ts'

const MIB = 2 ** 20
const GIB = 2 ** 30

useWorkplace()

/** A shell that does something and then becomes the command. */
function after(script: string, ...front: string[]): string[] {
  return [...front, 'sh', '-c', `${script} && exec "$@"`, 'sh']
}

async function metricsText(): Promise<string> {
  const { address } = (await place.asked()).caches[0]!
  return (await fetch(`http://${address}/metrics`)).text()
}

/** The share of huge pages that a daemon reports of `m/a`; it is stopped then. */
async function share(started: Started): Promise<string> {
  await until(async () => (await metricsText()).includes('files{state="resident"} 1'))
  expect(await digest(inFast('m/a'))).toBe(await digest(path.join(source, 'm/a')))
  const found = /^warmpath_model_cache_huge_page_ratio (\S+)$/m.exec(await metricsText())?.[1] ?? ''
  await place.stop(started.child, 'SIGTERM')
  return found
}

/** State of the only file. */
async function stateOfFile(): Promise<string> {
  return (await place.asked()).caches[0]!.files[0]!.state
}

describe.runIf(canMount)('memory', () => {
  let group: MemoryGroup | null = null
  afterEach(async () => {
    await place.close()
    await group?.remove()
    group = null
  })

  test('of the store is given back after its last reader', async () => {
    group = memoryGroup(8 * GIB)
    if (group === null) return
    const charged = group
    const before = charged.shmemBytes()
    place.write('m/a', randomBytes(32 * MIB))
    const words = ['mount', source, fast, '--capacity', '64MiB']
    const { child } = await place.startAs(group.wrapper, ...words)
    const digestMapped = await mapped(inFast('m/a'))
    expect(charged.shmemBytes() - before).toBeGreaterThanOrEqual(32 * MIB)
    expect(await place.stop(child, 'SIGTERM')).toBe(0)
    expect(mountsBelow(place.folder)).toEqual([])
    expect(charged.shmemBytes() - before).toBeGreaterThanOrEqual(32 * MIB)
    expect(await digestMapped()).toBe(await digest(path.join(source, 'm/a')))
    await until(() => charged.shmemBytes() - before < MIB)
  })

  test('of a cgroup bounds the capacity, with both numbers, and nobody is killed', async () => {
    group = memoryGroup(GIB)
    if (group === null) return
    place.write('m/a', randomBytes(32 * MIB))
    const words = ['mount', source, fast, '--capacity', '10GiB']
    const { errors } = await place.startAs(group.wrapper, ...words)
    const wanted = await digest(path.join(source, 'm/a'))
    expect(await digest(inFast('m/a'))).toBe(wanted)
    const { capacity_bytes: capacity } = (await place.asked()).caches[0]!
    expect(capacity).toBeLessThan(GIB / 2)
    expect(capacity).toBeGreaterThan(GIB / 8)
    await until(() => errors().includes('capacity 10.0 GiB is more than the cgroup'))
    expect(errors()).toMatch(/memory limit of 1\.0 GiB leaves: using \d+ MiB/)
    expect(group.oomKills()).toBe(0)
  })

  test('that is full of mapped files: the next is read past it, mappings stay', async () => {
    for (const name of ['a', 'b', 'c']) place.write(`m/${name}`, randomBytes(4 * MIB))
    await place.start('mount', source, fast, '--capacity', '9MiB')
    const wanted = await Promise.all(
      ['a', 'b', 'c'].map(name => digest(path.join(source, 'm', name))),
    )
    const digests = [await mapped(inFast('m/a')), await mapped(inFast('m/b'))]
    for (let pass = 0; pass < 3; pass += 1) expect(await digest(inFast('m/c'))).toBe(wanted[2])
    const { files, used_bytes: used, capacity_bytes: capacity } = (await place.asked()).caches[0]!
    const states = files.map(({ state }) => state)
    expect(states).toEqual(['resident', 'resident', 'bypassed'])
    expect(used).toBeLessThanOrEqual(capacity)
    expect(await Promise.all(digests.map(said => said()))).toEqual(wanted.slice(0, 2))
  })

  test('without huge pages works, warns, and shows the share', async () => {
    place.write('m/a', randomBytes(8 * MIB))
    const words = ['mount', source, fast, '--capacity', '64MiB', '--preload', '/']
    const small = await place.start(...words, '--no-huge-pages')
    expect(Number(await share(small))).toBe(0)
    expect(small.errors()).toContain('few huge pages are to be had')
    const huge = await place.start(...words)
    // Memory may be fragmented.
    expect(Number(await share(huge))).toBeGreaterThan(0)
  })
})

describe.runIf(canMount)('a full disk', () => {
  test('of logs: files are served, changed and dropped as before', async () => {
    place.write('m/a', 'one')
    const words = ['mount', source, fast, '--capacity', '1GiB', '--revalidate', '0']
    const wrapper = ['sh', '-c', 'exec "$@" 2> /dev/full', 'sh']
    const { child } = await place.startAs(wrapper, ...words)
    expect(await readFile(inFast('m/a'), 'utf8')).toBe('one')
    place.write('m/a', 'two, longer')
    await until(async () => (await readFile(inFast('m/a'), 'utf8')) === 'two, longer')
    await until(async () => (await place.drop('m/a')).dropped === 1)
    expect(await readFile(inFast('m/a'), 'utf8')).toBe('two, longer')
    expect(await place.stop(child, 'SIGTERM')).toBe(0)
  })
})

function smallMemory(folder: string): void {
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=20m', 'none', folder])
}

function isLink(name: string): boolean {
  return lstatSync(inFast(name)).isSymbolicLink()
}

describe.runIf(canMount)('a small file system', () => {
  afterEach(() => place.close())

  test('under a plain folder: what does not fit is a link, at start and later', async () => {
    smallMemory(fast)
    for (const name of ['a', 'b', 'c']) place.write(`m/${name}`, randomBytes(8 * MIB))
    const words = ['--capacity', '1GiB', '--mode', 'tmpfs', '--revalidate', '50ms']
    const { errors, child } = await place.start('mount', source, fast, ...words)
    expect(['m/a', 'm/b', 'm/c'].map(isLink)).toEqual([false, false, true])
    await program('diff', '-r', source, fast)
    const { used_bytes: used, capacity_bytes: capacity } = (await place.asked()).caches[0]!
    expect([used, capacity <= 20 * MIB]).toEqual([16 * MIB, true])
    await until(() => errors().includes('than the file system of the store has left: using 19'))
    // Others write to it too.
    rmSync(path.join(source, 'm'), { recursive: true })
    await until(() => !readdirSync(fast).includes('m'))
    writeFileSync(inFast('foreign'), randomBytes(15 * MIB))
    place.write('d', randomBytes(8 * MIB))
    await until(() => readdirSync(fast).includes('d'))
    expect([isLink('d'), await digest(inFast('d'))]).toEqual([
      true,
      await digest(path.join(source, 'd')),
    ])
    expect(await place.stop(child, 'SIGTERM')).toBe(0)
  })

  test('under a warm-up is its capacity', async () => {
    const store = place.make('store')
    smallMemory(store)
    for (const name of ['a', 'b', 'c']) place.write(`m/${name}`, randomBytes(8 * MIB))
    const words = ['--capacity', '1GiB', '--store', store, '--listen', '127.0.0.1:0']
    const { line } = await place.start('warmup', source, ...words)
    expect(line).toContain('2 of 3 files')
  })
})

test.each([true, false])(
  'a store that is full is no fault of the source (native: %s)',
  async is => {
    const site = new Site(is)
    try {
      site.write('a', randomBytes(9 * MIB))
      // Every write to this device fails as on a full disk.
      const member = site.makeWithStore({ create: () => openSync('/dev/full', 'r+') })
      await member.start()
      const slot = member.caches[0]!.slot('a')!
      expect(await member.caches[0]!.want(slot, 'open')).toMatchObject({ kind: 'bypassed' })
      expect([slot.state, member.residents.usedBytes]).toEqual(['bypassed', 0])
      expect(site.log.lines.map(({ message }) => message)).not.toContain(
        'source failed, will be tried again',
      )
    } finally {
      await site.close()
    }
  },
)

test('a store without room for a note keeps the file, and counts it', async () => {
  const site = new Site(false)
  try {
    site.write('a', randomBytes(MIB))
    const member = site.makeWithStore({
      note: (_, bytes) => {
        if (bytes !== null) throw new Error('ENOSPC: no space left on device')
      },
    })
    await member.start()
    await member.preload()
    expect(member.caches[0]!.slot('a')?.state).toBe('resident')
    expect(member.metrics.notesLost).toBe(1)
    expect(site.log.lines.filter(({ level }) => level === 'error')).toHaveLength(1)
  } finally {
    await site.close()
  }
})

describe.runIf(canMount)('a host without', () => {
  test.each([
    ['/dev/fuse', after('mount -t tmpfs none /dev', 'unshare', '-m'), '/dev/fuse is missing'],
    ['CAP_SYS_ADMIN', ['setpriv', '--bounding-set=-sys_admin'], 'FUSE cannot be mounted (EPERM)'],
  ])('%s serves a plain folder, and says why', async (_, wrapper, reason) => {
    place.write('m/a', 'a')
    const words = ['mount', source, fast, '--capacity', '64MiB']
    const { child, line } = await place.startAs(wrapper, ...words)
    expect(line).toContain(`(tmpfs: ${reason}; /dev/fuse and CAP_SYS_ADMIN are needed)`)
    expect(await readFile(inFast('m/a'), 'utf8')).toBe('a')
    const { mode, mode_reason: why } = (await place.asked()).caches[0]!
    expect([mode, why]).toEqual(['tmpfs', expect.stringContaining(reason)])
    expect(await metricsText()).toContain('warmpath_model_cache_mode{mode="tmpfs"} 1')
    await place.stop(child, 'SIGTERM')
    const refused = await place.runAs(wrapper, ...words, '--mode', 'passthrough')
    expect([refused.code, refused.stdout]).toEqual([1, ''])
    expect(refused.stderr).toContain(reason)
    expect(refused.stderr).toContain('take mode auto or tmpfs')
    expect([mountsBelow(place.folder), readdirSync(fast)]).toEqual([[], []])
  })

  test('the right to passthrough serves by copying, and says why', async () => {
    place.write('m/a', 'a')
    const words = ['mount', source, fast, '--capacity', '64MiB']
    const { line } = await place.startAs(['unshare', '-Urm'], ...words)
    expect(line).toContain('(copy: the kernel refuses passthrough (EPERM: CAP_SYS_ADMIN outside')
    const { mode, mode_reason: why } = (await place.asked()).caches[0]!
    expect([mode, why]).toEqual(['copy', expect.stringContaining('EPERM')])
  })

  test('passthrough in its kernel serves by copying, and says why', async () => {
    // A kernel that is played by this test: the other end of the descriptor is a socket.
    const modules = path.join(packageRoot(), 'dist-tools/src')
    const script = path.join(packageRoot(), 'test/model-cache/small_daemon.mjs')
    const store = openSync(place.make('store'), constants.O_RDONLY | constants.O_DIRECTORY)
    const child = tracked(
      spawn(process.execPath, [script, modules, source, path.join(place.folder, 'socket')], {
        env: { ...process.env, WARMPATH_HAND_OVER: '1 0 3,4,0:0' },
        stdio: ['ignore', 'pipe', 'inherit', 'pipe', store],
      }),
    )
    closeSync(store)
    // Decode boundary: the fourth descriptor is a pipe in both directions.
    const kernel = child.stdio[3] as Duplex
    kernel.write(initRequest())
    const reply = await new Promise<Buffer>(resolve => kernel.once('data', resolve))
    expect(reply.readUInt32LE(0)).toBe(80)
    const flags2 = reply.readUInt32LE(16 + 32)
    expect([reply.readInt32LE(4), flags2 & (1 << 5)]).toEqual([0, 0])
    const facts = await program(
      'python3',
      '-c',
      'import socket,sys,time\n' +
        's=socket.socket(socket.AF_UNIX)\n' +
        'while s.connect_ex(sys.argv[1]): time.sleep(0.01)\n' +
        's.sendall(b"facts\\n"); print(s.recv(4096).decode())',
      path.join(place.folder, 'socket'),
    )
    expect(JSON.parse(facts)).toMatchObject({
      mode: 'copy',
      reason: expect.stringContaining('Linux 6.9 or newer'),
    })
    child.kill('SIGKILL')
  })
})

describe.runIf(canMount)('a source that the daemon may not read everywhere', () => {
  // Root as an NFS server squashes it: the owner, and nothing more.
  const squashed = ['setpriv', '--bounding-set=-dac_override,-dac_read_search']

  test.each(['auto', 'tmpfs'])('is served but for that (%s)', async mode => {
    for (const name of ['m/a', 'm/closed', 'lost/b']) place.write(name, name)
    chmodSync(path.join(source, 'm/closed'), 0)
    chmodSync(path.join(source, 'lost'), 0)
    const words = ['--capacity', '64MiB', '--mode', mode, '--revalidate', '50ms', '--scan', '100ms']
    const { errors } = await place.startAs(squashed, 'mount', source, fast, ...words)
    expect(readdirSync(fast)).toEqual(['m'])
    expect(await readFile(inFast('m/a'), 'utf8')).toBe('m/a')
    const reader = program(squashed[0]!, squashed[1]!, 'cat', inFast('m/closed'))
    await expect(reader).rejects.toThrow('Permission denied')
    if (mode === 'auto') {
      await expect(readFile(inFast('m/closed'))).rejects.toMatchObject({ code: 'EACCES' })
    }
    place.write('m/new', 'new')
    await until(() => readdirSync(inFast('m')).includes('new'))
    expect(errors().split(path.join(source, 'lost')).length - 1).toBe(2)
    chmodSync(path.join(source, 'lost'), 0o755)
    chmodSync(path.join(source, 'm/closed'), 0o644)
    await until(() => readdirSync(fast).includes('lost'))
    await until(async () => (await readFile(inFast('m/closed'), 'utf8')) === 'm/closed')
  })

  test('at all: says so in a line, and nothing is left', async () => {
    chmodSync(source, 0)
    const run = await place.runAs(squashed, 'mount', source, fast, '--capacity', '64MiB')
    expect(run).toMatchObject({ code: 1, stdout: '' })
    expect(run.stderr).toContain('cannot be listed')
    expect(run.stderr).not.toContain('    at ')
    expect([mountsBelow(place.folder), readdirSync(fast)]).toEqual([[], []])
  })
})

/** INIT of a kernel 6.1: FUSE 7.38, flags2 without passthrough. */
function initRequest(): Buffer {
  const bytes = Buffer.alloc(40 + 64)
  bytes.writeUInt32LE(bytes.length, 0)
  bytes.writeUInt32LE(26, 4)
  bytes.writeBigUInt64LE(2n, 8)
  const [major, minor, readAhead, flags, flags2] = [7, 38, 131_072, 0x73ff_fffb, 0x1d]
  const words = [major, minor, readAhead, flags, flags2]
  words.forEach((word, at) => bytes.writeUInt32LE(word, 40 + at * 4))
  return bytes
}

describe.runIf(canMount)('a limit of the kernel on how long a request lasts', () => {
  test('lets a cold open read the source meanwhile, and loads the file', async () => {
    const bytes = randomBytes(3 * MIB)
    place.write('m/a', bytes)
    const limit = path.join(place.folder, 'limit')
    writeFileSync(limit, '4\n')
    const known = '/proc/sys/fs/fuse/max_request_timeout'
    // A member that has the file, and does not give it away before it may.
    const entry = await new DirectorySource({ root: source }).stat('m/a')
    if (entry.kind !== 'file') throw new Error('m/a is a file')
    const generation = generationOf(entry)
    const { promise: opened, resolve: open } = deferred<null>()
    const server = createServer((request, response) => {
      // Decode boundary: the address of a TCP server.
      const { port } = server.address() as AddressInfo
      if (request.url === '/v1/hello') {
        const holdings = [[fileIdOf(source, 'm/a'), generation, null]]
        const hello = { id: 'slow', port, dataPort: port, sources: [source], holdings }
        request.resume().on('end', () => response.end(JSON.stringify(hello)))
        return
      }
      void opened.then(() => {
        const headers = { 'x-warmpath-xxh3-128': digestOf(bytes).toString('hex') }
        response.writeHead(206, { ...headers, 'content-length': bytes.length }).end(bytes)
      })
    })
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    try {
      const { port } = server.address() as AddressInfo
      const words = ['mount', source, fast, '--capacity', '1GiB', '--peers', `127.0.0.1:${port}`]
      const wrapper = after(`mount --bind ${limit} ${known}`, 'unshare', '-m')
      const { child } = await place.startAs(wrapper, ...words)
      const file = path.join(`/proc/${child.pid}/root`, inFast('m/a'))
      expect((await readFile(file)).equals(bytes)).toBe(true)
      expect(await stateOfFile()).toBe('hydrating')
      open(null)
      await until(async () => (await stateOfFile()) === 'resident')
      expect((await readFile(file)).equals(bytes)).toBe(true)
      expect((await place.asked()).caches[0]!.bytes_by_tier['peer']).toBe(bytes.length)
    } finally {
      server.closeAllConnections()
      server.close()
    }
  })
})
