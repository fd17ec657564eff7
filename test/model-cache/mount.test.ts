/** The accelerated path as an application sees it, on a real mount, in both modes of FUSE. */
import { execFileSync, spawn } from 'node:child_process'
import {
  chmodSync,
  closeSync,
  constants,
  fstatSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  statfsSync,
  statSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { open, readdir, readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, test, vi } from 'vitest'
import { exitOf, tracked } from './children.ts'
import { useMountStage } from './mount_stage.ts'
import { canMount } from './privileges.ts'
import type { Served } from './served.ts'

const MEGABYTE = 2 ** 20
const MODES = ['passthrough', 'copy'] as const

const stage = useMountStage()
const { put, onMount } = stage

function bytesOf(length: number, seed: number): Buffer {
  const bytes = Buffer.allocUnsafe(length)
  for (let i = 0; i < length; i += 1) bytes[i] = Math.imul(i ^ seed, 2654435761) >>> 24
  return bytes
}

/** A check is good for its millisecond: what changed within it is seen by the next look. */
async function shows(name: string, text: string): Promise<void> {
  await vi.waitFor(async () => expect(await readFile(onMount(name), 'utf8')).toBe(text))
}

describe.skipIf(!canMount).each(MODES)('in %s mode', mode => {
  const start = (...words: string[]): Promise<Served> => stage.start([`mode=${mode}`, ...words])

  test('files read as at the source, by reads and by standard tools', async () => {
    const big = bytesOf(9 * MEGABYTE + 123, 1)
    put('big.safetensors', big)
    put('empty', '')
    put('sub/deep/ä b\'c"\n.json', '{}')
    const server = await start()
    expect((await server.askJson('facts')).mode).toBe(mode)
    expect((await readFile(onMount('big.safetensors'))).equals(big)).toBe(true)
    expect(await readFile(onMount('empty'), 'utf8')).toBe('')
    expect(await readFile(onMount('sub/deep/ä b\'c"\n.json'), 'utf8')).toBe('{}')
    execFileSync('diff', ['-r', stage.folders.source, stage.folders.mount])
    execFileSync('cp', ['-r', stage.folders.mount, path.join(stage.folders.root, 'copied')])
    execFileSync('diff', ['-r', stage.folders.source, path.join(stage.folders.root, 'copied')])
  })

  test('sizes, modes and times are those of the source, without the right to write', async () => {
    put('a', 'x'.repeat(5000))
    const atSource = path.join(stage.folders.source, 'a')
    utimesSync(atSource, 1_700_000_000.25, 1_600_000_000.5)
    await start()
    const [there, here] = [await stat(atSource), await stat(onMount('a'))]
    expect([here.size, here.mtimeMs]).toEqual([there.size, there.mtimeMs])
    expect(here.mode).toBe(there.mode & ~0o222)
    expect(statfsSync(stage.folders.mount).blocks * 4096).toBe(2 ** 30)
    await expect(stat(onMount('none'))).rejects.toMatchObject({ code: 'ENOENT' })
  })

  test('a folder of 10,000 files is listed whole and once', { timeout: 60_000 }, async () => {
    for (let i = 0; i < 10_000; i++) put(`many/file-${i}`, '')
    await start()
    const names = await readdir(onMount('many'))
    expect(names).toHaveLength(10_000)
    expect(new Set(names).size).toBe(10_000)
    const found = execFileSync('find', [onMount('many'), '-type', 'f', '-size', '0'])
    expect(found.toString().trim().split('\n')).toHaveLength(10_000)
  })

  test('nothing can be written', async () => {
    put('a', 'abc')
    await start()
    for (const name of ['a', 'new']) {
      expect(() => writeFileSync(onMount(name), 'x')).toThrow('EROFS')
    }
    expect(() => unlinkSync(onMount('a'))).toThrow('EROFS')
    expect(() => utimesSync(onMount('a'), 1, 1)).toThrow('EROFS')
    expect(() => chmodSync(onMount('a'), 0o777)).toThrow('EROFS')
    expect(() => renameSync(onMount('a'), onMount('b'))).toThrow('EROFS')
    expect(() => mkdirSync(onMount('folder'))).toThrow('EROFS')
    const tries = [
      'os.setxattr(name, "user.a", b"x")',
      'mmap.mmap(os.open(name, os.O_RDONLY), 3, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)',
    ]
    for (const one of tries) {
      const script = `import errno, mmap, os, sys\nname = sys.argv[1]\ntry: ${one}
except OSError as error: print(errno.errorcode[error.errno])`
      const said = execFileSync('python3', ['-c', script, onMount('a')], { encoding: 'utf8' })
      expect(['EROFS', 'EACCES', 'EOPNOTSUPP']).toContain(said.trim())
    }
    expect(await readFile(onMount('a'), 'utf8')).toBe('abc')
  })

  test('O_DIRECT reads the same bytes', async () => {
    const bytes = bytesOf(MEGABYTE, 3)
    put('a', bytes)
    await start()
    const file = openSync(onMount('a'), constants.O_RDONLY | constants.O_DIRECT)
    // Aligned as O_DIRECT wants it.
    const whole = Buffer.alloc(MEGABYTE + 4096)
    const offset = 4096 - (whole.byteOffset % 4096)
    const into = whole.subarray(offset, offset + MEGABYTE)
    expect(readSync(file, into, 0, MEGABYTE, 0)).toBe(MEGABYTE)
    expect(into.equals(bytes)).toBe(true)
    closeSync(file)
  })

  test('an absent file waits for its hydration, and others are served meanwhile', async () => {
    put('cold', 'cold')
    put('other/name', 'x')
    const gate = path.join(stage.folders.root, 'gate')
    const server = await start(`gate=${gate}`)
    const reading = readFile(onMount('cold'), 'utf8')
    await vi.waitFor(async () => expect((await server.askJson('counts')).held).toBe(1))
    expect((await stat(onMount('cold'))).size).toBe(4)
    expect(await readdir(onMount('other'))).toEqual(['name'])
    writeFileSync(gate, '')
    expect(await reading).toBe('cold')
  })

  test('an application that is killed while its open is held dies at once', async () => {
    put('cold', 'cold')
    const server = await start(`gate=${path.join(stage.folders.root, 'gate')}`)
    const reader = tracked(spawn('cat', [onMount('cold')], { stdio: 'ignore' }))
    const other = readFile(onMount('cold'), 'utf8')
    await vi.waitFor(async () => expect((await server.askJson('counts')).held).toBe(2))
    reader.kill('SIGKILL')
    expect(await exitOf(reader)).toBe('SIGKILL')
    expect((await server.askJson('counts')).held).toBe(1)
    writeFileSync(path.join(stage.folders.root, 'gate'), '')
    expect(await other).toBe('cold')
  })

  test('an error of the source is one of the open, and the next open tries again', async () => {
    put('cold', 'cold')
    const gate = path.join(stage.folders.root, 'gate')
    const server = await start(`gate=${gate}`)
    const refused = { code: 'EIO' }
    const failing = expect(readFile(onMount('cold'))).rejects.toMatchObject(refused)
    await vi.waitFor(async () => expect((await server.askJson('counts')).held).toBe(1))
    await server.ask('fail cold EIO')
    await failing
    writeFileSync(gate, '')
    expect(await readFile(onMount('cold'), 'utf8')).toBe('cold')
  })

  test('a changed source is seen by new opens, and open readers keep their bytes', async () => {
    put('a', 'first generation')
    await start('revalidate=0')
    const before = await open(onMount('a'))
    put('a', 'second, longer generation')
    await shows('a', 'second, longer generation')
    expect((await stat(onMount('a'))).size).toBe(25)
    expect(await before.readFile('utf8')).toBe('first generation')
    expect((await before.stat()).size).toBe(16)
    await before.close()
  })

  test('added files appear, and deleted ones go, at the next look-up', async () => {
    put('a', 'a')
    await start('revalidate=0')
    expect(await readdir(stage.folders.mount)).toEqual(['a'])
    put('b', 'b')
    await shows('b', 'b')
    const before = await open(onMount('a'))
    unlinkSync(path.join(stage.folders.source, 'a'))
    await vi.waitFor(() => expect(() => statSync(onMount('a'))).toThrow('ENOENT'))
    expect(await before.readFile('utf8')).toBe('a')
    await before.close()
    expect(await readdir(stage.folders.mount)).toEqual(['b'])
  })

  test('a file is evicted only when nobody has it open', async () => {
    put('a', 'abc')
    const server = await start()
    const reader = openSync(onMount('a'), 'r')
    expect(await server.ask('evict a')).toBe('busy')
    closeSync(reader)
    await vi.waitFor(async () => expect((await server.askJson('use a')).opens).toBe(0))
    const { ino } = statSync(onMount('a'))
    expect(await server.ask('evict a')).toBe('evicted')
    expect(await readFile(onMount('a'), 'utf8')).toBe('abc')
    expect(statSync(onMount('a')).ino).toBe(ino)
  })

  test('a forced eviction leaves readers their bytes and gives the file a new inode', async () => {
    put('a', 'abc')
    const server = await start()
    const reader = openSync(onMount('a'), 'r')
    expect(await server.ask('force a')).toBe('evicted')
    expect(await readFile(onMount('a'), 'utf8')).toBe('abc')
    const into = Buffer.alloc(3)
    readSync(reader, into, 0, 3, 0)
    expect(into.toString()).toBe('abc')
    expect(fstatSync(reader).ino).not.toBe(statSync(onMount('a')).ino)
    closeSync(reader)
  })

  test('a bypassed file is read from the source, and can become resident later', async () => {
    put('a', 'abc')
    const server = await start()
    expect(await server.ask('bypass a')).toBe('ok')
    const before = await open(onMount('a'))
    expect(await readFile(onMount('a'), 'utf8')).toBe('abc')
    await before.close()
    await vi.waitFor(async () => expect(await server.ask('evict a')).toBe('evicted'))
    expect(await readFile(onMount('a'), 'utf8')).toBe('abc')
  })
})

describe.skipIf(!canMount)('in passthrough mode', () => {
  test('reads of a resident file send no request to the daemon', async () => {
    put('a', bytesOf(8 * MEGABYTE, 7))
    const served = await stage.start()
    const file = await open(onMount('a'))
    const before = Number((await served.askJson('counts')).requests)
    for (let i = 0; i < 50; i++) await file.read(Buffer.alloc(4096), 0, 4096, i * 99_991)
    const after = Number((await served.askJson('counts')).requests)
    expect(after - before).toBeLessThan(5)
    expect((await served.askJson('counts')).bytesCopied).toBe(0)
    await file.close()
  })
})
