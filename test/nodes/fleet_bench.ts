/** A fleet with the real clock and transport, that remembers what it was told and what it told. */
import { expect } from 'vitest'
import { systemClock } from '../../src/nodes/clock.ts'
import { healthSchema } from '../../src/nodes/config.ts'
import { Fleet, type FleetOptions } from '../../src/nodes/fleet.ts'
import type { NodeView } from '../../src/nodes/fleet_view.ts'
import type { KvSubscription } from '../../src/nodes/kv_feed.ts'
import { HttpProbe } from '../../src/nodes/probe.ts'

/** Timings that let a test end soon. */
const FAST = healthSchema.parse({
  interval_ms: 20,
  unhealthy_interval_ms: 20,
  timeout_ms: 500,
  scrape_interval_ms: 20,
  models_interval_ms: 50,
  metrics_stale_ms: 300,
  breaker_pause_ms: 100,
})

export class FleetBench {
  readonly calls: string[] = []
  readonly subscriptions: KvSubscription[] = []
  readonly inFlight = new Map<number, number>()
  readonly fleet: Fleet
  readonly probe = new HttpProbe()
  /** What the feed answers to a subscription. */
  failure: string | null = null

  constructor(options: Partial<FleetOptions> = {}) {
    this.fleet = new Fleet({
      clock: systemClock,
      probe: this.probe,
      timings: FAST,
      slotsMax: 8,
      models: [],
      log: { info: () => {}, warn: () => {} },
      prefixIndexFor: (model, blockSize) => {
        this.calls.push(`index ${model} ${blockSize}`)
        return 1
      },
      inFlightOf: slot => this.inFlight.get(slot) ?? 0,
      kvFeed: {
        subscribe: subscription => {
          this.calls.push(`subscribe ${subscription.slot}`)
          this.subscriptions.push(subscription)
          return Promise.resolve(this.failure)
        },
        clear: slot => this.#told(`clear ${slot}`),
        unsubscribe: slot => this.#told(`unsubscribe ${slot}`),
      },
      onSlotRestarted: slot => void this.calls.push(`restarted ${slot}`),
      onSlotFreed: slot => void this.calls.push(`freed ${slot}`),
      onView: view => {
        const states = view.nodes.map(node => `${node.state}@${node.epoch}`)
        this.calls.push(`view ${states.join(' ')}`.trim())
      },
      ...options,
    })
    this.fleet.start()
  }

  #told(call: string): Promise<null> {
    this.calls.push(call)
    return Promise.resolve(null)
  }

  async close(): Promise<void> {
    this.fleet.stop()
    await this.probe.close()
  }

  node(id: string): NodeView | undefined {
    return this.fleet.view.nodes.find(node => node.id === id)
  }

  async until(id: string, state: string): Promise<NodeView> {
    await expect
      .poll(() => this.node(id)?.state, { interval: 5, timeout: 5000, message: state })
      .toBe(state)
    const node = this.node(id)
    if (node === undefined) throw new Error('gone')
    return node
  }
}
