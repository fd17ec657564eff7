/**
 * The feed's thread (from dist/) with publishers around it and the index it writes; chains of
 * blocks with names, so that tests speak of (chain, block) and not of hashes and tokens.
 */

import { chainKeys, chainRoot } from '../../../src/native/chain_hash.ts'
import { SLOTS_MAX } from '../../../src/native/limits.ts'
import { PrefixIndex } from '../../../src/native/prefix_index.ts'
import { KvEventFeed, type SourceReport } from '../../../src/nodes/kv_events/feed.ts'
import type { KvFeedReport, KvSubscription } from '../../../src/nodes/kv_feed.ts'
import type { ScriptedPublisher } from './scripted_publisher.ts'

export const BLOCK_SIZE = 4
const MODEL = 'm'
/** Milliseconds after which a condition is given up; each look at it is a round trip. */
const LOOK_MS_MAX = 25_000

/** Blocks of a chain; engines of different seeds have different bases. */
interface Run {
  readonly chain?: number
  readonly from?: number
  readonly count: number
  readonly base?: bigint
}

function hashOf(chain: number, block: number, base: bigint): bigint {
  return base + BigInt(chain * 1_000 + block)
}

function tokensOf(chain: number, from: number, count: number): number[] {
  const blocks = Array.from({ length: count }, (_, index) => chain * 1_000 + from + index)
  return blocks.flatMap(block => [block, 1, 2, 3])
}

const BASE = 2n ** 60n

export function stored({ chain = 0, from = 0, count, base = BASE }: Run): object {
  const blocks = Array.from({ length: count }, (_, index) => from + index)
  return {
    type: 'BlockStored',
    block_hashes: blocks.map(block => hashOf(chain, block, base)),
    parent_block_hash: from === 0 ? null : hashOf(chain, from - 1, base),
    token_ids: tokensOf(chain, from, count),
    block_size: BLOCK_SIZE,
    lora_id: null,
    medium: 'GPU',
    lora_name: null,
    extra_keys: blocks.map(() => null),
    group_idx: 0,
    kv_cache_spec_kind: 'full_attention',
  }
}

export function removed(block: number, chain = 0, base = BASE): object {
  const block_hashes = [hashOf(chain, block, base)]
  return { type: 'BlockRemoved', block_hashes, medium: 'GPU', group_idx: 0 }
}

export const CLEARED = { type: 'AllBlocksCleared' }

export class FeedBench {
  readonly index: PrefixIndex
  readonly feed: KvEventFeed
  readonly reports: KvFeedReport[] = []
  readonly crashes: Error[] = []
  readonly #root = new BigUint64Array(1)
  readonly #slots = new Uint32Array(SLOTS_MAX)
  readonly #depths = new Uint32Array(SLOTS_MAX)

  constructor() {
    this.index = PrefixIndex.create({ blockSize: BLOCK_SIZE, bytesMax: 64 * 2 ** 20 })
    chainRoot(this.#root, MODEL, BLOCK_SIZE, '', '')
    this.feed = new KvEventFeed({
      onReport: report => this.reports.push(report),
      onCrash: error => this.crashes.push(error),
    })
  }

  async follow(
    publisher: ScriptedPublisher,
    slot = 0,
    changes: Partial<KvSubscription> = {},
  ): Promise<string | null> {
    const { endpoint, replayEndpoint } = publisher
    const own = { slot, nodeId: `n${slot}`, rank: 0, indexId: this.index.id, model: MODEL }
    const sockets = { endpoint, replayEndpoint, binds: false }
    const cache = { blockSize: BLOCK_SIZE, blockCount: 0, hashGroup: 1 }
    const subscription = { ...own, ...sockets, ...cache, ...changes }
    return this.feed.subscribe(subscription)
  }

  /** Leading blocks of a chain that the slot holds. */
  depth(slot = 0, chain = 0, count = 50): number {
    const keys = new BigUint64Array(count)
    const tokens = Uint32Array.from(tokensOf(chain, 0, count))
    chainKeys(this.#root, tokens, tokens.length, BLOCK_SIZE, keys)
    const matched = this.index.match(keys, count, this.#slots, this.#depths)
    const at = this.#slots.subarray(0, matched).indexOf(slot)
    return at < 0 ? 0 : (this.#depths[at] ?? 0)
  }

  async report(slot = 0): Promise<SourceReport> {
    const reports = await this.feed.reports()
    const report = reports.find(one => one.slot === slot)
    if (report === undefined) throw new Error(`slot ${slot} is not subscribed`)
    return report
  }

  /** Looks until the slot's report fits. */
  async until(fits: (report: SourceReport) => boolean, slot = 0): Promise<SourceReport> {
    const endMs = performance.now() + LOOK_MS_MAX
    let report = await this.report(slot)
    while (!fits(report) && performance.now() < endMs) report = await this.report(slot)
    if (!fits(report)) throw new Error(`it never came to that: ${JSON.stringify(report)}`)
    return report
  }

  async untilSeq(seq: number, slot = 0): Promise<SourceReport> {
    return this.until(report => report.lastSeq === seq, slot)
  }

  async close(): Promise<void> {
    await this.feed.close()
    this.index.close()
  }
}
