/**
 * The ranks of one node: a slot for each, and a KV-event subscription where the engine publishes.
 *
 *      facts ──► plan: (rank, index, sockets, hash group) ──► slots held, subscriptions held
 *
 * A plan that equals the one in force changes nothing, so it may be applied after every discovery.
 * Invariants: one slot per rank while the rank exists; at most one subscription per slot; before a
 * slot is subscribed anew after a restart its blocks were dropped.
 */
import type { NodeFacts } from './discovery.ts'
import type { RankView } from './fleet_view.ts'
import type { KvCommands } from './kv_commands.ts'
import type { HashGroups, KvFeedState, KvSubscription } from './kv_feed.ts'
import type { ModelNames } from './model_names.ts'

export interface FleetLog {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
}

export interface RankSurroundings {
  readonly log: FleetLog
  allocateSlot(): number | null
  retireSlot(slot: number): void
  /** Under which name the base model of a node is indexed that serves it under these. */
  readonly modelNames: ModelNames
  /** The index of a base model and block size; 0 when there are too many. */
  prefixIndexFor(baseModel: string, blockSize: number): number
  readonly kvCommands: KvCommands
  readonly hashGroups: HashGroups
}

interface Held {
  readonly rank: number
  readonly slot: number
  /** What the subscription was made from; empty = none. */
  planKey: string
  hasReplay: boolean
  state: KvFeedState
}

type RankPlan = Omit<KvSubscription, 'slot' | 'hashGroup'>

export class NodeRanks {
  readonly #nodeId: string
  readonly #surroundings: RankSurroundings
  #held: Held[] = []
  #views: readonly RankView[] = []
  #indexId = 0
  #indexModel = ''

  constructor(nodeId: string, surroundings: RankSurroundings) {
    this.#nodeId = nodeId
    this.#surroundings = surroundings
  }

  get views(): readonly RankView[] {
    return this.#views
  }

  /** 0 while no rank is subscribed. */
  get indexId(): number {
    return this.#indexId
  }

  /** Name of the base model in index and keys; empty while no model is known. */
  get indexModel(): string {
    return this.#indexModel
  }

  get kvEvents(): 'live' | 'degraded' | 'none' {
    if (this.#held.every(held => held.state === 'none')) return 'none'
    return this.#held.every(held => held.state === 'live') ? 'live' : 'degraded'
  }

  has(slot: number): boolean {
    return this.#held.some(held => held.slot === slot)
  }

  isSubscribed(slot: number): boolean {
    return this.#held.some(held => held.slot === slot && held.planKey !== '')
  }

  /** Brings slots and subscriptions in line with the facts; false when slots ran out. */
  apply(facts: NodeFacts): boolean {
    const known = facts.metrics?.ranks.map(rank => rank.rank) ?? []
    // Without metrics the ranks of an earlier discovery stay; a node has at least rank 0.
    const kept = this.#held.length > 0 ? this.#held.map(held => held.rank) : [0]
    const ranks = known.length > 0 ? known : kept
    const isComplete = this.#hold(ranks)
    this.#subscribe(facts)
    return isComplete
  }

  /**
   * Another process has the slots now: hides their blocks and ends the subscriptions. One that saw
   * the restart itself (`witness`) holds nothing of the old process; without a replay it goes on,
   * for what the new one publishes until a next one could never be asked for.
   */
  dropBlocks(witness: number | null = null): void {
    for (const held of this.#held) {
      if (held.slot === witness && !held.hasReplay) continue
      this.#surroundings.kvCommands.hide(held.slot)
      this.#unsubscribe(held)
    }
    this.#indexId = 0
  }

  /** The caches are empty: hides the blocks and keeps the subscriptions. */
  clearBlocks(): void {
    const { kvCommands } = this.#surroundings
    for (const { slot, planKey } of this.#held) {
      kvCommands.hide(slot)
      if (planKey !== '') void kvCommands.clear(slot)
    }
  }

  /** What the KV feed says of a slot. */
  reported(slot: number, state: KvFeedState): void {
    const held = this.#held.find(one => one.slot === slot)
    if (held !== undefined) held.state = state
  }

  /** The node left the fleet. */
  release(): void {
    this.#hold([])
  }

  #hold(ranks: readonly number[]): boolean {
    const stay: Held[] = []
    for (const held of this.#held) {
      if (ranks.includes(held.rank)) {
        stay.push(held)
      } else {
        this.#surroundings.kvCommands.hide(held.slot)
        this.#unsubscribe(held)
        this.#surroundings.retireSlot(held.slot)
      }
    }
    let isComplete = true
    for (const rank of ranks) {
      if (stay.some(held => held.rank === rank)) continue
      const slot = this.#surroundings.allocateSlot()
      if (slot === null) isComplete = false
      else stay.push({ rank, slot, planKey: '', hasReplay: false, state: 'none' })
    }
    this.#held = stay.sort((a, b) => a.rank - b.rank)
    const views = stay.map(({ rank, slot }) => ({ rank, slot }))
    if (JSON.stringify(views) !== JSON.stringify(this.#views)) this.#views = views
    return isComplete
  }

  #subscribe(facts: NodeFacts): void {
    const served = facts.models.filter(({ parent }) => parent === null).map(({ id }) => id)
    const model = this.#surroundings.modelNames.nameFor(served)
    this.#indexModel = model ?? ''
    this.#indexId = 0
    for (const held of this.#held) {
      const source = facts.sources?.find(one => one.rank === held.rank)
      const metrics = facts.metrics?.ranks.find(one => one.rank === held.rank)
      if (source === undefined || metrics === undefined || model === null) {
        this.#unsubscribe(held)
        continue
      }
      const { blockSize, blockCount, hashAlgorithm, isPrefixCaching } = metrics
      if (blockSize === 0 || !isPrefixCaching) {
        this.#unsubscribe(held)
        continue
      }
      this.#indexId = this.#surroundings.prefixIndexFor(model, blockSize)
      if (this.#indexId === 0) {
        this.#unsubscribe(held)
        continue
      }
      const { rank, endpoint, replayEndpoint, binds } = source
      const cache = { indexId: this.#indexId, blockSize, blockCount, model }
      const sockets = { endpoint, replayEndpoint, binds }
      const plan = { nodeId: this.#nodeId, rank, ...cache, ...sockets }
      this.#resubscribe(held, plan, facts.version, hashAlgorithm)
    }
  }

  #resubscribe(held: Held, plan: RankPlan, version: string, algorithm: string): void {
    const planKey = JSON.stringify([plan, version, algorithm])
    if (planKey === held.planKey) return
    this.#unsubscribe(held)
    const { hashGroups, kvCommands, log } = this.#surroundings
    const { nodeId, rank, model, blockSize } = plan
    const hashGroup = hashGroups.groupOf(model, blockSize, version, algorithm)
    held.planKey = planKey
    held.hasReplay = plan.replayEndpoint !== null
    void kvCommands.subscribe({ ...plan, slot: held.slot, hashGroup }).then(failure => {
      // The rank stays routable by predictions; the next restart or discovery tries again.
      if (failure !== null) log.warn({ node: nodeId, rank, failure }, 'no KV events')
    })
  }

  #unsubscribe(held: Held): void {
    if (held.planKey === '') return
    held.planKey = ''
    held.state = 'none'
    void this.#surroundings.kvCommands.unsubscribe(held.slot)
  }
}
