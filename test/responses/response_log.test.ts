/** The owner thread's log: readers that keep up, lag, come late, leave; flow; limits. */
import { describe, expect, it } from 'vitest'
import { EVENT_DONE } from '../../src/native/event_scanner.ts'
import { readLogTotals } from '../../src/native/response_log.ts'
import { ResponseLog } from '../../src/responses/response_log.ts'
import { latin1 as bytes, HEAD, Recorder } from './recorder.ts'

function open(options: { kind?: 'sse' | 'json'; mode?: 'window' | 'kept'; lag?: number } = {}) {
  const calls: string[] = []
  const log = new ResponseLog({
    kind: options.kind ?? 'sse',
    mode: options.mode ?? 'window',
    tenant: 1,
    bytesMax: 100_000,
    lagBytesMax: options.lag ?? 1000,
    upstream: {
      pause: () => calls.push('pause'),
      resume: () => calls.push('resume'),
      abandoned: () => calls.push('abandoned'),
      stopped: () => calls.push('stopped'),
    },
  })
  return { log, calls }
}

describe('response log', () => {
  it('hands the very chunk to a reader that keeps up and stores nothing', () => {
    const held = readLogTotals().bytes
    const { log, calls } = open()
    const reader = new Recorder()
    expect(log.attach(reader)).toBe(true)
    log.head(HEAD)
    expect(log.append(bytes('data: 1\n\nda'))).toBe(0)
    expect(log.append(bytes('ta: [DONE]\n\n'))).toBe(EVENT_DONE)
    expect(readLogTotals().bytes).toBe(held)
    log.end({ kind: 'complete' })
    log.close()
    expect(reader.text).toBe('data: 1\n\ndata: [DONE]\n\n')
    expect(reader.wholeEnds).toEqual([9, 12])
    expect(reader.heads).toEqual([HEAD])
    expect(reader.ends).toEqual([{ kind: 'complete' }])
    expect([log.events, log.bytes, calls]).toEqual([2, 23, []])
  })

  it('pauses the upstream while its only reader lags and feeds it when it is ready', () => {
    const { log, calls } = open()
    const reader = new Recorder()
    log.attach(reader)
    log.head(HEAD)
    reader.isWanting = false
    log.append(bytes('data: 1\n\n'))
    expect(calls).toEqual(['pause'])
    log.append(bytes('data: 2\n\nda'))
    expect(reader.text).toBe('data: 1\n\n')
    reader.isWanting = true
    log.ready(reader)
    expect(reader.text).toBe('data: 1\n\ndata: 2\n\nda')
    expect(reader.wholeEnds).toEqual([9, 9])
    expect(calls).toEqual(['pause', 'resume'])
    log.append(bytes('ta: 3\n\n'))
    expect(reader.wholeEnds).toEqual([9, 9, 7])
    log.end({ kind: 'complete' })
    log.close()
  })

  it('cuts a laggard at the limit while the others are not slowed', () => {
    const held = readLogTotals().bytes
    const { log, calls } = open({ lag: 1000 })
    const fast = new Recorder()
    const slow = new Recorder()
    log.attach(fast)
    log.attach(slow)
    log.head(HEAD)
    slow.isWanting = false
    for (let i = 0; i < 20; i++) log.append(bytes('x'.repeat(100)))
    expect(slow.ends).toEqual([{ kind: 'cut', reason: 'lag' }])
    expect(slow.text.length).toBe(100)
    expect(fast.text.length).toBe(2000)
    expect(calls).toEqual([])
    expect(readLogTotals().bytes).toBe(held)
    log.close()
  })

  it('tells the upstream when the last reader has gone', () => {
    const { log, calls } = open()
    const one = new Recorder()
    const two = new Recorder()
    log.attach(one)
    log.attach(two)
    log.head(HEAD)
    log.detach(one)
    expect(calls).toEqual([])
    log.detach(two)
    expect(calls).toEqual(['abandoned'])
    log.close()
    expect([...one.ends, ...two.ends]).toEqual([])
  })

  it('lets a reader detach inside onBytes, of itself and of others', () => {
    const { log, calls } = open()
    const other = new Recorder()
    const leaver = new Recorder()
    leaver.onBytes = () => {
      log.detach(leaver)
      log.detach(other)
      return true
    }
    log.attach(leaver)
    log.attach(other)
    log.head(HEAD)
    log.append(bytes('data: 1\n\n'))
    expect(other.text).toBe('')
    expect(calls).toEqual(['abandoned'])
    log.close()
  })

  it('gives a late reader of a kept log everything from the start, or from an event', () => {
    const { log } = open({ mode: 'kept' })
    log.head(HEAD)
    log.append(bytes('data: 1\n\ndata: 2\n\nda'))
    const first = new Recorder()
    expect(log.attach(first)).toBe(true)
    expect(first.text).toBe('data: 1\n\ndata: 2\n\nda')
    expect(first.wholeEnds).toEqual([18])
    const second = new Recorder()
    expect(log.positionAfter(1)).toBe(9)
    expect(log.attach(second, log.positionAfter(1))).toBe(true)
    log.append(bytes('ta: 3\n\n'))
    log.end({ kind: 'failed', reason: 'reset' })
    const third = new Recorder()
    expect(log.attach(third)).toBe(true)
    expect(first.text).toBe(third.text)
    expect(second.text).toBe(third.text.slice(9))
    expect([first.ends, third.ends]).toEqual([
      [{ kind: 'failed', reason: 'reset' }],
      [{ kind: 'failed', reason: 'reset' }],
    ])
    expect(third.heads).toEqual([HEAD])
    log.close()
  })

  it('refuses a position that a window log has freed', () => {
    const { log } = open()
    log.head(HEAD)
    log.append(bytes('data: 1\n\n'))
    expect(log.attach(new Recorder(), 0)).toBe(false)
    expect(log.attach(new Recorder(), 9)).toBe(true)
    expect(log.attach(new Recorder(), 10)).toBe(false)
    log.close()
  })

  it('turns a kept log that is too large into a window and keeps what laggards need', () => {
    const { log } = open({ mode: 'kept', lag: 50_000 })
    const slow = new Recorder()
    log.attach(slow)
    log.head(HEAD)
    slow.isWanting = false
    const chunk = bytes('data: x\n\n'.repeat(1000))
    for (let i = 0; i < 11; i++) log.append(chunk)
    expect(log.mode).toBe('kept')
    log.append(chunk)
    expect(log.mode).toBe('window')
    expect(slow.ends).toEqual([{ kind: 'cut', reason: 'lag' }])
    expect(log.attach(new Recorder(), 0)).toBe(false)
    log.close()
  })

  it('keeps what a laggard needs after it was closed', () => {
    const totals = readLogTotals()
    const { log } = open()
    const slow = new Recorder()
    log.attach(slow)
    log.head(HEAD)
    slow.isWanting = false
    log.append(bytes('data: 1\n\n'))
    log.append(bytes('data: 2\n\n'))
    log.end({ kind: 'complete' })
    log.close()
    expect(slow.ends).toEqual([])
    slow.isWanting = true
    log.ready(slow)
    expect(slow.text).toBe('data: 1\n\ndata: 2\n\n')
    expect(slow.ends).toEqual([{ kind: 'complete' }])
    expect(readLogTotals()).toEqual(totals)
  })

  it('relays a json body in any pieces, every byte whole', () => {
    const { log } = open({ kind: 'json' })
    const reader = new Recorder()
    log.attach(reader)
    log.head(HEAD)
    log.append(bytes('{"a":'))
    log.append(bytes('1}'))
    log.end({ kind: 'complete' })
    log.close()
    expect([reader.text, reader.wholeEnds, log.events]).toEqual(['{"a":1}', [5, 2], 0])
  })
})
