/**
 * The native event scanner against a plain model that sees the whole stream at once: every split
 * of a stream must give the same ends and classes. The scanner is driven through a kept log, whose
 * stored ends are compared as well.
 */
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { EVENT_COMPLETED, EVENT_DONE, EVENT_ERROR } from '../../src/native/event_scanner.ts'
import {
  appendFacts,
  FACT_CLASSES,
  FACT_EVENTS,
  FACT_EVENTS_TOTAL,
  FACT_WHOLE_END,
  FACT_WORDS,
  LOG_PRIVATE,
  nativeLog,
} from '../../src/native/response_log.ts'
import { modelEvents } from '../model/event_scanner.ts'

interface Scanned {
  readonly ends: number[]
  /** For each piece: events, offset after the last, classes. */
  readonly pieces: number[][]
  readonly atEnd: number
}

function scan(pieces: readonly Uint8Array[]): Scanned {
  const name = new Uint32Array(2)
  expect(nativeLog.logOpen(0, 1, 0, LOG_PRIVATE, 2 ** 30, 2 ** 20, name)).toBe(true)
  const [slot = 0, generation = 0] = name
  const facts = new Uint32Array(FACT_WORDS)
  const seen = pieces.map(piece => {
    nativeLog.logAppend(slot, generation, piece)
    return [FACT_EVENTS, FACT_WHOLE_END, FACT_CLASSES].map(fact => appendFacts[fact] ?? 0)
  })
  nativeLog.logEnd(slot, generation, 1, new Uint8Array(0), facts)
  const total = facts[FACT_EVENTS_TOTAL] ?? 0
  const ends = Array.from({ length: total }, (_, i) =>
    nativeLog.logPositionAfter(slot, generation, i + 1),
  )
  nativeLog.logRelease(slot, generation)
  return { ends, pieces: seen, atEnd: facts[FACT_EVENTS] ?? 0 }
}

function check(stream: string, cuts: readonly number[]): void {
  const bytes = Buffer.from(stream, 'latin1')
  const bounds = [0, ...cuts.toSorted((a, b) => a - b), bytes.length]
  const pieces = bounds.slice(1).map((to, i) => bytes.subarray(bounds[i], to))
  const scanned = scan(pieces)
  expect(scanned.ends).toEqual(modelEvents(stream, true).map(event => event.end))
  bounds.slice(1).forEach((to, i) => {
    const from = bounds[i] ?? 0
    const before = modelEvents(stream.slice(0, from), false).length
    const events = modelEvents(stream.slice(0, to), false).slice(before)
    const last = events.at(-1)?.end ?? from
    const classes = events.reduce((all, event) => all | event.classes, 0)
    expect(scanned.pieces[i]).toEqual([events.length, last - from, classes])
  })
}

const LINES = [
  'data: {"choices":[{"delta":{"content":"[DONE]"}}]}',
  'data: [DONE]',
  'data:[DONE]',
  'data: [DONE] ',
  'data:  [DONE]',
  'data: [DONE]xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx',
  'data: {"error":{"message":"x"}}',
  'data:{"error": null,"id":1}',
  'data: {"error" :1}',
  'data: {"errors":1}',
  'data: {"',
  'data: {"e',
  'data: {"id":7}',
  'data',
  'data:',
  'database: [DONE]',
  'event: error',
  'event:response.completed',
  'event: response.incomplete',
  'event: response.failed',
  'event: response.failed.and.a.very.long.tail',
  'event: message_stop',
  'event: message_start',
  'event:',
  'event',
  ': comment',
  'id: 7',
]
const text = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...LINES) },
  fc.string({ unit: fc.constantFrom('d', 'a', ':', ' ', '[', 'x'), maxLength: 40 }),
)
const newline = fc.constantFrom('\n', '\r\n', '\r')
const stream = fc
  .array(fc.tuple(fc.oneof(text, fc.constant('')), newline), { maxLength: 14 })
  .map(lines => lines.flat().join(''))

/** Classes of a stream of one event. */
function only(lines: string): number {
  return scan([Buffer.from(`${lines}\n\n`)]).pieces[0]?.[2] ?? 0
}

describe('event scanner', () => {
  it('finds the same ends and classes at every two-piece split of known streams', () => {
    const streams = LINES.flatMap(line => [`${line}\n\n`, `${line}\r\n\r\ndata: 1\r\n\r\n`])
    for (const known of [...streams, 'data: 1\r\rdata: 2\r\r', '\n\ndata: 1\n\n\n\n: x\n\n']) {
      for (let at = 0; at <= known.length; at++) check(known, [at])
    }
  })

  it('agrees with the model byte by byte', () => {
    const known = LINES.join('\n\n')
    check(
      known,
      Array.from({ length: known.length }, (_, at) => at),
    )
  })

  it('agrees with the model on random streams at random splits', () => {
    const cuts = fc.array(fc.nat(), { maxLength: 12 })
    fc.assert(
      fc.property(stream, cuts, (sample, places) =>
        check(
          sample,
          places.map(place => place % (sample.length + 1)),
        ),
      ),
      { numRuns: 3000, interruptAfterTimeLimit: 15_000 },
    )
  })

  it('classifies by the data value and never by content', () => {
    expect(only('data: [DONE]')).toBe(EVENT_DONE)
    expect(only('data: {"content":"data: [DONE]"}')).toBe(0)
    expect(only('data: {"content":"{\\"error\\""}')).toBe(0)
    expect(only('event: error\ndata: {}')).toBe(EVENT_ERROR)
    expect(only('event: error')).toBe(0)
    expect(only('data: x\ndata: [DONE]')).toBe(0)
    expect(only('event: response.completed\ndata: {"type":"x"}')).toBe(EVENT_COMPLETED)
  })

  it('scans a megabyte of lone carriage returns in linear time', () => {
    const { ends } = scan([Buffer.alloc(2 ** 20, '\r'), Buffer.from('a\r\r')])
    expect(ends).toEqual([2 ** 20 + 3])
  })
})
