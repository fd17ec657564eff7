import { expect, test } from 'vitest'
import { Dealer, Subscriber } from 'zeromq'
import { KvPublisher } from '../../bench/kv_publisher.ts'
import { decodeBatch } from '../../src/nodes/kv_events/decode.ts'

const END_MARKER = Buffer.alloc(8, 0xff)

test('the gateway understands every event of a mock node, live and replayed', async () => {
  const publisher = await KvPublisher.open(500)
  const subscriber = new Subscriber()
  const dealer = new Dealer()
  try {
    subscriber.connect(publisher.events)
    subscriber.subscribe()
    const live = new Map<bigint, Buffer>()
    for await (const [, seq, payload] of subscriber) {
      if (seq === undefined || payload === undefined) throw new Error('not three frames')
      live.set(seq.readBigUInt64BE(), payload)
      const batch = decodeBatch(payload)
      expect(batch).toMatchObject({ malformed: 0, unknown: 0 })
      expect(batch?.events.map(({ kind }) => kind)).toEqual(Array(4).fill('stored'))
      if (live.size === 10) break
    }
    dealer.connect(publisher.replay)
    await dealer.send([Buffer.alloc(0), Buffer.alloc(8)])
    let replayed = 0
    for await (const [, , seq, payload] of dealer) {
      if (seq === undefined || payload === undefined) throw new Error('not four frames')
      if (seq.equals(END_MARKER)) break
      expect(seq.readBigUInt64BE()).toBe(BigInt(replayed++))
      const same = live.get(seq.readBigUInt64BE())
      if (same !== undefined) expect(payload.equals(same)).toBe(true)
    }
    expect(replayed).toBeGreaterThanOrEqual(10)
  } finally {
    subscriber.close()
    dealer.close()
    await publisher.close()
  }
})
