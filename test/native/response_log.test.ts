/** The native log alone: the directory against a map, long windows, positions past 4 GiB. */
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  FACT_SIZE,
  FACT_STATUS,
  FACT_WHOLE_END,
  FACT_WORDS,
  LOG_EXPIRED,
  LOG_NO_FLOOR,
  LOG_PRIVATE,
  LOG_UNKNOWN,
  nativeLog,
  readLogTotals,
} from '../../src/native/response_log.ts'

const facts = new Uint32Array(FACT_WORDS)
const fact = (index: number): number => facts[index] ?? 0

/** Opens a window log of one tenant; returns its name. */
function open(tenant = 1): [slot: number, generation: number] {
  const name = new Uint32Array(2)
  expect(nativeLog.logOpen(0, 0, tenant, LOG_PRIVATE, 2 ** 30, 2 ** 30, name)).toBe(true)
  return [name[0] ?? 0, name[1] ?? 0]
}

type Fact = string | number | boolean | undefined

/** A cheap `expect` for the long loops. */
function same(actual: Fact, wanted: Fact, seed = 0): void {
  if (actual !== wanted) throw new Error(`${actual} instead of ${wanted} (seed ${seed})`)
}

describe('native response log', () => {
  it('keeps a directory as a map would, over thousands of ids that come and go', () => {
    const seed = Date.now() % 1_000_000
    let state = seed
    const random = (below: number): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0
      return (state >>> 8) % below
    }
    const found = new Uint32Array(2)
    const model = new Map<string, [number, number]>()
    const logs: { name: [number, number]; ids: string[] }[] = []
    for (let i = 0; i < 10_000; i++) {
      if (random(10) < 4 || logs.length === 0) logs.push({ name: open(), ids: [] })
      const at = random(logs.length)
      const log = logs[at]
      if (log === undefined) continue
      const id = `resp_${random(1500)}`
      const isFree = !model.has(id) && log.ids.length < 4
      same(nativeLog.logPublish(...log.name, Buffer.from(id)), isFree, seed)
      if (isFree) {
        model.set(id, log.name)
        log.ids.push(id)
      }
      if (random(10) < 4) {
        nativeLog.logRelease(...log.name)
        for (const gone of log.ids) model.delete(gone)
        logs.splice(at, 1)
      }
      const asked = `resp_${random(1500)}`
      const isKnown = nativeLog.logFind(1, Buffer.from(asked), found)
      same(isKnown, model.has(asked), seed)
      if (isKnown) same(found.join(), model.get(asked)?.join(), seed)
      same(nativeLog.logFind(2, Buffer.from(asked), found), false, seed)
    }
    for (const [id, name] of model) {
      expect(nativeLog.logFind(1, Buffer.from(id), found), `seed ${seed}`).toBe(true)
      expect([...found]).toEqual(name)
    }
    for (const { name } of logs) nativeLog.logRelease(...name)
    expect(readLogTotals()).toEqual({ logs: 0, idleLogs: 0, ids: 0, bytes: 0 })
  })

  it('holds a window of megabytes in bounded memory while its reader follows behind', () => {
    const lag = fc.constantFrom(100, 5000, 70_000, 300_000)
    fc.assert(
      fc.property(lag, fc.integer({ min: 150, max: 9000 }), (behind, size) => {
        const [slot, generation] = open()
        const text = Buffer.from(`data: ${'abcdefghij'.repeat(1000)}`.slice(0, size))
        const chunk = Buffer.concat([text, Buffer.from('\n\n')])
        nativeLog.logSetFloor(slot, generation, 0)
        let taken = 0
        const out = new Uint8Array(chunk.length)
        for (let end = chunk.length; end < 700_000; end += chunk.length) {
          nativeLog.logAppend(slot, generation, chunk)
          if (end - taken <= behind) continue
          nativeLog.logReadAt(slot, generation, taken, out, facts)
          same(fact(FACT_SIZE), chunk.length)
          same(fact(FACT_WHOLE_END), chunk.length)
          same(Buffer.compare(out, chunk), 0)
          taken += chunk.length
          nativeLog.logSetFloor(slot, generation, taken)
          const next = nativeLog.logPositionAfter(slot, generation, taken / chunk.length + 1)
          same(next, end > taken ? taken + chunk.length : -1)
          same(readLogTotals().bytes < 2 * behind + 220_000, true)
        }
        nativeLog.logReadAt(slot, generation, taken - 1, out, facts)
        expect(fact(FACT_STATUS) & LOG_EXPIRED).toBe(taken === 0 ? 0 : LOG_EXPIRED)
        nativeLog.logSetFloor(slot, generation, LOG_NO_FLOOR)
        nativeLog.logRelease(slot, generation)
      }),
      { numRuns: 30, interruptAfterTimeLimit: 10_000 },
    )
    expect(readLogTotals().bytes).toBe(0)
  })

  it('finds bytes and ends on both sides of 4 GiB', () => {
    const [slot, generation] = open()
    const large = Buffer.alloc(2 ** 24, 'x')
    for (let i = 0; i < 255; i++) nativeLog.logAppend(slot, generation, large)
    const start = 2 ** 32 - 300
    nativeLog.logAppend(slot, generation, large.subarray(0, 2 ** 24 - 300))
    nativeLog.logSetFloor(slot, generation, start)
    const event = Buffer.from(`data: ${'y'.repeat(92)}\n\n`)
    for (let i = 0; i < 6; i++) nativeLog.logAppend(slot, generation, event)
    const out = new Uint8Array(250)
    nativeLog.logReadAt(slot, generation, start + 150, out, facts)
    expect([fact(FACT_SIZE), fact(FACT_WHOLE_END)]).toEqual([250, 250])
    expect(nativeLog.logPositionAfter(slot, generation, 3)).toBe(2 ** 32)
    expect(nativeLog.logPositionAfter(slot, generation, 5)).toBe(2 ** 32 + 200)
    nativeLog.logSetFloor(slot, generation, 2 ** 32 + 50)
    nativeLog.logReadAt(slot, generation, 2 ** 32 + 50, out, facts)
    expect([fact(FACT_SIZE), fact(FACT_WHOLE_END)]).toEqual([250, 250])
    expect(nativeLog.logPositionAfter(slot, generation, 4)).toBe(2 ** 32 + 100)
    expect(nativeLog.logPositionAfter(slot, generation, 3)).toBe(-1)
    nativeLog.logRelease(slot, generation)
  })

  it('finds nothing by a name whose log has gone', () => {
    const name = open()
    nativeLog.logRelease(...name)
    nativeLog.logReadAt(...name, 0, new Uint8Array(1), facts)
    expect(fact(FACT_STATUS)).toBe(LOG_UNKNOWN)
    expect(nativeLog.logRetain(...name)).toBe(false)
    expect(nativeLog.logPositionAfter(...name, 0)).toBe(-1)
    expect(nativeLog.logHead(...name, new Uint8Array(1))).toBe(0)
    nativeLog.logReadAt(65_535, 1, 0, new Uint8Array(1), facts)
    expect(fact(FACT_STATUS)).toBe(LOG_UNKNOWN)
  })
})
