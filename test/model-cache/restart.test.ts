/** Death and life: daemons and supervisors that are killed, ended, or started where one was. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import {
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { open, readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import readline from 'node:readline'
import { describe, expect, test, vi } from 'vitest'
import { exitOf, tracked } from './children.ts'
import { storeOf } from './killing.ts'
import { useMountStage } from './mount_stage.ts'
import { canMount } from './privileges.ts'
import { mountsAt, Served, SUPERVISOR } from './served.ts'

const MEGABYTE = 2 ** 20
const MODES = ['passthrough', 'copy'] as const

const stage = useMountStage()
const { put, onMount } = stage

const pattern = Buffer.alloc(4 * MEGABYTE, 'weights of generation one; ')

/** A process that maps the file, closes it, and prints its checksum for each line it is sent. */
class Mapper {
  readonly child: ChildProcess
  readonly #lines: AsyncIterator<string>

  constructor(file: string) {
    const program = [
      'import mmap, sys, zlib',
      'f = open(sys.argv[1], "rb")',
      'm = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)',
      'f.close()',
      'for line in sys.stdin: print(zlib.crc32(m), flush=True)',
    ].join('\n')
    const stdio = ['pipe', 'pipe', 'inherit'] as const
    this.child = tracked(spawn('python3', ['-c', program, file], { stdio: [...stdio] }))
    const lines = readline.createInterface({ input: this.child.stdout! })
    this.#lines = lines[Symbol.asyncIterator]()
  }

  async checksum(): Promise<number> {
    this.child.stdin!.write('\n')
    const { value } = await this.#lines.next()
    return Number(value)
  }

  async end(): Promise<void> {
    this.child.stdin!.end()
    await exitOf(this.child)
  }
}

function checksumOf(file: string): number {
  const program = 'import sys, zlib; print(zlib.crc32(open(sys.argv[1], "rb").read()))'
  return Number(execFileSync('python3', ['-c', program, file]).toString())
}

describe.skipIf(!canMount).each(MODES)('in %s mode', mode => {
  const start = (...words: string[]): Promise<Served> => stage.start([`mode=${mode}`, ...words])

  test('a daemon killed under a reader is invisible to it, and new opens go on', async () => {
    put('a', pattern)
    const server = await start()
    const reader = await open(onMount('a'))
    const into = Buffer.alloc(MEGABYTE)
    await reader.read(into, 0, MEGABYTE, 0)
    process.kill(await server.daemonPid(), 'SIGKILL')
    for (let i = 0; i < 4; i++) {
      await reader.read(into, 0, MEGABYTE, i * MEGABYTE)
      expect(into.equals(pattern.subarray(i * MEGABYTE, (i + 1) * MEGABYTE))).toBe(true)
    }
    expect((await readFile(onMount('a'))).equals(pattern)).toBe(true)
    await server.readyLine(1)
    expect((await server.askJson('facts')).isTakenOver).toBe(true)
    await reader.close()
  })

  test('an open that was held when the daemon was killed succeeds, only later', async () => {
    put('cold', pattern)
    const gate = path.join(stage.folders.root, 'gate')
    const server = await start(`gate=${gate}`)
    const reading = readFile(onMount('cold'))
    await vi.waitFor(async () => expect((await server.askJson('counts')).held).toBe(1))
    await server.killDaemon(1)
    await vi.waitFor(async () => expect((await server.askJson('counts')).held).toBe(1))
    writeFileSync(gate, '')
    expect((await reading).equals(pattern)).toBe(true)
  })

  test('a mapped file can be opened again after a kill, under the same inode', async () => {
    put('a', pattern)
    const server = await start()
    const mapper = new Mapper(onMount('a'))
    const truth = checksumOf(path.join(stage.folders.source, 'a'))
    expect(await mapper.checksum()).toBe(truth)
    const { ino } = await stat(onMount('a'))
    for (let life = 1; life <= 3; life++) {
      await server.killDaemon(life)
      const reader = await open(onMount('a'))
      expect((await reader.stat()).ino).toBe(ino)
      await reader.close()
      expect(checksumOf(onMount('a'))).toBe(truth)
      expect(await mapper.checksum()).toBe(truth)
    }
    await mapper.end()
  })

  test('the first eviction after a kill still sees who maps the file', async () => {
    put('a', pattern)
    const server = await start()
    const mapper = new Mapper(onMount('a'))
    const truth = await mapper.checksum()
    await server.killDaemon(1)
    expect(await server.ask('evict a')).toBe(mode === 'passthrough' ? 'busy' : 'evicted')
    expect(checksumOf(onMount('a'))).toBe(truth)
    expect(await mapper.checksum()).toBe(truth)
    await mapper.end()
    await vi.waitFor(async () => expect(await server.ask('evict a')).toBe('evicted'))
    expect(checksumOf(onMount('a'))).toBe(truth)
  })

  test.runIf(mode === 'copy')(
    'a READ that a killed daemon had taken is answered later',
    async () => {
      put('a', pattern)
      const gate = path.join(stage.folders.root, 'gate')
      writeFileSync(gate, '')
      const server = await start(`gate=${gate}`)
      const reader = await open(onMount('a'))
      // The next lives find no bytes, and may not load them: their READs wait inside them.
      const pid = await server.daemonPid()
      for (const name of readdirSync(storeOf(pid))) {
        if (name.endsWith('.ok')) rmSync(storeOf(pid) + name)
      }
      rmSync(gate)
      await server.killDaemon(1)
      const into = Buffer.alloc(MEGABYTE)
      const reading = reader.read(into, 0, MEGABYTE, 2 * MEGABYTE)
      const held = async (): Promise<number> => Number((await server.askJson('counts')).held)
      for (let life = 2; life <= 3; life++) {
        await vi.waitFor(async () => expect(await held()).toBeGreaterThan(0))
        await server.killDaemon(life)
      }
      await vi.waitFor(async () => expect(await held()).toBeGreaterThan(0))
      writeFileSync(gate, '')
      expect((await reading).bytesRead).toBe(MEGABYTE)
      expect(into.equals(pattern.subarray(2 * MEGABYTE, 3 * MEGABYTE))).toBe(true)
      await reader.close()
    },
  )

  test.runIf(mode === 'copy')('a bypassed file that was open goes on to be read', async () => {
    put('a', pattern)
    const gate = path.join(stage.folders.root, 'gate')
    const server = await start(`gate=${gate}`)
    const opening = open(onMount('a'), constants.O_RDONLY | constants.O_DIRECT)
    const isHeld = (): Promise<void> =>
      vi.waitFor(async () => expect((await server.askJson('counts')).held).toBe(1))
    await isHeld()
    await server.ask('bypass a')
    const reader = await opening
    const readsRight = async (at: number): Promise<void> => {
      const into = Buffer.alloc(4096)
      expect((await reader.read(into, 0, 4096, at)).bytesRead).toBe(4096)
      expect(into.equals(pattern.subarray(at, at + 4096))).toBe(true)
    }
    await readsRight(0)
    await server.killDaemon(1)
    const second = readsRight(MEGABYTE)
    await isHeld()
    await server.ask('bypass a')
    await second
    // Nobody counts this reader any more: the file may become another node, and later resident.
    expect(await server.ask('evict a')).toBe('evicted')
    const third = readsRight(2 * MEGABYTE)
    await isHeld()
    writeFileSync(gate, '')
    await third
    await reader.close()
  })

  test('a source that changed while no daemon lived is served in its new generation', async () => {
    put('a', 'old')
    const server = await start()
    const reader = await open(onMount('a'))
    expect(await reader.readFile('utf8')).toBe('old')
    put('a', 'newer')
    await server.killDaemon(1)
    expect(await readFile(onMount('a'), 'utf8')).toBe('newer')
    await reader.close()
  })
})

/** What a supervisor says that shall mount here, or "mounted". */
function tries(point: string): string {
  const words = ['--mount', point, '--store-bytes', '1000000', '--', 'true']
  try {
    execFileSync(SUPERVISOR, words, { stdio: 'pipe' })
    return 'mounted'
  } catch (error) {
    return String((error as { stderr: Buffer }).stderr)
  }
}

/** Whether a process runs; one that nobody has waited for yet does not. */
function isAlive(pid: number): boolean {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}

describe.skipIf(!canMount)('a supervisor', () => {
  test('killed with its daemon leaves a dead mount that the next start clears', async () => {
    put('a', pattern)
    const first = await Served.start(stage.folders)
    const mapper = new Mapper(onMount('a'))
    const truth = await mapper.checksum()
    const reader = openSync(onMount('a'), 'r')
    const daemon = await first.daemonPid()
    first.supervisor.kill('SIGKILL')
    await exitOf(first.supervisor)
    await vi.waitFor(() => expect(isAlive(daemon)).toBe(false))
    expect(mountsAt(stage.folders.mount)).toHaveLength(1)
    await stage.start()
    expect(mountsAt(stage.folders.mount)).toHaveLength(1)
    expect(checksumOf(onMount('a'))).toBe(truth)
    expect(await mapper.checksum()).toBe(truth)
    const into = Buffer.alloc(7)
    readSync(reader, into, 0, 7, 0)
    expect(into.toString()).toBe('weights')
    closeSync(reader)
    await mapper.end()
  })

  test('unmounts under open files and mappings, whose readers go on', async () => {
    put('a', pattern)
    const server = await Served.start(stage.folders)
    const mapper = new Mapper(onMount('a'))
    const truth = await mapper.checksum()
    const reader = openSync(onMount('a'), 'r')
    expect(await server.stop()).toBe(0)
    expect(server.output).toContain('its readers go on')
    expect(mountsAt(stage.folders.mount)).toEqual([])
    expect(await mapper.checksum()).toBe(truth)
    const into = Buffer.alloc(7)
    readSync(reader, into, 0, 7, MEGABYTE * 2)
    expect(into.equals(pattern.subarray(MEGABYTE * 2, MEGABYTE * 2 + 7))).toBe(true)
    closeSync(reader)
    await mapper.end()
  })

  test('refuses a mount point that is no empty directory or is served already', async () => {
    writeFileSync(path.join(stage.folders.root, 'file'), '')
    mkdirSync(path.join(stage.folders.root, 'full/inner'), { recursive: true })
    expect(tries(path.join(stage.folders.root, 'none'))).toContain('No such file or directory')
    expect(tries(path.join(stage.folders.root, 'none/none'))).toContain('no such mount point')
    expect(tries(path.join(stage.folders.root, 'file'))).toContain('is not a directory')
    expect(tries(path.join(stage.folders.root, 'full'))).toContain('is not empty')
    expect(tries('/proc')).toContain('is a mount point already (proc)')
    await stage.start()
    expect(tries(stage.folders.mount)).toContain('is served by another warmpath mount')
    expect(mountsAt(stage.folders.mount)).toHaveLength(1)
  })

  test('ends with the status of a daemon that was never ready', async () => {
    const { mount } = stage.folders
    const words = ['--mount', mount, '--store-bytes', '1000000', '--', 'sh', '-c', 'exit 7']
    const child = spawn(SUPERVISOR, words, { stdio: 'ignore' })
    expect(await exitOf(child)).toBe(7)
    const gone = spawn(SUPERVISOR, [...words.slice(0, 5), 'no-such-program'], { stdio: 'ignore' })
    expect(await exitOf(gone)).toBe(2)
  })

  test('says what is wrong with its command line', () => {
    const { mount } = stage.folders
    for (const words of [[], ['--mount', mount], ['--mount', mount, '--', 'x']]) {
      expect(() => execFileSync(SUPERVISOR, words, { stdio: 'pipe' })).toThrow('usage:')
    }
  })

  test('says that /dev/fuse is missing, and how to do without', () => {
    const words = ['--mount', stage.folders.mount, '--store-bytes', '1000000', '--', 'true']
    const script = `mount -t tmpfs none /dev && exec "$@"`
    const command = ['-m', 'sh', '-c', script, 'sh', SUPERVISOR, ...words]
    expect(() => execFileSync('unshare', command, { stdio: 'pipe' })).toThrow('--mode tmpfs')
  })

  test('in a user namespace serves by copying, and says why', async () => {
    put('a', pattern)
    const served = await stage.start([], ['unshare', '-Urm'])
    const facts = await served.askJson('facts')
    expect(facts.mode).toBe('copy')
    expect(facts.reason).toContain('EPERM')
    const daemon = await served.daemonPid()
    const seen = `/proc/${daemon}/root${onMount('a')}`
    expect(execFileSync('cat', [seen], { maxBuffer: 8 * MEGABYTE }).equals(pattern)).toBe(true)
  })
})
