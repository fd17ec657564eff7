/** What the feed's thread counts of a rank, from one life of its engine to the next. */
import { describe, expect, test } from 'vitest'
import { stored } from './feed_bench.ts'
import { closesAfterEach, followed, restarted } from './feed_stage.ts'

closesAfterEach()

describe('counters', () => {
  test('those of a slot go on over its subscriptions, until another node has it', async () => {
    const { bench, publisher: first } = await followed(3)
    const publisher = await restarted(first)
    const before = await bench.until(report => report.counters.restarts === 1)
    await bench.feed.unsubscribe(0)
    await bench.follow(publisher)
    const after = await bench.report()
    expect(after.restarted).toBe(false)
    const { batches, storedBlocks, restarts } = before.counters
    expect(after.counters).toMatchObject({ batches, storedBlocks, restarts })
    await publisher.publish(stored({ count: 2 }))
    const now = await bench.untilSeq(0)
    expect(now.counters).toMatchObject({ batches: batches + 1, storedBlocks: storedBlocks + 2 })
    await bench.feed.unsubscribe(0)
    await bench.follow(publisher, 0, { nodeId: 'other' })
    expect((await bench.report()).counters.restarts).toBe(0)
  })

  test('a restart is told once, whoever asks for reports meanwhile', async () => {
    const { bench, publisher: first } = await followed(3)
    const publisher = await restarted(first)
    for (let i = 0; i < 5; i++) await publisher.publish(stored({ chain: 20 + i, count: 2 }))
    await bench.untilSeq(4)
    await expect.poll(() => bench.reports.filter(report => report.restarted).length).toBe(1)
  })
})
