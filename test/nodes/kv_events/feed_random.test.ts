/**
 * Random engines over real sockets: batches lost, doubled, engines restarted in place, blocks
 * stored twice, removed in the middle and cleared. In the end the native index must say of every
 * chain exactly what the engine has.
 */
import { describe, expect, test } from 'vitest'
import { seededRandom } from '../../routing/fake_fleet.ts'
import { CLEARED, FeedBench, removed, stored } from './feed_bench.ts'
import { ScriptedPublisher } from './scripted_publisher.ts'

const CHAINS = 6
const BLOCKS = 12

/** Copies of each block of each chain that the engine holds. */
class Truth {
  readonly copies = Array.from({ length: CHAINS }, () => new Uint8Array(BLOCKS))

  store(chain: number, from: number, count: number): object {
    for (let block = from; block < from + count; block++) this.#change(chain, block, 1)
    return stored({ chain, from, count })
  }

  remove(chain: number, block: number): object {
    this.#change(chain, block, -1)
    return removed(block, chain)
  }

  clear(): object {
    for (const chain of this.copies) chain.fill(0)
    return CLEARED
  }

  depth(chain: number): number {
    const gap = this.copies[chain]?.indexOf(0) ?? 0
    return gap < 0 ? BLOCKS : gap
  }

  /** One event that this engine could send now. */
  random(random: () => number): object {
    if (random() < 0.02) return this.clear()
    const chain = Math.floor(random() * CHAINS)
    const held = this.copies[chain] ?? new Uint8Array(BLOCKS)
    const block = Math.floor(random() * BLOCKS)
    if ((held[block] ?? 0) > 0 && random() < 0.7) return this.remove(chain, block)
    // A store begins at the chain's start, or behind a block that is held.
    const isOpen = block > 0 && (held[block - 1] ?? 0) > 0
    const from = isOpen ? block : 0
    return this.store(chain, from, 1 + Math.floor(random() * (BLOCKS - from)))
  }

  #change(chain: number, block: number, change: number): void {
    const held = this.copies[chain]
    if (held !== undefined) held[block] = (held[block] ?? 0) + change
  }
}

describe('random engines', () => {
  test.each([1, 2, 3, 4])('the index ends with what the engine holds (seed %i)', async seed => {
    const random = seededRandom(seed)
    const bench = new FeedBench()
    let truth = new Truth()
    let publisher = await ScriptedPublisher.open()
    await bench.follow(publisher)
    let lives = 1
    for (let batch = 0; batch < 400; batch++) {
      if (random() < 0.01) {
        const { endpoint, replayEndpoint } = publisher
        await publisher.close()
        publisher = await ScriptedPublisher.open({ endpoint, replayEndpoint })
        truth = new Truth()
        lives++
      }
      if (random() < 0.1) publisher.drop = 1 + Math.floor(random() * 3)
      await publisher.publish(truth.random(random), truth.random(random))
      if (random() < 0.1) await publisher.repeat()
      if (random() < 0.2) await bench.report()
    }
    // The live socket may be new: what it misses, a later batch shows.
    publisher.drop = 0
    const chains = Array.from({ length: CHAINS }, (_, chain) => chain)
    const expected = chains.map(chain => truth.depth(chain)).join()
    await bench.until(report => report.isConnected)
    for (let turn = 0; turn < 3; turn++) await publisher.publish(removed(0, 99))
    const report = await bench.until(({ lastSeq }) => {
      const depths = chains.map(chain => bench.depth(0, chain, BLOCKS)).join()
      return lastSeq === publisher.seq - 1 && depths === expected
    })
    expect({ seed, state: report.state }).toEqual({ seed, state: 'live' })
    expect(report.counters.restarts).toBeLessThanOrEqual(lives - 1)
    bench.index.verify()
    await publisher.close()
    await bench.close()
    expect(bench.crashes).toEqual([])
  })
})
