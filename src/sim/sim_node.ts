/**
 * One simulated vLLM node in this process: HTTP listener, an engine a rank, event sockets, faults,
 * and what tests ask about it. `startSimNode` is the face of this room.
 *
 *            ┌ HTTP server ── endpoints ── NodeCore ─┬─ engine 0 ── cache ── events ── PUB, ROUTER
 *   SimNode ─┤                                       └─ engine 1 ── …
 *            └ faults, requests seen, aborts seen
 *
 * A restart in place throws engines and event sockets away and makes new ones at the same
 * addresses; everything else of the node stays, above all what the tests have counted.
 */
import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { DEFAULT_SEED, noneHash } from './block_hash.ts'
import { ERA_VERSIONS, type SimNodeConfig, type SimNodeOptions, simNodeSchema } from './config.ts'
import { Engine, realClock } from './engine.ts'
import { EventEncoder, type WireEvent } from './event_encoding.ts'
import { type BoundRanks, bindRanks, EventPublisher, portOf } from './event_publisher.ts'
import { type Fault, faultSchema, isRequestFault, type NodeFault, RequestFaults } from './faults.ts'
import type { HttpCall } from './http_call.ts'
import { SimServer } from './http_server.ts'
import { KvCache, KvSequence } from './kv_cache.ts'
import { loadTokenizer } from './load_tokenizer.ts'
import { NodeMetrics } from './metrics.ts'
import { NodeCore, type SeenAbort } from './node_core.ts'
import { hasEventSources } from './operations_api.ts'
import { findRoute, nodeRoutes } from './routes.ts'

/** A request as it arrived, byte for byte. */
export interface SeenRequest {
  readonly method: string
  readonly path: string
  /** With the query string. */
  readonly url: string
  /** Names as sent, names and values in turns. */
  readonly rawHeaders: readonly string[]
  readonly body: Buffer
  /** `performance.now()` at the arrival of the whole body. */
  readonly at: number
}

const NO_RANKS: BoundRanks = { publishers: [], live: [], replay: [] }

export class SimNode {
  readonly id: string
  readonly url: string
  readonly config: SimNodeConfig
  /** Live event addresses by rank; empty without events. */
  kvEvents: readonly string[]
  kvReplay: readonly string[]
  private readonly core: NodeCore
  private readonly server: SimServer
  private readonly requestFaults: RequestFaults
  private readonly seen: SeenRequest[]
  private seenCount: number
  private bound: BoundRanks
  private isClosed: boolean

  constructor(parts: {
    core: NodeCore
    server: SimServer
    requestFaults: RequestFaults
    bound: BoundRanks
    seen: SeenRequest[]
    port: number
  }) {
    const { core, bound } = parts
    this.core = core
    this.config = core.config
    this.server = parts.server
    this.requestFaults = parts.requestFaults
    this.seen = parts.seen
    this.seenCount = 0
    this.bound = bound
    this.kvEvents = bound.live
    this.kvReplay = bound.replay
    this.id = `${core.config.host}:${parts.port}`
    this.url = `http://${this.id}`
    this.isClosed = false
  }

  /** All requests so far, of every path. */
  get requestsSeen(): number {
    return this.seenCount
  }

  /** The latest requests, oldest first, as many as `requestsKept`. */
  get requests(): readonly SeenRequest[] {
    return this.seen
  }

  /** Inference requests whose client left before the answer was whole. */
  get abortsSeen(): number {
    return this.core.aborts.length
  }

  get aborts(): readonly SeenAbort[] {
    return this.core.aborts
  }

  /** Sequences that run or wait. */
  get activeSequences(): number {
    return this.core.engines.reduce((sum, rank) => sum + rank.runningCount + rank.waitingCount, 0)
  }

  get openSockets(): number {
    return this.server.openSockets
  }

  /** Engine of a rank: its cache can be looked into. */
  engine(rank = 0): Engine {
    const engine = this.core.engines[rank]
    assert(engine !== undefined, 'no such rank')
    return engine
  }

  /** Batches announced by a rank since the (re)start. */
  batchesPublished(rank = 0): number {
    return this.bound.publishers[rank]?.seq ?? 0
  }

  /** Announces events of a test's own making as one batch: placeholders, other tiers, lies. */
  publish(events: readonly WireEvent[], rank = 0): void {
    const publisher = this.bound.publishers[rank]
    assert(publisher !== undefined, 'no such rank, or no events')
    publisher.publish(events)
  }

  /** Remembers a request; called by the server. */
  note(call: HttpCall): void {
    this.seenCount++
    const { requestsKept } = this.config
    if (requestsKept === 0) return
    if (this.seen.length === requestsKept) this.seen.shift()
    const { method = 'GET', url = '/', rawHeaders } = call.request
    const { path, body } = call
    this.seen.push({ method, path, url, rawHeaders, body, at: performance.now() })
  }

  /** Makes something go wrong, at once or with the next requests; see faults.ts. */
  async fault(input: Fault): Promise<void> {
    const fault = faultSchema.parse(input)
    if (isRequestFault(fault)) this.requestFaults.add(fault)
    else await this.nodeFault(fault)
  }

  private async nodeFault(fault: NodeFault): Promise<void> {
    const { publishers } = this.bound
    switch (fault.kind) {
      case 'refuse':
        await this.server.refuse()
        break
      case 'freeze':
      case 'sleep':
        if (fault.kind === 'sleep') this.core.sleepLevel = 1
        for (const engine of this.core.engines) engine.hold()
        break
      case 'wake':
        this.core.wake()
        break
      case 'restart':
        await this.restart(fault.downMs, fault.overtakeBy ?? null)
        break
      case 'kv_drop':
        for (const { faults } of publishers) faults.drop += fault.batches
        break
      case 'kv_duplicate':
        for (const { faults } of publishers) faults.duplicate += fault.batches
        break
      case 'kv_delay':
        for (const { faults } of publishers) faults.delay += fault.batches
        break
      case 'kv_flush':
        for (const publisher of publishers) publisher.flushDelayed(fault.isReversed)
        break
      case 'replay_cut':
        for (const publisher of publishers) publisher.replayCutAfter = fault.batches
        break
      case 'clear':
        await this.clearFaults()
        break
      default:
        fault satisfies never
    }
  }

  private async clearFaults(): Promise<void> {
    this.requestFaults.clear()
    for (const publisher of this.bound.publishers) {
      publisher.faults.drop = 0
      publisher.faults.duplicate = 0
      publisher.replayCutAfter = -1
      publisher.flushDelayed()
    }
    this.core.wake()
    await this.server.reopen()
  }

  /** Ends everything that runs, as `kill -9` would, and comes back with an empty cache. */
  private async restart(downMs: number, overtakeBy: number | null): Promise<void> {
    const { core } = this
    // Engines first: what they run is lost, not aborted by clients.
    for (const engine of core.engines) engine.close()
    const before = this.bound.publishers.map(({ seq }) => seq)
    for (const publisher of this.bound.publishers) publisher.close()
    await this.server.refuse()
    await delay(downMs)
    if (this.isClosed) return
    core.metrics.reset()
    core.sleepLevel = 0
    const ports = {
      live: portOf(this.kvEvents[0] ?? ':0'),
      replay: portOf(this.kvReplay[0] ?? ':0'),
    }
    this.bound = await startRanks(core, ports)
    if (overtakeBy !== null) {
      for (const [rank, seq] of before.entries()) this.overtake(rank, seq + overtakeBy)
    }
    await this.server.reopen()
  }

  /** Announces made-up prompts unheard until a rank's next batch has number `seq`. */
  private overtake(rank: number, seq: number): void {
    const publisher = this.bound.publishers[rank]
    assert(publisher !== undefined)
    publisher.muteBelow(seq)
    const { cache } = this.engine(rank)
    const scope = { adapter: null, adapterId: null, salt: null, sessionId: null }
    while (publisher.seq < seq) {
      const tokens = Uint32Array.from({ length: cache.blockSize }, () => 64 + randomInt(10_000))
      const sequence = new KvSequence(tokens, scope)
      cache.allocate(sequence, cache.blockSize)
      cache.release(sequence)
      publisher.publish(cache.takeEvents())
    }
  }

  async close(): Promise<void> {
    if (this.isClosed) return
    this.isClosed = true
    for (const engine of this.core.engines) engine.close()
    for (const publisher of this.bound.publishers) publisher.close()
    await this.server.refuse(true)
  }
}

/** Makes the engines and event sockets of a node and gives the engines to the core. */
async function startRanks(
  core: NodeCore,
  ports: { readonly live: number; readonly replay: number },
): Promise<BoundRanks> {
  const { config } = core
  const { era } = config
  const bound = config.kvEvents
    ? await bindRanks(
        rank =>
          new EventPublisher({
            rank,
            encoder: new EventEncoder(era, config.hashForm),
            topic: config.topic,
            ringBatchesMax: config.ringBatches,
            hasTopicInReplay: era !== 'E7',
          }),
        config.ranks,
        config.host,
        ports,
      )
    : NO_RANKS
  // Engines of one process share the seed of their hashes.
  const seed = config.hashSeed ?? (era === 'E7' ? 'random' : DEFAULT_SEED)
  const root = noneHash(seed === 'random' ? null : seed)
  core.engines = Array.from({ length: config.ranks }, (_, rank) => {
    const cache = new KvCache({
      blocks: config.blocks,
      blockSize: config.blockSize,
      noneHash: root,
      areExtraKeysTagged: hasEventSources(core.version),
      lookahead: era === 'E11' ? config.lookahead : 0,
      hasEvents: config.kvEvents,
    })
    return new Engine({
      cache,
      sequencesMax: config.maxNumSeqs,
      timeFactor: config.timeFactor,
      tokensPerStepMax: config.maxNumBatchedTokens,
      clock: realClock,
      observer: core.metrics.rank(rank),
      publish: events => bound.publishers[rank]?.publish(events),
    })
  })
  return bound
}

export async function startSimNode(options: SimNodeOptions = {}): Promise<SimNode> {
  const config = simNodeSchema.parse(options)
  const version = config.version ?? ERA_VERSIONS[config.era]
  const tokenizer = await loadTokenizer(config.tokenizer)
  const core = new NodeCore(config, tokenizer, new NodeMetrics(config), version)
  const bound = await startRanks(core, { live: config.kvPort, replay: config.kvReplayPort })
  const requestFaults = new RequestFaults()
  const seen: SeenRequest[] = []
  const holder: { node: SimNode | null } = { node: null }
  const node = (): SimNode => {
    assert(holder.node !== null, 'the server listens after the node is made')
    return holder.node
  }
  const routes = nodeRoutes(core, { bound, fault: fault => node().fault(fault) })
  const server = new SimServer({
    host: config.host,
    keepAliveMs: config.keepAliveMs,
    apiKey: config.apiKey ?? null,
    hasRequestIdHeader: config.requestIdHeaders,
    routes,
    find: path => findRoute(core, path),
    faults: requestFaults,
    onRequest: call => node().note(call),
  })
  const port = await server.listen(config.port)
  holder.node = new SimNode({ core, server, requestFaults, bound, seen, port })
  return holder.node
}
