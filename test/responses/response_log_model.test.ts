/**
 * Random commands against the plain model: readers of this and of other threads come, lag, take,
 * leave; the log is appended to, turned, ended and read by position; its ids are taken away, its
 * end is asked for, it is doomed or cancelled. After each command every reader has the same bytes,
 * offsets and state in both. Remote readers are driven through the native calls, with `reconsider`
 * standing for the mail that their thread would send.
 */
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  FACT_SIZE,
  FACT_STATUS,
  FACT_WHOLE_END,
  FACT_WORDS,
  LOG_CUT,
  LOG_ENDED,
  LOG_EXPIRED,
  LOG_UNKNOWN,
  nativeLog,
  readLogTotals,
} from '../../src/native/response_log.ts'
import { LogOwner } from '../../src/responses/log_owner.ts'
import { ResponseLog } from '../../src/responses/response_log.ts'
import { LogModel, type ModelReader } from '../model/response_log.ts'
import { HEAD, latin1, Recorder } from './recorder.ts'

const TENANT = 3
const ID = 'the log'
const LAG_BYTES_MAX = 600
/** No thread has this id: mail to it is refused, as to a thread that has gone. */
const NO_THREAD = 0xfffffffe

const facts = new Uint32Array(FACT_WORDS)
const fact = (index: number): number => facts[index] ?? 0

interface Pair {
  readonly model: ModelReader
  readonly start: number
  /** Of a local reader; null for a remote one, which has an index. */
  readonly recorder: Recorder | null
  readonly index: number
  text: string
}

class Harness {
  readonly model: LogModel
  readonly log: ResponseLog
  readonly pairs: Pair[] = []
  readonly owner = new LogOwner(NO_THREAD)
  wasAbandoned = false
  wasStopped = false

  constructor(isKept: boolean, bytesMax: number) {
    this.model = new LogModel(isKept, bytesMax, LAG_BYTES_MAX)
    this.log = new ResponseLog({
      kind: 'sse',
      mode: isKept ? 'kept' : 'window',
      tenant: TENANT,
      bytesMax,
      lagBytesMax: LAG_BYTES_MAX,
      owner: this.owner,
      upstream: {
        pause: () => {},
        resume: () => {},
        abandoned: () => {
          this.wasAbandoned = true
        },
        stopped: () => {
          this.wasStopped = true
        },
      },
    })
    this.log.publish(ID)
    this.log.head(HEAD)
  }

  attach(isRemote: boolean, position: number): void {
    const start = Math.min(position, this.model.text.length + 1)
    const model = this.model.attach(isRemote, start)
    const recorder = isRemote ? null : new Recorder()
    let index = 0
    if (recorder === null) {
      const { slot, generation } = this.log
      nativeLog.logAttach(slot, generation, TENANT, NO_THREAD, 1, start, facts)
      expect((fact(FACT_STATUS) & (LOG_EXPIRED | LOG_UNKNOWN)) !== 0).toBe(model === null)
      // A remote reader reads at once; where that lets the upstream run, there is mail.
      index = fact(FACT_SIZE)
      this.log.reconsider(false)
    } else {
      expect(this.log.attach(recorder, start)).toBe(model !== null)
    }
    if (model === null) return
    const pair: Pair = { model, start, recorder, index, text: '' }
    if (recorder !== null) pair.text = this.model.take(model, Infinity)
    if (this.model.isEnded && !isRemote) model.isLive = false
    this.pairs.push(pair)
  }

  append(chunk: string): void {
    if (this.model.isEnded) return
    const before = this.pairs.map(pair => pair.model.position)
    this.log.append(latin1(chunk))
    this.model.append(chunk)
    this.pairs.forEach((pair, i) => {
      if (pair.recorder === null) return
      pair.text += this.model.text.slice(before[i], pair.model.position)
    })
    // A reader that was cut has mail, reads that it was, and goes.
    for (const pair of this.pairs.slice()) {
      if (pair.recorder === null && pair.model.isCut) this.leave(pair)
    }
  }

  /** The reader takes: a local one says ready, a remote one reads up to `size` bytes. */
  take(pair: Pair, size: number): void {
    const { model, recorder } = pair
    if (!model.isLive) return
    const from = model.position
    const taken = this.model.take(model, recorder === null ? size : Infinity)
    pair.text += taken
    if (recorder !== null) {
      this.log.ready(recorder)
      if (this.model.isEnded && model.isLive) model.isLive = false
      return
    }
    const out = new Uint8Array(size)
    nativeLog.logRead(this.log.slot, this.log.generation, pair.index, out, facts)
    expect(fact(FACT_STATUS) & LOG_CUT).toBe(0)
    expect(Buffer.from(out.subarray(0, fact(FACT_SIZE))).toString('latin1')).toBe(taken)
    expect(fact(FACT_WHOLE_END)).toBe(this.wholeEnd(from, taken.length))
    this.log.reconsider(false)
  }

  leave(pair: Pair): void {
    const { model, recorder } = pair
    if (recorder !== null) {
      this.log.detach(recorder)
      if (model.isLive) this.model.leave(model)
      return
    }
    if (!this.pairs.includes(pair)) return
    if (model.isCut) {
      nativeLog.logRead(this.log.slot, this.log.generation, pair.index, new Uint8Array(1), facts)
      expect(fact(FACT_STATUS) & LOG_CUT).not.toBe(0)
    }
    nativeLog.logDetach(this.log.slot, this.log.generation, pair.index)
    this.pairs.splice(this.pairs.indexOf(pair), 1)
    if (model.isLive) this.model.leave(model)
    this.log.reconsider(true)
  }

  end(kind: 'complete' | 'cancelled' = 'complete'): void {
    if (this.model.isEnded) return
    this.log.end({ kind })
    this.model.isEnded = true
    for (const { model, recorder } of this.pairs) {
      const hasAll = !model.isLagging || model.position === this.model.text.length
      if (recorder !== null && hasAll) model.isLive = false
    }
  }

  /** Somebody else asks for the end, or takes the ids away; or the owner dooms the log. */
  meddle(kind: 'stop' | 'stop by another' | 'discard' | 'doom'): void {
    const { slot, generation } = this.log
    if (kind === 'discard') {
      nativeLog.logDiscard(slot, generation)
      this.model.isDiscarded = true
      expect(this.owner.find(TENANT, ID)).toBe(null)
      return
    }
    if (kind === 'doom') {
      expect(nativeLog.logDoomIfUnread(slot, generation)).toBe(this.model.doom())
      return
    }
    const isOwn = kind === 'stop'
    const was = this.wasStopped
    const status = nativeLog.logStop(slot, generation, isOwn ? TENANT : TENANT + 1)
    expect(status).toBe(isOwn ? (this.model.isEnded ? LOG_ENDED : 0) : LOG_UNKNOWN)
    this.log.reconsider(false)
    expect(this.wasStopped).toBe(was || (isOwn && !this.model.isEnded))
  }

  readAt(position: number): void {
    const at = Math.min(position, this.model.text.length)
    const out = new Uint8Array(64)
    nativeLog.logReadAt(this.log.slot, this.log.generation, at, out, facts)
    const isExpired = at < this.model.base
    expect((fact(FACT_STATUS) & LOG_EXPIRED) !== 0).toBe(isExpired)
    if (isExpired) return
    const read = Buffer.from(out.subarray(0, fact(FACT_SIZE))).toString('latin1')
    expect(read).toBe(this.model.text.slice(at, at + 64))
    expect(fact(FACT_WHOLE_END)).toBe(this.wholeEnd(at, read.length))
  }

  wholeEnd(position: number, size: number): number {
    const ends = this.model.ends.filter(end => end > position && end <= position + size)
    return (ends.at(-1) ?? position) - position
  }

  check(): void {
    const { log, model } = this
    expect(log.mode).toBe(model.isKept ? 'kept' : 'window')
    expect(log.bytes).toBe(model.text.length)
    expect(log.events).toBe(model.ends.length)
    if (!model.isEnded) expect(log.isPaused).toBe(model.isPaused)
    for (const { recorder, text, model: reader } of this.pairs) {
      if (recorder === null) continue
      expect(recorder.text).toBe(text)
      const kinds = recorder.ends.map(end => end.kind)
      if (reader.isCut) expect(kinds).toEqual(['cut'])
      else if (model.isEnded && !reader.isLive) expect(kinds.length).toBeLessThanOrEqual(1)
      else expect(kinds).toEqual([])
    }
    if (model.isKept) {
      model.ends.forEach((end, i) => {
        expect(log.positionAfter(i + 1)).toBe(end)
      })
    }
  }

  finish(): void {
    this.end()
    for (const pair of this.pairs.slice()) {
      this.leave(pair)
    }
    expect(this.wasAbandoned).toBe(this.model.wasAbandoned)
    // A kept log that ended would wait under its id.
    nativeLog.logDiscard(this.log.slot, this.log.generation)
    this.log.close()
  }
}

const chunk = fc
  .array(
    fc.constantFrom('data: x\n\n', 'da', 'ta: 1\n', '\n', '\r\n', '\r', ': c\n\n', 'y'.repeat(150)),
    { maxLength: 5 },
  )
  .map(parts => parts.join(''))

const command = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('append' as const), chunk }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constantFrom('attach local', 'attach remote', 'read at' as const),
      back: fc.nat(400),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constantFrom('take', 'take', 'lag', 'want', 'leave' as const),
      reader: fc.nat(7),
      size: fc.integer({ min: 1, max: 300 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constantFrom(
        'turn',
        'cancel',
        'stop',
        'stop by another',
        'discard',
        'doom' as const,
      ),
    }),
  },
)

type Step = typeof command extends fc.Arbitrary<infer T> ? T : never

function run(harness: Harness, step: Step): void {
  const { model, pairs } = harness
  if ('chunk' in step) harness.append(step.chunk)
  else if ('back' in step) {
    const position = Math.max(0, model.text.length + 3 - step.back)
    if (step.kind === 'read at') harness.readAt(position)
    else harness.attach(step.kind === 'attach remote', position)
  } else if ('reader' in step) {
    const pair = pairs[step.reader % Math.max(1, pairs.length)]
    if (pair === undefined) return
    if (step.kind === 'take') harness.take(pair, step.size)
    else if (step.kind === 'leave') harness.leave(pair)
    else if (pair.recorder !== null) {
      pair.recorder.isWanting = step.kind === 'want'
      pair.model.isWanting = step.kind === 'want'
    }
  } else if (step.kind === 'cancel') {
    // Seldom, else no run would get far.
    if (model.text.length % 5 === 0) harness.end('cancelled')
  } else if (step.kind !== 'turn') harness.meddle(step.kind)
  else if (model.isKept) {
    harness.log.turnToWindow()
    model.isKept = false
  }
  harness.check()
}

describe('response log against its model', () => {
  it('agrees after every command', () => {
    const before = readLogTotals()
    const steps = fc.array(command, { maxLength: 80 })
    const isKept = fc.boolean()
    const bytesMax = fc.constantFrom(500, 3000, 100_000)
    fc.assert(
      fc.property(steps, isKept, bytesMax, (commands, kept, max) => {
        const harness = new Harness(kept, max)
        for (const step of commands) run(harness, step)
        harness.finish()
        expect(readLogTotals()).toEqual(before)
      }),
      { numRuns: 1500, interruptAfterTimeLimit: 20_000 },
    )
    expect(readLogTotals()).toEqual(before)
  })
})
