/** What a socket is handed for its events, and that equally long tokens cost no new objects. */
import type { WebSocket } from 'uWebSockets.js'
import { expect, test } from 'vitest'
import { frameShape, type Progress, sendQuantum } from '../../src/front/frame_sender.ts'
import { FRAME_MSGPACK, FRAME_TEXT, type FrameForm } from '../../src/native/event_frames.ts'

interface Sent {
  readonly view: Uint8Array
  readonly text: string
}

/** The part of a socket that is used here; keeps the views it was handed and what was in them. */
function socket(sent: Sent[]): WebSocket<unknown> {
  const part = {
    send(view: Uint8Array): number {
      sent.push({ view, text: Buffer.from(view).toString() })
      return 1
    },
    cork(write: () => void): void {
      write()
    },
  }
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  return part as unknown as WebSocket<unknown>
}

function send(form: FrameForm, number: number, events: string): Sent[] {
  const sent: Sent[] = []
  const piece = Buffer.from(events)
  const progress: Progress = { at: 0, number, tellsDone: true }
  while (progress.at < piece.length) {
    sendQuantum(socket(sent), frameShape(null, form), piece, progress, false)
  }
  return sent
}

function token(n: number): string {
  return `data: {"n":${String(n).padStart(6)}}\n\n`
}

test('each event is handed over once, in order, with what it said', () => {
  const events = Array.from({ length: 200 }, (_, n) => token(n)).join('')
  const texts = Array.from({ length: 200 }, (_, n) => `{"n":${String(n).padStart(6)}}`)
  expect(send(FRAME_TEXT, 0, events).map(({ text }) => text)).toEqual(texts)
})

const FORMS: readonly { readonly form: FrameForm; readonly name: string }[] = [
  { form: FRAME_TEXT, name: 'text' },
  { form: FRAME_MSGPACK, name: 'msgpack' },
]

test.each(FORMS)('equally long tokens are handed over in the same views: $name', ({ form }) => {
  const first = send(form, 1000, token(1) + token(2))
  const second = send(form, 1002, token(3) + token(4))
  expect(first.map(({ view }) => view.length)).toEqual(second.map(({ view }) => view.length))
  expect(second[0]?.view).toBe(first[0]?.view)
  expect(second[1]?.view).toBe(first[1]?.view)
  expect(second[0]?.text).not.toBe(first[0]?.text)
})
