/**
 * What the fleet tells the KV-event thread, and what it hears back. The transport is wired by the
 * command that starts both; this file holds the shapes and the rule of hash groups.
 *
 * A hash group is a set of ranks whose engine hashes agree: an equal hash then means equal blocks,
 * and one entry of the index serves all of them. Since vLLM 0.29 the seed of sha256 and
 * sha256_cbor is a fixed string, so ranks agree when algorithm, block size and model do. Older
 * engines, and xxhash always, draw a random seed per process: such a rank is a group of its own,
 * and a new one after each restart.
 */

export interface KvSubscription {
  readonly slot: number
  readonly nodeId: string
  readonly rank: number
  /** Index that this rank's blocks go to. */
  readonly indexId: number
  readonly blockSize: number
  /** Blocks that the rank's cache has, 0 = unknown. */
  readonly blockCount: number
  /** Base model, as it enters the chain root. */
  readonly model: string
  readonly endpoint: string
  readonly replayEndpoint: string | null
  /** The engine connects to us: `endpoint` is bound here. */
  readonly binds: boolean
  readonly hashGroup: number
}

/** Resolves to null when it is done, else to what prevented it, in words. */
export type KvFeedResult = Promise<string | null>

/** Commands to the writer of the index. Each is done when its promise resolves. */
export interface KvFeed {
  /** Follows the events of a slot from the start of what can be replayed. */
  subscribe(subscription: KvSubscription): KvFeedResult
  /** Drops the slot's blocks and keeps its place in the sequence: the caches were emptied. */
  clear(slot: number): KvFeedResult
  /** Ends the subscription and removes all blocks of the slot. */
  unsubscribe(slot: number): KvFeedResult
}

/** `none`: nothing was announced so far; `degraded`: batches are missing. */
export type KvFeedState = 'none' | 'live' | 'degraded'

export interface KvFeedReport {
  readonly slot: number
  readonly state: KvFeedState
  /** The sequence ran backwards: another process publishes now. */
  readonly restarted: boolean
}

const FIXED_SEED_ALGORITHMS = new Set(['sha256', 'sha256_cbor'])
/** First vLLM release with a fixed seed, as [major, minor]. */
const FIXED_SEED_SINCE = [0, 29] as const

/** Whether two engines of this version and algorithm hash equal blocks equally. */
export function hasFixedSeed(version: string, algorithm: string): boolean {
  const match = /^v?([0-9]+)\.([0-9]+)/.exec(version)
  if (match === null || !FIXED_SEED_ALGORITHMS.has(algorithm)) return false
  const [major, minor] = [Number(match[1]), Number(match[2])]
  return major > FIXED_SEED_SINCE[0] || minor >= FIXED_SEED_SINCE[1]
}

/** Numbers of the hash groups; 0 is never given out. */
export class HashGroups {
  readonly #shared = new Map<string, number>()
  #last = 0

  groupOf(model: string, blockSize: number, version: string, algorithm: string): number {
    if (!hasFixedSeed(version, algorithm)) return ++this.#last
    const key = JSON.stringify([model, blockSize, algorithm])
    let group = this.#shared.get(key)
    if (group === undefined) {
      group = ++this.#last
      this.#shared.set(key, group)
    }
    return group
  }
}
