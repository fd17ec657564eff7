/**
 * Event frames against a plain model: random streams with every kind of line end, any room for the
 * payloads, with and without a lane's name, as text and as msgpack.
 */
import * as fc from 'fast-check'
import { Unpackr } from 'msgpackr'
import { expect, test } from 'vitest'
import type { FrameForm } from '../../src/native/event_frames.ts'
import {
  eventFrames,
  eventFramesInto,
  FRAME_AT,
  FRAME_BROKEN,
  FRAME_DONE,
  FRAME_FACT_WORDS,
  FRAME_MSGPACK,
  FRAME_NEEDED,
  FRAME_NUMBER,
  FRAME_OBJECT,
  FRAME_OTHER,
  FRAME_OUT_BYTES,
  FRAME_TEXT,
  frameFacts as facts,
  frameOut,
  useFrames,
} from '../../src/native/event_frames.ts'
import { modelFrames } from '../model/event_frames.ts'

const unpackr = new Unpackr({ useRecords: false })
const NAME = Buffer.from('{"stream_id":"a",')
const PACKED = Uint8Array.of(0x93, 0xa1, 0x61)

interface Frame {
  readonly kind: number
  readonly bytes: Buffer
}

/** All frames of a text, with room for `room` bytes at a time. */
function framesOf(
  bytes: Uint8Array,
  prefix: Uint8Array,
  form: FrameForm,
  first: number,
  room: number,
): { frames: Frame[]; next: number } {
  const frames: Frame[] = []
  let out = new Uint8Array(room)
  useFrames(form, prefix)
  facts[FRAME_AT] = 0
  facts[FRAME_NUMBER] = first
  for (;;) {
    const count = room === FRAME_OUT_BYTES ? eventFrames(bytes) : eventFramesInto(bytes, out)
    const from = room === FRAME_OUT_BYTES ? frameOut : out
    for (let i = 0; i < count; i++) {
      const [start = 0, stop = 0, kind = 0] = facts.subarray(FRAME_FACT_WORDS + i * 3)
      frames.push({ kind, bytes: Buffer.from(from.slice(start, stop)) })
    }
    if (facts[FRAME_AT] === bytes.length) return { frames, next: facts[FRAME_NUMBER] ?? 0 }
    if (count === 0) out = new Uint8Array(facts[FRAME_NEEDED] ?? 0)
  }
}

function framed(text: string, prefix: Uint8Array = new Uint8Array(0)): Frame[] {
  return framesOf(Buffer.from(text), prefix, FRAME_TEXT, 0, FRAME_OUT_BYTES).frames
}

test('the data of an event is the message, whatever else the event says', () => {
  const events = ': ping\n\nevent: x\nid: 4\ndata: {"a":1}\n\ndata:{"b":2}\r\n\r\nretry: 5\n\n'
  expect(framed(events).map(({ bytes }) => String(bytes))).toEqual(['{"a":1}', '{"b":2}'])
  const { next } = framesOf(Buffer.from(events), new Uint8Array(0), FRAME_TEXT, 7, FRAME_OUT_BYTES)
  expect(next).toBe(11)
})

test('more events than a call has spans for take several calls', () => {
  const events = Array.from({ length: 600 }, (_, i) => `data: {"n":${i}}\n\n`).join('')
  for (const room of [FRAME_OUT_BYTES, 2 ** 20]) {
    const { frames, next } = framesOf(Buffer.from(events), NAME, FRAME_TEXT, 0, room)
    expect(next).toBe(600)
    const named = Array.from({ length: 600 }, (_, i) => `{"stream_id":"a","n":${i}}`)
    expect(frames.map(({ bytes }) => String(bytes))).toEqual(named)
  }
})

test("a lane's name is spliced into the object, and into nothing else", () => {
  const texts = framed(
    'data: {"a":1}\n\ndata:  { "b":2}\n\ndata: {}\n\ndata: { }\n\ndata: [DONE]\n\ndata: 5\n\n',
    NAME,
  ).map(({ kind, bytes }) => [kind, String(bytes)])
  expect(texts).toEqual([
    [FRAME_OBJECT, '{"stream_id":"a","a":1}'],
    [FRAME_OBJECT, '{"stream_id":"a","b":2}'],
    [FRAME_OBJECT, '{"stream_id":"a"}'],
    [FRAME_OBJECT, '{"stream_id":"a"}'],
    [FRAME_DONE, '[DONE]'],
    [FRAME_OTHER, '5'],
  ])
})

test('bytes that are not UTF-8 are told apart, and never become a text message', () => {
  const bad = ['c0af', 'eda080', 'f4908080', 'ff', '80', 'e282', 'f09f98']
  for (const hex of bad) {
    const bytes = Buffer.concat([
      Buffer.from('data: {"a":"'),
      Buffer.from(hex, 'hex'),
      Buffer.from('"}\n\n'),
    ])
    const { frames } = framesOf(bytes, NAME, FRAME_TEXT, 0, FRAME_OUT_BYTES)
    expect([hex, frames[0]?.kind]).toEqual([hex, FRAME_BROKEN])
  }
  const good = 'data: {"a":"é€😀￿"}\n\n'
  expect(framed(good, NAME)[0]?.kind).toBe(FRAME_OBJECT)
})

test('random streams give the frames of the model, for every room', () => {
  const value = fc.oneof(
    fc.constant('[DONE]'),
    fc.constant('{}'),
    fc.json().filter(text => text.startsWith('{')),
    fc.stringMatching(/^[a-zé😀 ]{0,20}$/u),
  )
  const line = fc.oneof(
    { weight: 6, arbitrary: value.map(text => `data: ${text}`) },
    value.map(text => `data:${text}`),
    fc.constantFrom('data', 'event: response.created', 'id: 3', ':', 'dat', 'datax: 1'),
  )
  const newline = fc.constantFrom('\n', '\r\n', '\n', '\n')
  const event = fc.tuple(fc.array(line, { minLength: 1, maxLength: 3 }), newline)
  const anyRoom = fc.oneof(fc.integer({ min: 1, max: 400 }), fc.constant(FRAME_OUT_BYTES))
  const stream = fc.array(event, { minLength: 1, maxLength: 8 })
  fc.assert(
    fc.property(stream, fc.nat(300), anyRoom, (events, first, room) => {
      const text = events.map(([lines, end]) => lines.join(end) + end + end).join('')
      const bytes = Buffer.from(text)
      const model = modelFrames(text, first)
      const plain = framesOf(bytes, new Uint8Array(0), FRAME_TEXT, first, room)
      expect(plain.next).toBe(model.next)
      expect(plain.frames.map(frame => String(frame.bytes))).toEqual(
        model.frames.map(({ data }) => data),
      )
      const packed = framesOf(bytes, PACKED, FRAME_MSGPACK, first, room)
      expect(packed.frames.map(frame => unpackr.unpack(frame.bytes) as unknown)).toEqual(
        model.frames.map(({ number, data }) => ['a', number, Buffer.from(data)]),
      )
      const named = framesOf(bytes, NAME, FRAME_TEXT, first, room)
      for (const [i, frame] of named.frames.entries()) {
        if (frame.kind !== FRAME_OBJECT) continue
        const rest = model.frames[i]?.data.replace(/^[ \t\n\r]*\{[ \t\n\r]*/, '') ?? ''
        const start = rest.startsWith('}') ? '{"stream_id":"a"' : '{"stream_id":"a",'
        expect(String(frame.bytes)).toBe(start + rest)
      }
    }),
    { numRuns: 2000, interruptAfterTimeLimit: 15_000 },
  )
})
