/** Every limit of the logs is reached here: memory, slots, readers, ids, heads, faults. */
import { afterEach, describe, expect, it } from 'vitest'
import {
  FACT_END_CODE,
  FACT_STATUS,
  FACT_WORDS,
  LOG_CUT,
  LOG_CUT_MEMORY,
  LOG_FULL,
  LOG_HEAD_BYTES_MAX,
  nativeLog,
  readLogTotals,
  setLogBudget,
} from '../../src/native/response_log.ts'
import { LogOwner } from '../../src/responses/log_owner.ts'
import { LogSnapshot } from '../../src/responses/log_snapshot.ts'
import { ResponseLog } from '../../src/responses/response_log.ts'
import { HEAD, latin1, Recorder } from './recorder.ts'

const LAG_BYTES_MAX = 2 ** 20
const BUDGET_BYTES = 256 * 2 ** 20
const NO_THREAD = 0xfffffffe
const LOGS_MAX = 65_536
const REMOTE_READERS_MAX = 1024
const upstream = { pause: () => {}, resume: () => {}, abandoned: () => {}, stopped: () => {} }
const owner = new LogOwner(NO_THREAD)

function open(mode: 'kept' | 'window', bytesMax = 2 ** 20): ResponseLog {
  const lagBytesMax = LAG_BYTES_MAX
  return new ResponseLog({ kind: 'sse', mode, tenant: 1, bytesMax, lagBytesMax, upstream, owner })
}

/** A finished kept log of about `size` bytes that waits in the directory. */
function leaveIdle(id: string, size: number): void {
  const log = open('kept')
  expect(log.publish(id)).toBe(true)
  log.head(HEAD)
  log.append(latin1('x'.repeat(size)))
  log.end({ kind: 'complete' })
  log.close()
}

/** What a tenant gets who follows an id from the start. */
function follow(id: string, tenant = 1): string {
  const name = owner.find(tenant, id)
  if (name === null) return 'unknown'
  const reader = new Recorder()
  const following = owner.follow(name, tenant, reader, 0)
  if (typeof following === 'string') return following
  following.detach()
  return reader.text
}

describe('limits of response logs', () => {
  afterEach(() => {
    nativeLog.logFailAfter(-1)
    setLogBudget(BUDGET_BYTES)
    for (const id of ['a', 'b', 'c', 'd']) {
      const name = owner.find(1, id)
      if (name !== null) nativeLog.logDiscard(name.slot, name.generation)
    }
    expect(readLogTotals()).toEqual({ logs: 0, idleLogs: 0, ids: 0, bytes: 0 })
  })

  it('evicts the log that has been idle longest when the budget is used up', () => {
    for (const id of ['a', 'b', 'c']) leaveIdle(id, 30_000)
    // Coming back to a log makes it the youngest of the idle.
    expect(follow('a').length).toBe(30_000)
    setLogBudget(readLogTotals().bytes)
    leaveIdle('d', 20_000)
    expect(follow('b')).toBe('unknown')
    expect([follow('a').length, follow('c').length, follow('d').length]).toEqual([
      30_000, 30_000, 20_000,
    ])
  })

  it('never evicts a log in use, and turns a kept log into a window instead', () => {
    leaveIdle('a', 30_000)
    const name = owner.find(1, 'a') ?? { slot: 0, generation: 0 }
    expect(nativeLog.logRetain(name.slot, name.generation)).toBe(true)
    setLogBudget(readLogTotals().bytes + 10_000)
    const log = open('kept')
    log.publish('b')
    const reader = new Recorder()
    log.attach(reader)
    log.head(HEAD)
    for (let i = 0; i < 20; i++) log.append(latin1('y'.repeat(1000)))
    expect([log.mode, reader.text.length]).toEqual(['window', 20_000])
    expect(follow('b')).toBe('expired')
    log.close()
    // The tombstone remembers that the log was too large, not that it never was.
    expect(follow('b')).toBe('expired')
    expect(follow('a').length).toBe(30_000)
    nativeLog.logRelease(name.slot, name.generation)
  })

  it('cuts the readers that need memory when there is none, and only those', () => {
    setLogBudget(5000)
    const log = open('window')
    const fast = new Recorder()
    const slow = new Recorder()
    slow.isWanting = false
    log.attach(fast)
    log.attach(slow)
    log.head(HEAD)
    for (let i = 0; i < 20; i++) log.append(latin1('z'.repeat(1000)))
    expect(slow.ends).toEqual([{ kind: 'cut', reason: 'memory' }])
    expect([fast.text.length, fast.ends]).toEqual([20_000, []])
    log.close()
  })

  it('cuts no reader that is as far behind as allowed, and each at one byte more', () => {
    const facts = new Uint32Array(FACT_WORDS)
    const log = open('window')
    const fast = new Recorder()
    const slow = new Recorder()
    log.attach(fast)
    log.attach(slow)
    log.head(HEAD)
    slow.isWanting = false
    log.append(latin1('a'))
    nativeLog.logAttach(log.slot, log.generation, 1, NO_THREAD, 1, 1, facts)
    log.append(latin1('z'.repeat(LAG_BYTES_MAX)))
    nativeLog.logRead(log.slot, log.generation, 0, new Uint8Array(0), facts)
    expect([slow.ends, (facts[FACT_STATUS] ?? 0) & LOG_CUT]).toEqual([[], 0])
    log.append(latin1('b'))
    nativeLog.logRead(log.slot, log.generation, 0, new Uint8Array(0), facts)
    expect([slow.ends, facts[FACT_STATUS]]).toEqual([[{ kind: 'cut', reason: 'lag' }], LOG_CUT])
    nativeLog.logDetach(log.slot, log.generation, 0)
    log.close()
  })

  it('tells a remote reader why it was cut', () => {
    const facts = new Uint32Array(FACT_WORDS)
    const reasonAfter = (budget: number, bytes: number): (number | undefined)[] => {
      setLogBudget(budget)
      const log = open('window')
      nativeLog.logAttach(log.slot, log.generation, 1, NO_THREAD, 1, 0, facts)
      log.head(HEAD)
      for (let i = 0; i < bytes; i += 10_000) log.append(latin1('z'.repeat(10_000)))
      nativeLog.logRead(log.slot, log.generation, 0, new Uint8Array(9), facts)
      nativeLog.logDetach(log.slot, log.generation, 0)
      log.close()
      return [facts[FACT_STATUS], facts[FACT_END_CODE]]
    }
    expect(reasonAfter(50_000, 100_000)).toEqual([LOG_CUT, LOG_CUT_MEMORY])
    expect(reasonAfter(BUDGET_BYTES, LAG_BYTES_MAX + 10_000)).toEqual([LOG_CUT, 1])
  })

  it('survives an allocation that fails at any point', () => {
    for (let fault = 0; fault < 12; fault++) {
      nativeLog.logFailAfter(fault)
      const log = open('kept')
      const fast = new Recorder()
      const slow = new Recorder()
      slow.isWanting = false
      log.attach(fast)
      log.attach(slow)
      log.head(HEAD)
      for (let i = 0; i < 40; i++) log.append(latin1(`data: ${'x'.repeat(3000)}\n\n`))
      log.ready(slow)
      log.end({ kind: 'complete' })
      log.ready(slow)
      log.close()
      expect(fast.text.length).toBe(40 * 3008)
      expect(fast.text.startsWith(slow.text)).toBe(true)
      expect(slow.ends.length).toBe(1)
    }
  })

  it('refuses a log when all slots are in use, and frees an idle one for it', () => {
    leaveIdle('a', 10)
    const name = new Uint32Array(2)
    const names: number[][] = []
    while (nativeLog.logOpen(0, 0, 1, 0xffffffff, 1, 1, name)) names.push([...name])
    expect(names.length).toBe(LOGS_MAX)
    expect(follow('a')).toBe('unknown')
    expect(() => open('window')).toThrow(/no response log left/)
    for (const [slot = 0, generation = 0] of names) nativeLog.logRelease(slot, generation)
  })

  it('refuses one remote reader more than a log may have', () => {
    const log = open('window')
    const facts = new Uint32Array(FACT_WORDS)
    const attach = (): number => {
      nativeLog.logAttach(log.slot, log.generation, 1, NO_THREAD, 1, 0, facts)
      return facts[FACT_STATUS] ?? 0
    }
    for (let i = 0; i < REMOTE_READERS_MAX; i++) expect(attach()).toBe(0)
    expect(attach()).toBe(LOG_FULL)
    for (let i = 0; i < REMOTE_READERS_MAX; i++) {
      nativeLog.logDetach(log.slot, log.generation, i)
    }
    log.close()
  })

  it('refuses a fifth id of a log, an id in use, and an id of the wrong length', () => {
    const log = open('kept')
    const other = open('kept')
    for (const id of ['a', 'b', 'c', 'd']) expect(log.publish(id)).toBe(true)
    expect(log.publish('e')).toBe(false)
    expect(other.publish('a')).toBe(false)
    expect(() => other.publish('')).toThrow(/1 to 64 bytes/)
    expect(() => other.publish('x'.repeat(65))).toThrow(/1 to 64 bytes/)
    log.close()
    other.close()
    // It ended badly, and a client who comes back is told so.
    expect(follow('a')).toBe('')
  })

  it('stores of a head that is too large what fits', () => {
    const log = open('kept')
    log.head({ status: 200, headers: { x: 'y'.repeat(LOG_HEAD_BYTES_MAX), short: ['z', 'ü'] } })
    const stored = LogSnapshot.take(log)
    expect(stored?.head()).toEqual({ status: 200, headers: { short: ['z', 'ü'] } })
    stored?.release()
    log.close()
  })

  it('hides a log of another tenant as if it never was', () => {
    leaveIdle('a', 10)
    expect(owner.find(2, 'a')).toBe(null)
    const name = owner.find(1, 'a') ?? { slot: 0, generation: 0 }
    expect(owner.follow(name, 2, new Recorder(), 0)).toBe('unknown')
    expect(follow('a', 1).length).toBe(10)
  })

  it('forgets a log that is discarded, but serves those who read it to the end', () => {
    leaveIdle('a', 10)
    const name = owner.find(1, 'a') ?? { slot: 0, generation: 0 }
    const reader = new Recorder()
    reader.isWanting = false
    const log = open('kept')
    log.publish('b')
    log.head(HEAD)
    log.attach(reader)
    log.append(latin1('data: 1\n\n'))
    log.append(latin1('data: 2\n\n'))
    nativeLog.logDiscard(name.slot, name.generation)
    nativeLog.logDiscard(log.slot, log.generation)
    expect([follow('a'), follow('b')]).toEqual(['unknown', 'unknown'])
    log.end({ kind: 'complete' })
    log.close()
    log.ready(reader)
    expect([reader.text, reader.ends.length]).toEqual(['data: 1\n\ndata: 2\n\n', 1])
  })
})
