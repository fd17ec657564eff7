import { describe, expect, test } from 'vitest'
import { parseReply } from '../../../src/nodes/kv_events/sockets.ts'

describe('EV-05: replies of a replay', () => {
  const seq = Buffer.from('0000000000000007', 'hex')
  const end = Buffer.alloc(8, 0xff)
  const empty = Buffer.alloc(0)
  const payload = Buffer.from('93cb41d954fc402000009000', 'hex')
  const frame = { seq: 7, ts: 1_700_000_000.5, payload }

  test('both framings, with empty and other topics, with and without the delimiter', () => {
    for (const topic of [empty, Buffer.from('kv@10.0.0.1:8000@m')]) {
      expect(parseReply([empty, topic, seq, payload])).toEqual(frame)
    }
    expect(parseReply([empty, seq, payload])).toEqual(frame)
    expect(parseReply([Buffer.from('kv'), seq, payload])).toEqual(frame)
  })

  test('both end markers', () => {
    expect(parseReply([empty, empty, end, empty])).toBe('end')
    expect(parseReply([empty, end, empty])).toBe('end')
  })

  test('anything else is malformed', () => {
    const wrong = [[], [empty], [empty, seq], [empty, empty, empty, seq, payload]]
    for (const frames of wrong) expect(parseReply(frames)).toBe('malformed')
    expect(parseReply([empty, Buffer.from('x'), payload])).toBe('malformed')
    expect(parseReply([empty, end, payload])).toBe('malformed')
  })
})
