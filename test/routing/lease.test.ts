import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Lease, type LeaseKeeper } from '../../src/routing/lease.ts'
import { FakeLoadTable } from './fake_fleet.ts'

function keeper(): LeaseKeeper & { log: string[] } {
  const log: string[] = []
  return { log, firstToken: () => log.push('first'), released: () => log.push('released') }
}

describe('lease', () => {
  test('moves its tokens from prefill to decode and gives everything back', () => {
    const table = new FakeLoadTable(2)
    const own = keeper()
    const lease = Lease.acquire(table, own, 1, 500, 32, 4)
    expect([...table.words]).toEqual([0, 0, 0, 1, 500, 32])
    lease?.firstToken()
    lease?.firstToken()
    expect([...table.words]).toEqual([0, 0, 0, 1, 0, 32])
    lease?.release()
    expect(table.isZero).toBe(true)
    expect(own.log).toEqual(['first', 'released'])
  })

  test('a second release asserts, a first token after the release is ignored', () => {
    const table = new FakeLoadTable(1)
    const lease = Lease.acquire(table, keeper(), 0, 10, 1, 1)
    lease?.release()
    lease?.firstToken()
    expect(table.isZero).toBe(true)
    expect(() => lease?.release()).toThrow(/released twice/)
    expect(table.isZero).toBe(true)
  })

  test('none is given beyond the limit', () => {
    const table = new FakeLoadTable(1)
    expect(Lease.acquire(table, keeper(), 0, 10, 1, 1)).not.toBeNull()
    expect(Lease.acquire(table, keeper(), 0, 10, 1, 1)).toBeNull()
    expect([...table.words]).toEqual([1, 10, 1])
  })

  test('LA-02: an end at any point returns the load to its value before', () => {
    const end = fc.constantFrom('in prefill', 'in decode')
    const work = fc.record({ tokens: fc.nat(200_000), blocks: fc.nat(10_000), end })
    fc.assert(
      fc.property(fc.array(work, { maxLength: 30 }), fc.nat(), (works, seed) => {
        const table = new FakeLoadTable(4)
        const open = works.map((w, i) => ({
          lease: Lease.acquire(table, keeper(), (i + seed) % 4, w.tokens, w.blocks, 1000),
          end: w.end,
        }))
        for (const { lease, end: when } of open) {
          if (when === 'in decode') lease?.firstToken()
          lease?.release()
        }
        expect(table.isZero).toBe(true)
      }),
    )
  })
})
