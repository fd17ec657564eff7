/** The feed's thread over real ZeroMQ sockets: the rows of the failure list, end to end. */
import { describe, expect, test } from 'vitest'
import { CLEARED, FeedBench, removed, stored } from './feed_bench.ts'
import { closesAfterEach, followed, newBench, newPublisher, restarted } from './feed_stage.ts'

closesAfterEach()

describe('following', () => {
  test('what an engine announces is what the index holds', async () => {
    const bench = newBench()
    const publisher = await newPublisher()
    expect(await bench.follow(publisher)).toBeNull()
    await bench.until(report => report.isJoined)
    expect((await bench.report()).state).toBe('none')
    await publisher.publish(stored({ count: 5 }))
    await publisher.publish(stored({ from: 5, count: 3 }))
    await bench.untilSeq(1)
    expect(bench.depth()).toBe(8)
    await publisher.publish(removed(7), removed(3))
    await bench.untilSeq(2)
    expect(bench.depth()).toBe(3)
    expect(bench.reports.at(-1)).toMatchObject({ slot: 0, state: 'live', restarted: false })
  })

  test('EV-01: a restart in place drops all blocks, and the new engine is followed', async () => {
    const { bench, publisher: before } = await followed(5)
    const publisher = await restarted(before)
    await bench.until(report => report.counters.restarts === 1 && report.isConnected)
    expect([0, 1, 2, 3, 4].map(chain => bench.depth(0, chain))).toEqual([0, 0, 0, 0, 0])
    await publisher.publish(stored({ chain: 9, count: 2 }))
    await bench.untilSeq(0)
    expect(bench.depth(0, 9)).toBe(2)
    expect(bench.reports.some(report => report.restarted)).toBe(true)
  })

  test('EV-02: an engine that has overtaken us while we were away is a new one', async () => {
    const { bench, publisher: before } = await followed(3)
    const publisher = await restarted(before)
    for (let i = 0; i < 8; i++) await publisher.publish(stored({ chain: 20 + i, count: 2 }))
    const report = await bench.untilSeq(7)
    expect(report).toMatchObject({ state: 'live', counters: { restarts: 1 } })
    expect([bench.depth(0, 0), bench.depth(0, 20), bench.depth(0, 27)]).toEqual([0, 2, 2])
  })

  test('EV-03: a gap is replayed in order; a removed block is not resurrected', async () => {
    const bench = newBench()
    const publisher = await newPublisher()
    await bench.follow(publisher)
    await publisher.publish(stored({ count: 2 }))
    await bench.untilSeq(0)
    publisher.drop = 3
    await publisher.publish(stored({ chain: 1, count: 3 }))
    await publisher.publish(stored({ from: 2, count: 1 }))
    await publisher.publish(removed(0, 1))
    await publisher.publish(stored({ from: 3, count: 1 }))
    const report = await bench.untilSeq(4)
    expect(report).toMatchObject({ state: 'live', counters: { gaps: 1, restarts: 0 } })
    expect([bench.depth(0, 0), bench.depth(0, 1)]).toEqual([4, 0])
    expect(publisher.asked.at(-1)).toBe(0)
  })

  test('EV-30: a rank that holds more than it has lost removals, and starts anew', async () => {
    const bench = newBench()
    const publisher = await newPublisher()
    await bench.follow(publisher, 0, { blockCount: 6 })
    // What is published before would be replayed, over a gap.
    await bench.until(report => report.isConnected && report.isJoined)
    await publisher.publish(stored({ chain: 0, count: 4 }))
    await publisher.publish(stored({ chain: 1, count: 2 }))
    expect((await bench.untilSeq(1)).counters.overfull).toBe(0)
    expect([bench.depth(0, 0), bench.depth(0, 1)]).toEqual([4, 2])
    // Its removals were left out by a publisher at fault; no number is missing.
    await publisher.publish(stored({ chain: 2, count: 3 }))
    const report = await bench.untilSeq(2)
    expect(report).toMatchObject({ state: 'degraded', counters: { overfull: 1, gaps: 0 } })
    expect([0, 1, 2].map(chain => bench.depth(0, chain))).toEqual([0, 0, 0])
    await publisher.publish(stored({ chain: 3, count: 5 }))
    expect((await bench.untilSeq(3)).counters.overfull).toBe(1)
    expect(bench.depth(0, 3)).toBe(5)
  })

  test.each([
    { hasTopicInReplay: true, topic: '' },
    { hasTopicInReplay: true, topic: 'kv@10.0.0.1:8000@m' },
    { hasTopicInReplay: false, topic: '' },
    { hasTopicInReplay: false, topic: 'kv' },
  ])('EV-04, EV-05: 100 batches of replay in framing %o', async options => {
    const bench = newBench()
    const publisher = await newPublisher(options)
    for (let i = 0; i < 100; i++) await publisher.publish(stored({ chain: i, count: 1 }))
    await bench.follow(publisher)
    const report = await bench.untilSeq(99)
    expect(report.counters).toMatchObject({ batches: 100, replays: 1, malformedMessages: 0 })
    expect(bench.depth(0, 99)).toBe(1)
  })

  test('EV-05: a replay that is cut without its marker is asked again', async () => {
    const bench = newBench()
    const publisher = await newPublisher()
    for (let i = 0; i < 30; i++) await publisher.publish(stored({ chain: i, count: 1 }))
    publisher.cutAfter = 20
    await bench.follow(publisher)
    await bench.untilSeq(29)
    const report = await bench.until(({ counters }) => counters.storedBlocks === 30)
    expect(report.state).toBe('live')
    expect(publisher.asked).toEqual([0, 19])
  })

  test('EV-06, EV-07: joining late with a short ring is degraded, and usable', async () => {
    const bench = newBench()
    const publisher = await newPublisher({ ringMax: 10 })
    for (let i = 0; i < 1_000; i++) await publisher.publish(stored({ chain: i, count: 1 }))
    await bench.follow(publisher)
    await bench.untilSeq(999)
    await publisher.publish(stored({ chain: 1_000, count: 1 }))
    const report = await bench.untilSeq(1_000)
    expect(report.state).toBe('degraded')
    expect([989, 990, 1_000].map(chain => bench.depth(0, chain))).toEqual([0, 1, 1])
  })

  test('EV-15: a block announced twice survives one removal', async () => {
    const bench = newBench()
    const publisher = await newPublisher()
    await bench.follow(publisher)
    await publisher.publish(stored({ count: 1 }), stored({ count: 1 }), removed(0))
    await bench.untilSeq(0)
    expect(bench.depth()).toBe(1)
    await publisher.publish(removed(0))
    await bench.untilSeq(1)
    expect(bench.depth()).toBe(0)
  })
})

describe('clearing', () => {
  test('EV-17: a clear of the engine empties its rank, and no other', async () => {
    const bench = newBench()
    const [one, two] = [await newPublisher(), await newPublisher()]
    await bench.follow(one, 0)
    await bench.follow(two, 1)
    await one.publish(stored({ count: 3 }))
    await two.publish(stored({ count: 3 }))
    await bench.untilSeq(0, 1)
    await one.publish(CLEARED, stored({ chain: 1, count: 1 }))
    await bench.untilSeq(1, 0)
    expect([bench.depth(0), bench.depth(0, 1), bench.depth(1)]).toEqual([0, 1, 3])
  })

  test('EV-18: a reset by the gateway drops the blocks at once, without an event', async () => {
    const bench = newBench()
    const publisher = await newPublisher()
    await bench.follow(publisher)
    await publisher.publish(stored({ count: 3 }))
    await bench.untilSeq(0)
    bench.index.hideSlot(0)
    expect(bench.depth()).toBe(0)
    expect(await bench.feed.clear(0)).toBeNull()
    expect(bench.depth()).toBe(0)
    // The engine's own clear comes late, and what is stored after it is seen.
    await publisher.publish(CLEARED, stored({ count: 2 }))
    await bench.untilSeq(1)
    expect(bench.depth()).toBe(2)
  })

  test('a slot that is unsubscribed is empty, and may be followed again at once', async () => {
    const bench = newBench()
    const publisher = await newPublisher()
    await bench.follow(publisher)
    await publisher.publish(stored({ count: 3 }))
    await bench.untilSeq(0)
    expect(await bench.feed.unsubscribe(0)).toBeNull()
    expect(bench.depth()).toBe(0)
    await bench.follow(publisher)
    await bench.untilSeq(0)
    expect(bench.depth()).toBe(3)
  })
})

describe('what is missing', () => {
  test('EV-19: children of an unknown parent are attached when it comes', async () => {
    const bench = newBench()
    const publisher = await newPublisher()
    publisher.drop = 1
    await publisher.publish(stored({ count: 2 }))
    await bench.follow(publisher, 0, { replayEndpoint: null })
    await bench.until(report => report.isConnected)
    await publisher.publish(stored({ from: 2, count: 2 }))
    await bench.untilSeq(1)
    expect(bench.depth()).toBe(0)
    await publisher.publish(stored({ count: 2 }))
    await bench.untilSeq(2)
    expect(bench.depth()).toBe(4)
  })

  test('EV-20: stores whose parents never come neither crash nor fill memory', async () => {
    const bench = newBench()
    const publisher = await newPublisher()
    await bench.follow(publisher)
    for (let i = 0; i < 100; i++) {
      const events = Array.from({ length: 100 }, (_, k) =>
        stored({ chain: i * 100 + k, from: 1, count: 1 }),
      )
      await publisher.publish(...events)
    }
    await bench.untilSeq(99)
    const stats = new Float64Array(32)
    bench.index.statsInto(stats)
    expect(stats[3]).toBeLessThanOrEqual(4_096)
    expect(bench.depth(0, 1)).toBe(0)
  })

  test('EV-10: extra keys that no engine makes cost their event, not the thread', async () => {
    const bench = newBench()
    const publisher = await newPublisher()
    await bench.follow(publisher)
    const hostile = {
      ...stored({ chain: 1, count: 1 }),
      extra_keys: [[{ toString: 1, valueOf: 1 }]],
    }
    await publisher.publish(stored({ count: 2 }), hostile, stored({ from: 2, count: 1 }))
    const report = await bench.untilSeq(0)
    expect(report.counters).toMatchObject({ malformedEvents: 1, storedBlocks: 3 })
    expect([bench.depth(), bench.depth(0, 1)]).toEqual([3, 0])
  })

  test('EV-21: a node that announces nothing is never reported live', async () => {
    const bench = newBench()
    const publisher = await newPublisher()
    await bench.follow(publisher)
    await bench.until(report => report.isJoined)
    // A hybrid model of which no kind can be indexed.
    await publisher.publish({ ...stored({ count: 2 }), kv_cache_spec_kind: 'mamba' })
    const report = await bench.untilSeq(0)
    expect(report).toMatchObject({ state: 'none', counters: { skipped: { not_dense: 1 } } })
  })

  test('an endpoint that is none is the answer, not a crash', async () => {
    const bench = newBench()
    const publisher = await newPublisher()
    expect(await bench.follow(publisher, 0, { endpoint: 'nonsense' })).toContain('nonsense')
    expect(await bench.follow(publisher, 0)).toBeNull()
  })

  test('engines may connect to us', async () => {
    const bench = newBench()
    const taken = await newPublisher()
    const failure = await bench.follow(taken, 0, { binds: true })
    expect(failure).toContain(taken.endpoint)
    const bound = { endpoint: 'tcp://127.0.0.1:*', binds: true }
    expect(await bench.follow(taken, 0, bound)).toBeNull()
  })
})

describe('many', () => {
  test('EV-22: each rank has its own blocks and its own sequence', async () => {
    const bench = newBench()
    const ranks = []
    for (let rank = 0; rank < 4; rank++) ranks.push(await newPublisher())
    for (const [rank, publisher] of ranks.entries()) {
      await bench.follow(publisher, rank, { rank })
      for (let i = 0; i <= rank; i++) await publisher.publish(stored({ from: i, count: 1 }))
    }
    for (const rank of ranks.keys()) await bench.untilSeq(rank, rank)
    expect([0, 1, 2, 3].map(slot => bench.depth(slot))).toEqual([1, 2, 3, 4])
    await ranks[1]?.publish(removed(0))
    await bench.untilSeq(2, 1)
    expect([0, 1, 2, 3].map(slot => bench.depth(slot))).toEqual([1, 0, 3, 4])
  })

  test.each([1, 2])(
    'EV-23: engines of different seeds match the same prompt (group %i)',
    async g => {
      const bench = newBench()
      const [one, two] = [await newPublisher(), await newPublisher()]
      await bench.follow(one, 0, { hashGroup: 1 })
      await bench.follow(two, 1, { hashGroup: g })
      const base = 2n ** 61n
      await one.publish(stored({ count: 4 }))
      await two.publish(stored({ count: 6, base }))
      await bench.untilSeq(0, 0)
      await bench.untilSeq(0, 1)
      expect([bench.depth(0), bench.depth(1)]).toEqual([4, 6])
      await two.publish(removed(2, 0, base))
      await bench.untilSeq(1, 1)
      expect([bench.depth(0), bench.depth(1)]).toEqual([4, 2])
    },
  )
})

describe('the end', () => {
  test('the thread ends under load with every socket closed, time after time', async () => {
    const ring = { ringMax: 500 }
    const publishers = [
      await newPublisher(ring),
      await newPublisher(ring),
      await newPublisher(ring),
    ]
    const end = new AbortController()
    const load = publishers.map(async (publisher, index) => {
      while (!end.signal.aborted) await publisher.publish(stored({ chain: index, count: 20 }))
    })
    for (let round = 0; round < 6; round++) {
      const bench = new FeedBench()
      await Promise.all(publishers.map((publisher, slot) => bench.follow(publisher, slot)))
      // At once, while joining, and in the middle of the stream.
      if (round % 3 === 1) await bench.until(report => report.isConnected)
      if (round % 3 === 2) await bench.until(report => report.lastSeq > 0)
      await bench.close()
      expect(bench.crashes).toEqual([])
      expect(await bench.feed.reports()).toEqual([])
    }
    end.abort()
    await Promise.all(load)
  })

  test('a feed that never subscribed has no thread to close', async () => {
    const bench = new FeedBench()
    expect(await bench.feed.unsubscribe(0)).toContain('ended')
    await bench.close()
  })
})
