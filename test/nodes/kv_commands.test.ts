import { describe, expect, test } from 'vitest'
import { KvCommands } from '../../src/nodes/kv_commands.ts'
import type { KvFeedResult, KvSubscription } from '../../src/nodes/kv_feed.ts'

/** A feed whose commands end when told. */
class SlowFeed {
  readonly calls: string[] = []
  readonly #open: ((result: string | null) => void)[] = []

  readonly commands = new KvCommands(
    {
      subscribe: ({ slot }) => this.#command(`subscribe ${slot}`),
      clear: slot => this.#command(`clear ${slot}`),
      unsubscribe: slot => this.#command(`unsubscribe ${slot}`),
    },
    slot => void this.calls.push(`hide ${slot}`),
  )

  /** Ends what is under way, all that follows from it too. */
  async end(result: string | null = null): Promise<string[]> {
    for (let round = 0; round < 10; round++) {
      for (const resolve of this.#open.splice(0)) resolve(result)
      await new Promise(resolve => setImmediate(resolve))
    }
    return this.calls.splice(0)
  }

  #command(call: string): KvFeedResult {
    this.calls.push(call)
    return new Promise(resolve => this.#open.push(resolve))
  }
}

function subscription(slot: number): KvSubscription {
  return {
    slot,
    nodeId: 'a:1',
    rank: 0,
    indexId: 1,
    blockSize: 16,
    blockCount: 0,
    model: 'm',
    endpoint: 'tcp://a:1',
    replayEndpoint: null,
    binds: false,
    hashGroup: 1,
  }
}

describe('KvCommands', () => {
  test('commands of one slot wait for each other, those of two do not', async () => {
    const feed = new SlowFeed()
    void feed.commands.unsubscribe(0)
    void feed.commands.subscribe(subscription(0))
    void feed.commands.subscribe(subscription(1))
    expect(feed.calls).toEqual(['unsubscribe 0', 'subscribe 1'])
    expect(feed.commands.isBusy(0)).toBe(true)
    expect(await feed.end()).toEqual(['unsubscribe 0', 'subscribe 1', 'subscribe 0'])
    expect(feed.commands.isBusy(0)).toBe(false)
  })

  test('a slot hidden without a subscription is cleared right behind its next one', async () => {
    const feed = new SlowFeed()
    feed.commands.hide(0)
    void feed.commands.subscribe(subscription(0))
    expect(feed.calls).toEqual(['hide 0', 'subscribe 0', 'clear 0'])
    await feed.end()
    feed.commands.hide(0)
    void feed.commands.unsubscribe(0)
    void feed.commands.subscribe(subscription(0))
    // Its end has cleared the slot already.
    expect(await feed.end()).toEqual(['hide 0', 'unsubscribe 0', 'subscribe 0'])
  })

  test('a subscription that failed clears nothing, so the next one does', async () => {
    const feed = new SlowFeed()
    feed.commands.hide(0)
    const failing = feed.commands.subscribe(subscription(0))
    await feed.end('no such endpoint')
    expect(await failing).toBe('no such endpoint')
    void feed.commands.unsubscribe(0)
    void feed.commands.subscribe(subscription(0))
    expect(await feed.end()).toEqual(['unsubscribe 0', 'subscribe 0', 'clear 0'])
  })
})
