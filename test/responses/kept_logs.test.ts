/** Finished logs that wait for clients to come back: how long, how many, and what lies beside them. */
import { afterEach, describe, expect, it } from 'vitest'
import {
  expireLogs,
  LOG_ENDED,
  LOG_UNKNOWN,
  nativeLog,
  readLogTotals,
  setLogBudget,
  setLogShelf,
} from '../../src/native/response_log.ts'
import { LogOwner } from '../../src/responses/log_owner.ts'
import { LogSnapshot } from '../../src/responses/log_snapshot.ts'
import { ResponseLog } from '../../src/responses/response_log.ts'
import { HEAD, latin1, Recorder } from './recorder.ts'

const NO_THREAD = 0xfffffffe
const ANY = 65_536
const BUDGET_BYTES = 256 * 2 ** 20
const HOUR_MS = 3_600_000
const owner = new LogOwner(NO_THREAD)
const said: string[] = []

function open(tenant: number, id: string, retentionMs = HOUR_MS): ResponseLog {
  const upstream = {
    pause: () => {},
    resume: () => {},
    abandoned: () => said.push(`${id} abandoned`),
    stopped: () => said.push(`${id} stopped`),
  }
  const limits = { bytesMax: 2 ** 20, lagBytesMax: 2 ** 20 }
  const log = new ResponseLog({ kind: 'sse', mode: 'kept', tenant, ...limits, upstream, owner })
  nativeLog.logSetRetention(log.slot, log.generation, retentionMs)
  expect(log.publish(id)).toBe(true)
  log.head(HEAD)
  return log
}

function finish(log: ResponseLog, bytes = 100): void {
  log.append(latin1('x'.repeat(bytes)))
  log.end({ kind: 'complete' })
  log.close()
}

const isThere = (tenant: number, id: string): boolean => owner.find(tenant, id) !== null

describe('kept logs', () => {
  afterEach(() => {
    said.length = 0
    setLogBudget(BUDGET_BYTES)
    setLogShelf({ itemsMax: ANY, tenantItemsMax: ANY, tenantBytesMax: Number.MAX_SAFE_INTEGER })
    expireLogs(24 * HOUR_MS)
    expect(readLogTotals()).toEqual({ logs: 0, idleLogs: 0, ids: 0, bytes: 0 })
  })

  it('a log goes when its own retention is over', () => {
    finish(open(1, 'short', 1000))
    finish(open(1, 'long', HOUR_MS))
    const running = open(1, 'running', 1000)
    expect(expireLogs()).toBe(0)
    expect(expireLogs(2000)).toBe(1)
    expect([isThere(1, 'short'), isThere(1, 'long'), isThere(1, 'running')]).toEqual([
      false,
      true,
      true,
    ])
    finish(running)
  })

  it('to read a log does not make it live longer', () => {
    finish(open(1, 'read', 1000))
    const name = owner.find(1, 'read') ?? { slot: 0, generation: 0 }
    const got = owner.follow(name, 1, new Recorder(), 0)
    expect(typeof got).toBe('object')
    if (typeof got === 'object') got.detach()
    expect(expireLogs(2000)).toBe(1)
  })

  it('a retention of 0 lets it go with its last reader', () => {
    const log = open(1, 'shared', 0)
    const reader = new Recorder()
    reader.isWanting = false
    log.attach(reader)
    log.append(latin1('it takes this and no more for now'))
    finish(log)
    expect(readLogTotals().logs).toBe(1)
    log.ready(reader)
    expect(readLogTotals().logs).toBe(0)
  })

  it('a tenant over its count loses its own oldest, and nobody else', () => {
    setLogShelf({ itemsMax: ANY, tenantItemsMax: 2, tenantBytesMax: 2 ** 30 })
    finish(open(2, 'theirs'))
    for (const id of ['a', 'b', 'c']) finish(open(1, id))
    const found = ['a', 'b', 'c'].map(id => isThere(1, id))
    expect([...found, isThere(2, 'theirs')]).toEqual([false, true, true, true])
  })

  it('a tenant over its bytes loses its own oldest, the notes counted', () => {
    setLogShelf({ itemsMax: ANY, tenantItemsMax: ANY, tenantBytesMax: 10_000 })
    const log = open(1, 'a')
    expect(nativeLog.logSetNote(log.slot, log.generation, latin1('n'.repeat(4000)))).toBe(true)
    finish(log, 4000)
    expect(isThere(1, 'a')).toBe(true)
    finish(open(1, 'b'), 3000)
    expect([isThere(1, 'a'), isThere(1, 'b')]).toEqual([false, true])
    finish(open(1, 'too large'), 20_000)
    expect([isThere(1, 'b'), isThere(1, 'too large')]).toEqual([false, false])
  })

  it('too many in all: the oldest goes, whose ever it is', () => {
    setLogShelf({ itemsMax: 3, tenantItemsMax: ANY, tenantBytesMax: 2 ** 30 })
    for (const tenant of [1, 2, 3, 4, 5]) finish(open(tenant, 'one'))
    expect([1, 2, 3, 4, 5].map(tenant => isThere(tenant, 'one'))).toEqual([
      false,
      false,
      true,
      true,
      true,
    ])
  })

  it('a note comes back as it was left, and a budget without room refuses it', () => {
    const log = open(1, 'noted')
    const note = Buffer.alloc(200_000, 'a note ')
    expect(nativeLog.logSetNote(log.slot, log.generation, note)).toBe(true)
    const snapshot = LogSnapshot.take(log)
    expect(snapshot?.note().equals(note)).toBe(true)
    snapshot?.release()
    finish(log)
    const poor = open(1, 'poor')
    setLogBudget(0)
    expect(nativeLog.logSetNote(poor.slot, poor.generation, note)).toBe(false)
    // It made room by letting the idle one go, and still there was none.
    expect(isThere(1, 'noted')).toBe(false)
    setLogBudget(BUDGET_BYTES)
    finish(poor)
  })

  it('the end is asked for by the tenant alone, and once it has ended by nobody', () => {
    const log = open(1, 'stop')
    const { slot, generation } = log
    expect(nativeLog.logStop(slot, generation, 2)).toBe(LOG_UNKNOWN)
    log.reconsider(false)
    expect(said).toEqual([])
    expect(nativeLog.logStop(slot, generation, 1)).toBe(0)
    log.reconsider(false)
    expect(said).toEqual(['stop stopped'])
    finish(log)
    expect(nativeLog.logStop(slot, generation, 1)).toBe(LOG_ENDED)
    expect(nativeLog.logStop(slot, generation + 1, 1)).toBe(LOG_UNKNOWN)
  })

  it('a doomed log is found by nobody, and one that is read is not doomed', () => {
    const log = open(1, 'doomed', 0)
    const other = new LogOwner(NO_THREAD)
    const got = other.follow(log, 1, new Recorder(), 0)
    expect(nativeLog.logDoomIfUnread(log.slot, log.generation)).toBe(false)
    if (typeof got === 'object') got.detach()
    expect(nativeLog.logDoomIfUnread(log.slot, log.generation)).toBe(true)
    expect(isThere(1, 'doomed')).toBe(false)
    // Who had found its name before comes too late.
    expect(other.follow(log, 1, new Recorder(), 0)).toBe('unknown')
    finish(log)
  })

  it('a snapshot holds the log until it is released', () => {
    const log = open(1, 'seen')
    log.append(latin1('data: 1\n\ndata: 2\n\nda'))
    const snapshot = LogSnapshot.take(log)
    log.end({ kind: 'complete' })
    log.close()
    nativeLog.logDiscard(log.slot, log.generation)
    expect(snapshot?.events).toBe(2)
    expect(snapshot?.event(1)?.toString()).toBe('data: 2\n\n')
    expect(snapshot?.event(2)).toBe(null)
    expect(snapshot?.bytesFrom(9).toString()).toBe('data: 2\n\nda')
    snapshot?.release()
    expect(LogSnapshot.take(log)).toBe(null)
  })
})
