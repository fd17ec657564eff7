/** Chunks and store files on a real detached tmpfs, beside a plain copy in JavaScript. */
import {
  closeSync,
  fstatSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statfsSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { array, assert, asyncProperty, nat } from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { XXHash128 } from 'xxhash-addon'
import {
  CHUNK_BYTES_MAX,
  copyChunk,
  createStoreFile,
  execute,
  hashChunk,
  isStoreFileIdle,
  makeStore,
  sealStoreFile,
  unlinkStoreFile,
} from '../../src/native/model_chunks.ts'
import { canMount } from '../model-cache/privileges.ts'

const MEGABYTE = 2 ** 20
const folder = mkdtempSync(path.join(os.tmpdir(), 'warmpath-chunks-'))
afterAll(() => rmSync(folder, { recursive: true }))

const inStore = (store: number, name: string): string => `/proc/self/fd/${store}/${name}`

function sourceOf(bytes: Uint8Array): number {
  const file = path.join(folder, 'source')
  writeFileSync(file, bytes)
  return openSync(file, 'r')
}

function someBytes(length: number, seed: number): Buffer {
  const bytes = Buffer.alloc(length)
  for (let i = 0; i < length; i += 1) bytes[i] = Math.imul(i + seed, 2654435761) >>> 24
  return bytes
}

const hugeKilobytes = (): number =>
  Number(/ShmemHugePages:\s+(\d+)/.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1])

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

describe('a chunk', () => {
  test('is copied whole, and its hash is the xxh3-128 that others compute', async () => {
    const bytes = someBytes(CHUNK_BYTES_MAX + 4097, 1)
    const from = sourceOf(bytes)
    const to = openSync(path.join(folder, 'copy'), 'w+')
    const first = bytes.subarray(0, CHUNK_BYTES_MAX)
    const rest = bytes.subarray(CHUNK_BYTES_MAX)
    const hashes = await Promise.all([
      copyChunk({ from, to, offset: CHUNK_BYTES_MAX, length: rest.length }),
      copyChunk({ from, to, offset: 0, length: first.length }),
    ])
    expect(hashes.map(hex)).toEqual([rest, first].map(part => hex(XXHash128.hash(part))))
    expect(readFileSync(path.join(folder, 'copy')).equals(bytes)).toBe(true)
    expect(hex(await hashChunk(to, 0, first.length))).toBe(hex(hashes[1]))
    closeSync(from)
    closeSync(to)
  })

  test('of a source that ends early is refused as truncated', async () => {
    const from = sourceOf(someBytes(1000, 2))
    const refused = { code: 'TRUNCATED' }
    await expect(hashChunk(from, 500, 501)).rejects.toMatchObject(refused)
    await expect(hashChunk(from, 2000, 1)).rejects.toMatchObject(refused)
    closeSync(from)
  })

  test('carries the errno of its source or its destination', async () => {
    const from = sourceOf(someBytes(1000, 3))
    const readOnly = { from, to: from, offset: 0, length: 1000 }
    await expect(copyChunk(readOnly)).rejects.toMatchObject({ code: 'EBADF' })
    const dir = openSync(folder, 'r')
    await expect(hashChunk(dir, 0, 1)).rejects.toMatchObject({ code: 'EISDIR' })
    closeSync(dir)
    closeSync(from)
  })

  test('with arguments out of their domain is a TypeError', async () => {
    await expect(hashChunk(-1, 0, 1)).rejects.toThrow(TypeError)
    await expect(hashChunk(0, -1, 1)).rejects.toThrow(TypeError)
    await expect(hashChunk(0, 0, CHUNK_BYTES_MAX + 1)).rejects.toThrow(TypeError)
    expect(() => execute('/does/not/exist', [], {})).toThrow('ENOENT')
  })

  test('copied in any order by many threads gives the same file (random pieces)', async () => {
    const piece = nat({ max: 300_000 })
    await assert(
      asyncProperty(array(piece, { maxLength: 12 }), nat(), async (lengths, seed) => {
        const bytes = someBytes(
          lengths.reduce((sum, length) => sum + length, 0),
          seed,
        )
        const from = sourceOf(bytes)
        const target = path.join(folder, 'pieces')
        const to = openSync(target, 'w+')
        const starts = lengths.map((_, i) => lengths.slice(0, i).reduce((a, b) => a + b, 0))
        const order = lengths.map((_, i) => (i * 7 + seed) % lengths.length)
        const all = new Set([...order, ...lengths.keys()])
        await Promise.all(
          [...all].map(async i => {
            const [offset = 0, length = 0] = [starts[i], lengths[i]]
            const hash = await copyChunk({ from, to, offset, length })
            const plain = XXHash128.hash(bytes.subarray(offset, offset + length))
            expect(hex(hash)).toBe(hex(plain))
          }),
        )
        expect(readFileSync(target).equals(bytes)).toBe(true)
        closeSync(from)
        closeSync(to)
      }),
      { numRuns: 30 },
    )
  })
})

describe.skipIf(!canMount)('a store', () => {
  test('admits a file only when its memory is there, and gives it back at unlink', () => {
    const store = makeStore(16 * MEGABYTE)
    const free = (): number => statfsSync(`/proc/self/fd/${store}/.`).bfree * 4096
    const before = free()
    const file = createStoreFile(store, 'a', 10 * MEGABYTE)
    expect(free()).toBeLessThanOrEqual(before - 10 * MEGABYTE)
    expect(() => createStoreFile(store, 'b', 10 * MEGABYTE)).toThrow('ENOSPC')
    expect(() => createStoreFile(store, 'a', 1)).toThrow('EEXIST')
    closeSync(file)
    unlinkStoreFile(store, 'a')
    expect(free()).toBe(before)
    expect(() => unlinkStoreFile(store, 'a')).toThrow('ENOENT')
    closeSync(store)
  })

  test('fills a file of full size with huge pages', async () => {
    const store = makeStore(64 * MEGABYTE)
    const from = sourceOf(someBytes(32 * MEGABYTE, 5))
    const before = hugeKilobytes()
    const to = createStoreFile(store, 'a', 32 * MEGABYTE)
    for (let offset = 0; offset < 32 * MEGABYTE; offset += CHUNK_BYTES_MAX) {
      await copyChunk({ from, to, offset, length: CHUNK_BYTES_MAX })
    }
    const after = hugeKilobytes()
    // Another program may free some meanwhile, and memory may be fragmented: half is proof.
    expect(after - before).toBeGreaterThanOrEqual(16 * 1024)
    for (const fd of [from, to, store]) closeSync(fd)
  })

  test('a sealed file cannot be written, replaced or removed by name', () => {
    const store = makeStore(MEGABYTE)
    const file = createStoreFile(store, 'a', 1000)
    closeSync(file)
    const sealed = sealStoreFile(store, 'a')
    expect(fstatSync(sealed).mode & 0o777).toBe(0o444)
    expect(() => openSync(inStore(store, 'a'), 'r+')).toThrow('EPERM')
    expect(() => unlinkSync(inStore(store, 'a'))).toThrow('EPERM')
    unlinkStoreFile(store, 'a')
    closeSync(sealed)
    closeSync(store)
  })

  test('the lease probe sees another reader, and nothing of ours', () => {
    const store = makeStore(MEGABYTE)
    closeSync(createStoreFile(store, 'a', 1000))
    const sealed = sealStoreFile(store, 'a')
    expect(isStoreFileIdle(sealed)).toBe(true)
    const other = openSync(inStore(store, 'a'), 'r')
    expect(isStoreFileIdle(sealed)).toBe(false)
    closeSync(other)
    expect(isStoreFileIdle(sealed)).toBe(true)
    unlinkStoreFile(store, 'a')
    closeSync(sealed)
    closeSync(store)
  })

  test('names are single components', () => {
    for (const name of ['', '.', '..', 'a/b', 'a\0b', 'x'.repeat(256)]) {
      expect(() => createStoreFile(0, name, 1)).toThrow(TypeError)
    }
  })
})
