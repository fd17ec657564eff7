/** The load table against its model, its limits, and many threads on one slot. */
import { Worker } from 'node:worker_threads'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { SLOTS_MAX } from '../../src/native/limits.ts'
import { LOAD_WORDS, loadTable } from '../../src/native/load_table.ts'
import { packageRoot } from '../../src/native/package_root.ts'
import { LoadModel } from '../model/load_table.ts'

const SLOTS = 3

function words(slotCount: number): number[] {
  const out = new Float64Array(slotCount * LOAD_WORDS)
  loadTable.read(out, slotCount)
  return [...out]
}

interface Lease {
  slot: number
  prefill: number
  blocks: number
}

/** One step: take a lease, tell its first token, or release one of those that are out. */
const step = fc.oneof(
  fc.record({ act: fc.constant('acquire'), slot: fc.nat(SLOTS - 1), amount: fc.nat(100) }),
  fc.record({ act: fc.constantFrom('first', 'release'), slot: fc.nat(), amount: fc.nat() }),
)

describe('load table', () => {
  it('agrees with the model over random leases, and is empty after all are released', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), steps => {
        const model = new LoadModel()
        const leases: Lease[] = []
        for (const { act, slot, amount } of steps) {
          const lease = leases[amount % Math.max(1, leases.length)]
          if (act === 'acquire') {
            const took = loadTable.acquire(slot, amount, amount * 2, 4)
            expect(took).toBe(model.acquire(slot, amount, amount * 2, 4))
            if (took) leases.push({ slot, prefill: amount, blocks: amount * 2 })
          } else if (lease !== undefined && act === 'first') {
            loadTable.firstToken(lease.slot, lease.prefill)
            model.firstToken(lease.slot, lease.prefill)
            lease.prefill = 0
          } else if (lease !== undefined) {
            loadTable.release(lease.slot, lease.prefill, lease.blocks)
            model.release(lease.slot, lease.prefill, lease.blocks)
            leases.splice(leases.indexOf(lease), 1)
          }
          expect(words(SLOTS)).toEqual(model.words(SLOTS))
          expect(loadTable.clear(slot % SLOTS)).toBe(model.isAtRest(slot % SLOTS))
        }
        for (const { slot, prefill, blocks } of leases) loadTable.release(slot, prefill, blocks)
        expect(loadTable.drainCheck()).toBe(0)
      }),
    )
  })

  it('refuses the lease past the in-flight limit and changes nothing', () => {
    expect(loadTable.acquire(5, 10, 1, 1)).toBe(true)
    expect(loadTable.acquire(5, 10, 1, 1)).toBe(false)
    expect(words(6).slice(15)).toEqual([1, 10, 1])
    loadTable.release(5, 10, 1)
    expect(loadTable.drainCheck()).toBe(0)
  })

  it('counts more tokens in flight at one slot than 32 bits hold', () => {
    const [most, count] = [2 ** 24, 200]
    for (let i = 0; i < count; i++) expect(loadTable.acquire(6, most, most, count)).toBe(true)
    expect(words(7).slice(18)).toEqual([count, count * most, count * most])
    for (let i = 0; i < count; i++) loadTable.release(6, most, most)
    expect(loadTable.drainCheck()).toBe(0)
  })

  it('names the wrong argument', () => {
    expect(() => loadTable.acquire(SLOTS_MAX, 1, 1, 1)).toThrow(/slot must be an integer/)
    expect(() => loadTable.acquire(0, -1, 1, 1)).toThrow(/prefillTokens must be/)
    expect(() => loadTable.release(0, 1, 2 ** 25)).toThrow(/blocks must be/)
    expect(() => loadTable.read(new Float64Array(3), 2)).toThrow(/out must have 6 words/)
    expect(() => loadTable.read(new Float64Array(3), -1)).toThrow(/slotCount must be/)
  })

  it('never passes the limit with several threads on one slot, and drains to zero', async () => {
    const code = `
      const { parentPort, workerData } = require('node:worker_threads')
      const native = require(workerData)
      const out = new Float64Array(3)
      let taken = 0
      let most = 0
      while (taken < 20000) {
        if (!native.loadAcquire(0, 7, 3, 2)) continue
        taken++
        native.loadRead(out, 1)
        most = Math.max(most, out[0])
        native.loadFirstToken(0, 7)
        native.loadRelease(0, 0, 3)
      }
      parentPort.postMessage(most)`
    const workerData = `${packageRoot()}/build/Release/warmpath.node`
    const mosts = await Promise.all(
      Array.from(
        { length: 3 },
        () =>
          new Promise<number>((resolve, reject) => {
            const worker = new Worker(code, { eval: true, workerData })
            worker.once('message', resolve)
            worker.once('error', reject)
          }),
      ),
    )
    expect(Math.max(...mosts)).toBeLessThanOrEqual(2)
    expect(loadTable.drainCheck()).toBe(0)
  })
})
