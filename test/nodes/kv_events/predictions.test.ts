/** Predictions around a subscription: only another process takes them away. */
import { describe, expect, test } from 'vitest'
import { SLOTS_MAX } from '../../../src/native/limits.ts'
import { overlay } from '../../../src/native/overlay.ts'
import { stored } from './feed_bench.ts'
import { closesAfterEach, followed, newBench, newPublisher, restarted } from './feed_stage.ts'

closesAfterEach()

const NOW_MS = 1_000
const KEYS = BigUint64Array.of(71n, 72n, 73n)
const slots = new Uint32Array(SLOTS_MAX)
const depths = new Uint32Array(SLOTS_MAX)

/** A request was placed on slot 0. */
function predict(): void {
  overlay.predict(0, KEYS, KEYS.length, NOW_MS, 5_000)
}

function predictedDepth(): number {
  const matched = overlay.match(KEYS, KEYS.length, NOW_MS, slots, depths)
  const at = slots.subarray(0, matched).indexOf(0)
  return at < 0 ? 0 : (depths[at] ?? 0)
}

describe('what was predicted of a rank', () => {
  test('outlives that its events are followed, and that its blocks are cleared', async () => {
    const bench = newBench()
    const publisher = await newPublisher()
    predict()
    expect(await bench.follow(publisher)).toBeNull()
    await publisher.publish(stored({ count: 2 }))
    await bench.untilSeq(0)
    expect(predictedDepth()).toBe(KEYS.length)
    expect(await bench.feed.clear(0)).toBeNull()
    expect([bench.depth(), predictedDepth()]).toEqual([0, KEYS.length])
  })

  test('is gone when its events show another process, and when it leaves', async () => {
    const { bench, publisher } = await followed(2)
    predict()
    await restarted(publisher)
    await bench.until(report => report.counters.restarts === 1)
    expect(predictedDepth()).toBe(0)
    predict()
    await bench.feed.unsubscribe(0)
    expect(predictedDepth()).toBe(0)
  })
})
