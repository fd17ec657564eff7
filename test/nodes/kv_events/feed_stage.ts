/** Benches and publishers for the tests of one file, closed after each of them. */
import { afterEach, expect } from 'vitest'
import { FeedBench, stored } from './feed_bench.ts'
import { ScriptedPublisher } from './scripted_publisher.ts'

type PublisherOptions = Parameters<typeof ScriptedPublisher.open>[0]

const cleanups: (() => Promise<void>)[] = []

/** To be called once at the top of a test file. */
export function closesAfterEach(): void {
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
  })
}

export function newBench(): FeedBench {
  const bench = new FeedBench()
  cleanups.push(async () => {
    await bench.close()
    expect(bench.crashes).toEqual([])
  })
  return bench
}

export async function newPublisher(options: PublisherOptions = {}): Promise<ScriptedPublisher> {
  const publisher = await ScriptedPublisher.open(options)
  cleanups.push(() => publisher.close())
  return publisher
}

/** A bench that has followed an engine through `batches` batches: four blocks of a chain each. */
export async function followed(
  batches: number,
): Promise<{ bench: FeedBench; publisher: ScriptedPublisher }> {
  const bench = newBench()
  const publisher = await newPublisher()
  await bench.follow(publisher)
  for (let i = 0; i < batches; i++) await publisher.publish(stored({ chain: i, count: 4 }))
  await bench.untilSeq(batches - 1)
  return { bench, publisher }
}

/** A second life of the engine at the same addresses. */
export async function restarted(publisher: ScriptedPublisher): Promise<ScriptedPublisher> {
  cleanups.splice(cleanups.length - 1, 1)
  const { endpoint, replayEndpoint } = publisher
  await publisher.close()
  return newPublisher({ endpoint, replayEndpoint })
}
