/** Who goes when somebody else wants room. */
import { expect, test } from 'vitest'
import { REFUSED_MS, Residents } from '../../src/model-cache/residents.ts'
import { Slot } from '../../src/model-cache/slot.ts'

const PAGE = 4096
let version = 0

function slotOf(path: string, pages = 1): Slot {
  version += 1
  return new Slot({
    path,
    kind: 'file',
    mode: 0o644,
    size: pages * PAGE,
    mtimeNs: 0n,
    ctimeNs: 0n,
    inode: BigInt(version),
    version,
    fileId: path,
    generation: 'g',
    isAmbiguous: false,
  })
}

class Bench {
  nowMs = 1000
  readonly busy = new Set<Slot>()
  readonly evicted: string[] = []
  readonly residents: Residents

  constructor(pages: number) {
    this.residents = new Residents({
      capacityBytes: pages * PAGE,
      now: () => this.nowMs,
      loadMs: 100,
    })
  }

  /** Loads a file at the current time; whether there was room. */
  load(slot: Slot): boolean {
    if (!this.residents.reserve(slot, slot.model)) return false
    slot.usedMs = this.nowMs
    const evict = (): 'evicted' | 'busy' => {
      if (this.busy.has(slot)) return 'busy'
      this.evicted.push(slot.file.path)
      return 'evicted'
    }
    this.residents.settle({ slot, model: slot.model, evict })
    return true
  }
}

test('the least recently used goes first', () => {
  const bench = new Bench(2)
  const [a, b, c] = [slotOf('a/1'), slotOf('b/1'), slotOf('c/1')]
  bench.load(a)
  bench.nowMs += 1000
  bench.load(b)
  bench.nowMs += 1000
  a.usedMs = bench.nowMs
  expect(bench.load(c)).toBe(true)
  expect(bench.evicted).toEqual(['b/1'])
  expect(bench.residents.usedBytes).toBe(2 * PAGE)
})

test('a model larger than the capacity keeps its first files', () => {
  const bench = new Bench(3)
  const shards = ['m/1', 'm/2', 'm/3', 'm/4'].map(path => slotOf(path))
  expect(shards.map(shard => bench.load(shard))).toEqual([true, true, true, false])
  expect(bench.evicted).toEqual([])
})

test('files of the same folder that belong to an earlier load may go', () => {
  const bench = new Bench(1)
  bench.load(slotOf('m/1'))
  bench.nowMs += 101
  expect(bench.load(slotOf('m/2'))).toBe(true)
  expect(bench.evicted).toEqual(['m/1'])
})

test('neither pinned nor busy files go, and nothing goes in vain', () => {
  const bench = new Bench(3)
  const [pinned, busy, idle] = [slotOf('a/1'), slotOf('b/1'), slotOf('c/1')]
  for (const slot of [pinned, busy, idle]) bench.load(slot)
  pinned.isPinned = true
  bench.busy.add(busy)
  bench.nowMs += 1000
  expect(bench.load(slotOf('d/1', 3))).toBe(false)
  expect(bench.evicted).toEqual([])
  expect(bench.load(slotOf('e/1'))).toBe(true)
  expect(bench.evicted).toEqual(['c/1'])
})

test('bytes that only old readers hold count', () => {
  let draining = PAGE
  const residents = new Residents({
    capacityBytes: 2 * PAGE,
    now: () => 0,
    drainingBytes: () => draining,
  })
  expect(residents.reserve(slotOf('a/1', 2), 'a')).toBe(false)
  draining = 0
  expect(residents.reserve(slotOf('a/1', 2), 'a')).toBe(true)
})

test('a released reservation gives its room back', () => {
  const bench = new Bench(1)
  const slot = slotOf('a/1')
  expect(bench.residents.reserve(slot, 'a')).toBe(true)
  bench.residents.release(slot)
  bench.residents.release(slot)
  expect(bench.residents.usedBytes).toBe(0)
})

test('a lowered capacity evicts what may go', () => {
  const bench = new Bench(3)
  for (const path of ['a/1', 'b/1', 'c/1']) {
    bench.nowMs += 1
    bench.load(slotOf(path))
  }
  bench.residents.setCapacity(PAGE)
  expect(bench.evicted).toEqual(['a/1', 'b/1'])
})

test('a process has descriptors for so many files: the least used makes place', () => {
  const residents = new Residents({ capacityBytes: 100 * PAGE, now: () => 1000, filesMax: 2 })
  const evicted: string[] = []
  const load = (slot: Slot): boolean => {
    if (!residents.reserve(slot, slot.model)) return false
    const evict = (): 'evicted' => {
      evicted.push(slot.file.path)
      return 'evicted'
    }
    residents.settle({ slot, model: slot.model, evict })
    return true
  }
  expect(['a/1', 'b/1', 'c/1'].map(path => load(slotOf(path)))).toEqual([true, true, true])
  expect([evicted, residents.count]).toEqual([['a/1'], 2])
})

test('files that find no room do not look at all the others each time', () => {
  let looks = 0
  let nowMs = 0
  const residents = new Residents({
    capacityBytes: 10 * PAGE,
    now: () => nowMs,
    refresh: () => {
      looks += 1
    },
  })
  const load = (path: string, pages: number): boolean => {
    const slot = slotOf(path, pages)
    const hasRoom = residents.reserve(slot, 'm')
    if (hasRoom) residents.settle({ slot, model: 'm', evict: () => 'evicted' })
    return hasRoom
  }
  expect(load('m/first', 8)).toBe(true)
  for (let i = 0; i < 1000; i++) expect(load(`m/${i}`, 3)).toBe(false)
  expect(looks).toBe(1)
  expect(load('m/small', 2)).toBe(true)
  nowMs += REFUSED_MS
  expect(load('m/late', 3)).toBe(false)
  expect(looks).toBe(2)
})

test('somebody who leaves makes room at once for who was refused', () => {
  const bench = new Bench(2)
  const [a, b] = [slotOf('m/a', 2), slotOf('m/b', 1)]
  bench.load(a)
  expect(bench.load(b)).toBe(false)
  bench.residents.release(a)
  expect(bench.load(b)).toBe(true)
})

test('what is only wished for in advance takes free room, and makes none', () => {
  const bench = new Bench(2)
  bench.load(slotOf('a/1'))
  bench.nowMs += 1000
  const [small, large] = [slotOf('b/1'), slotOf('b/2', 2)]
  expect(bench.residents.reserve(large, 'b', false)).toBe(false)
  expect(bench.residents.reserve(small, 'b', false)).toBe(true)
  bench.residents.release(small)
  // Nor does it speak for those that somebody opens.
  expect(bench.load(large)).toBe(true)
  expect(bench.evicted).toEqual(['a/1'])
})
