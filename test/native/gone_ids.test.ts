/**
 * Ids of dropped logs are told from ids that never were, and from those that were deleted: the
 * native table against a set.
 */
import { describe, expect, it } from 'vitest'
import { expireLogs, FACT_WORDS, LOG_PRIVATE, nativeLog } from '../../src/native/response_log.ts'
import { randomOf } from '../model-cache/seeded.ts'

/** `GONE_IDS_MAX` of gone_ids.h. */
const GONE_IDS_MAX = 65_536
const HOUR_MS = 3_600_000
const KEPT = 1

const TENANT = 7
const facts = new Uint32Array(FACT_WORDS)

/** A finished log that waits for clients to come back. */
function keep(id: string): [slot: number, generation: number] {
  const name = new Uint32Array(2)
  if (!nativeLog.logOpen(0, KEPT, TENANT, LOG_PRIVATE, 2 ** 20, 2 ** 20, name))
    throw new Error('no room')
  const [slot = 0, generation = 0] = name
  if (!nativeLog.logPublish(slot, generation, Buffer.from(id))) throw new Error(`${id} is taken`)
  nativeLog.logSetRetention(slot, generation, 1000)
  nativeLog.logEnd(slot, generation, 1, new Uint8Array(0), facts)
  nativeLog.logRelease(slot, generation)
  return [slot, generation]
}

const isGone = (id: string, tenant = TENANT): boolean =>
  nativeLog.logIsGone(tenant, Buffer.from(id))

/** How many of `count` ids in a row are known to be gone. */
function known(from: number, count: number): number {
  const ids = Array.from({ length: count }, (_, i) => `resp_bulk_${from + i}`)
  return ids.filter(id => isGone(id)).length
}

describe('ids of dropped logs', () => {
  it('agree with a set over ids that are kept, dropped, deleted and asked for anew', () => {
    const seed = Date.now() % 1_000_000
    const next = randomOf(seed)
    const random = (below: number): number => Math.floor(next() * below)
    const held = new Map<string, [number, number]>()
    const gone = new Set<string>()
    for (let i = 0; i < 5000; i++) {
      const id = `resp_${seed}_${random(600)}`
      const name = held.get(id)
      const act = random(10)
      if (name === undefined && act < 5) {
        held.set(id, keep(id))
      } else if (name !== undefined && act < 3) {
        nativeLog.logDiscard(...name)
        held.delete(id)
      } else if (random(100) === 0) {
        expireLogs(HOUR_MS)
        for (const dropped of held.keys()) gone.add(dropped)
        held.clear()
      }
      const asked = `resp_${seed}_${random(600)}`
      if (isGone(asked) !== gone.has(asked)) throw new Error(`${asked} (seed ${seed}, ${i})`)
      if (isGone(asked, TENANT + 1)) throw new Error(`${asked} of nobody (seed ${seed}, ${i})`)
    }
    expireLogs(HOUR_MS)
    expect(gone.size).toBeGreaterThan(100)
  })

  it('are forgotten at last, the oldest first', () => {
    const count = 2 * GONE_IDS_MAX
    for (let n = 0; n < count; n++) {
      keep(`resp_bulk_${n}`)
      if (n % 1000 === 999) expireLogs(HOUR_MS)
    }
    expireLogs(HOUR_MS)
    expect(known(count - 200, 200)).toBe(200)
    // Poisson: three or fewer later ones in one's set of four, 4 % and 96 %.
    expect(known(0, 1000)).toBeLessThan(100)
    expect(known(count - 20_000, 1000)).toBeGreaterThan(900)
  })
})
