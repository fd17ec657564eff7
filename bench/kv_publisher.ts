/**
 * KV events of a node that computes nothing: the load on the gateway's event thread while the
 * relay is measured.
 *
 * One batch stands for one engine step: STORES sequences each fill one block (parent: their last
 * block), and once the cache is full as many old blocks are removed, removals first, as vLLM
 * does. Encoding E10 (maps), three frames (topic, sequence, payload); the ROUTER answers a replay
 * from a ring and ends it with the marker.
 *
 * Costs about 0.1 ms of the bench's own process per batch. Hashes are random, so no request's
 * prompt ever matches them: this is load, not a cache.
 */
import { randomBytes } from 'node:crypto'
import { Packr } from 'msgpackr'
import { Publisher, Router } from 'zeromq'

const STORES = 4
const BLOCK_TOKENS = 16
/** Blocks of a node, as bench/mock_node says; from there on each store removes one. */
const BLOCKS_MAX = 16_384
/** Batches kept for replay; vLLM's default is 10,000. */
const RING_BATCHES_MAX = 2_000
const END_MARKER = Buffer.alloc(8, 0xff)
const EMPTY = Buffer.alloc(0)

interface Batch {
  readonly seq: bigint
  readonly payload: Buffer
}

function sequenceBytes(seq: bigint): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(seq)
  return bytes
}

export class KvPublisher {
  readonly events: string
  readonly replay: string
  readonly #live: Publisher
  readonly #router: Router
  readonly #packr = new Packr({ useRecords: false })
  readonly #ring: Batch[] = []
  readonly #held: bigint[] = []
  readonly #parents: (bigint | null)[] = Array.from({ length: STORES }, () => null)
  readonly #timer: NodeJS.Timeout
  readonly #serving: Promise<void>
  #seq = 0n
  #sending: Promise<void> = Promise.resolve()

  private constructor(live: Publisher, router: Router, batchesPerSecond: number) {
    this.#live = live
    this.#router = router
    this.events = live.lastEndpoint ?? ''
    this.replay = router.lastEndpoint ?? ''
    this.#timer = setInterval(() => this.#publish(), 1000 / batchesPerSecond)
    this.#serving = this.#serveReplays()
  }

  static async open(batchesPerSecond: number): Promise<KvPublisher> {
    const live = new Publisher({ sendHighWaterMark: 100_000, linger: 0 })
    const router = new Router({ sendHighWaterMark: 0, linger: 0 })
    await live.bind('tcp://127.0.0.1:*')
    await router.bind('tcp://127.0.0.1:*')
    return new KvPublisher(live, router, batchesPerSecond)
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    await this.#sending
    this.#live.close()
    this.#router.close()
    await this.#serving
  }

  #publish(): void {
    const batch = { seq: this.#seq++, payload: this.#packr.pack(this.#step()) }
    this.#ring.push(batch)
    if (this.#ring.length > RING_BATCHES_MAX) this.#ring.shift()
    // Sends are chained: a zeromq socket takes one at a time.
    this.#sending = this.#sending.then(() =>
      this.#live.send([EMPTY, sequenceBytes(batch.seq), batch.payload]),
    )
  }

  /** `[time, events, rank]` of one engine step. */
  #step(): unknown {
    const events: unknown[] = []
    while (this.#held.length > BLOCKS_MAX - STORES) {
      const hashes = this.#held.splice(0, 1)
      events.push({ type: 'BlockRemoved', block_hashes: hashes, medium: 'GPU', group_idx: 0 })
    }
    for (let i = 0; i < STORES; i++) {
      const hash = randomBytes(8).readBigUInt64LE()
      events.push(storeEvent(hash, this.#parents[i] ?? null))
      this.#parents[i] = hash
      this.#held.push(hash)
    }
    return [Date.now() / 1000, events, 0]
  }

  async #serveReplays(): Promise<void> {
    for await (const [peer, delimiter, start] of this.#router) {
      if (peer === undefined || delimiter === undefined || start?.length !== 8) continue
      const from = start.readBigUInt64BE()
      for (const { seq, payload } of this.#ring) {
        if (seq < from) continue
        await this.#router.send([peer, EMPTY, EMPTY, sequenceBytes(seq), payload])
      }
      await this.#router.send([peer, EMPTY, EMPTY, END_MARKER, EMPTY])
    }
  }
}

function storeEvent(hash: bigint, parent: bigint | null): unknown {
  const random = randomBytes(BLOCK_TOKENS * 2)
  const tokens = Array.from({ length: BLOCK_TOKENS }, (_, i) => random.readUInt16LE(i * 2))
  return {
    type: 'BlockStored',
    block_hashes: [hash],
    parent_block_hash: parent,
    token_ids: tokens,
    block_size: BLOCK_TOKENS,
    lora_id: null,
    medium: 'GPU',
    lora_name: null,
    extra_keys: [null],
    group_idx: 0,
    kv_cache_spec_kind: 'full_attention',
  }
}
