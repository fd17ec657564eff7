/**
 * The fleet: which nodes there are, and what is true of each. Lives on the main thread and is the
 * only author of FleetViews; every gateway thread gets each view and reports outcomes back.
 *
 *     add / remove / drain ─┐                          ┌─► onView(view) ─► threads
 *     report(outcome) ──────┼─► NodeKeeper per node ───┤
 *     kvFeedReport ─────────┘   (checks, discovery)    └─► kvFeed, onSlotRestarted, onSlotFreed
 *
 * Everything it needs from outside is an argument, the clock and the transport too, so that one
 * seeded simulation drives it.
 *
 * Invariants: a view is published synchronously with the change that it shows, and only when
 * something differs; a node's blocks are hidden before a view says that its new process is
 * healthy; a removed node leaves the view at once, while its slots rest until no lease is held on
 * them, then `onSlotFreed` is called exactly once per slot.
 *
 * Costs: one check and one scrape a node and second. A fleet of 64 nodes costs the main thread
 * some 2 % of a core, mostly text of /metrics. More than a few hundred nodes ask for longer
 * intervals.
 */
import { OperatingError } from '../errors.ts'
import type { Clock } from './clock.ts'
import { type HealthTimings, type NodeEntry, nodeIdOf } from './config.ts'
import {
  EMPTY_FLEET,
  type FleetView,
  type ModelView,
  type NodeOutcome,
  type NodeState,
  type NodeView,
} from './fleet_view.ts'
import { KvCommands } from './kv_commands.ts'
import { HashGroups, type KvFeed, type KvFeedReport } from './kv_feed.ts'
import { ModelNames } from './model_names.ts'
import { type KeeperSurroundings, NodeKeeper } from './node_keeper.ts'
import type { FleetLog } from './node_ranks.ts'
import type { Probe } from './probe.ts'
import { SlotAllocator } from './slots.ts'

/** Pause between two looks whether resting slots may be freed (ms). */
const COLLECT_INTERVAL_MS = 500

export interface FleetOptions {
  readonly clock: Clock
  readonly probe: Probe
  readonly timings: HealthTimings
  /** Slots of the native tables, that is, the most ranks of a fleet. */
  readonly slotsMax: number
  readonly models: readonly ModelView[]
  readonly kvFeed: KvFeed
  readonly log: FleetLog
  /** Index of a base model and block size, made at the first call; 0 = too many, predictions. */
  prefixIndexFor(baseModel: string, blockSize: number): number
  /** Requests in flight on a slot, from the load table. */
  inFlightOf(slot: number): number
  /** Another process has the slot: hide its blocks, forget its predictions. Keep its load. */
  onSlotRestarted(slot: number): void
  /** Nobody has the slot: clear its load. It may be given out again afterwards. */
  onSlotFreed(slot: number): void
  onView(view: FleetView): void
}

/** Who put a node into the fleet: only nodes of the file come and go with the file. */
export type NodeOrigin = 'config' | 'admin'

/** What `GET /admin/nodes` shows of a node. */
export interface NodeReport {
  readonly id: string
  readonly url: string
  readonly origin: NodeOrigin
  readonly state: NodeState
  readonly reason: string
  readonly epoch: number
  readonly version: string
  readonly models: readonly string[]
  readonly blockSize: number
  readonly blockCount: number
  readonly kvEvents: NodeView['kvEvents']
  readonly inFlightMax: number
  readonly ranks: readonly RankReport[]
}

export interface RankReport {
  readonly rank: number
  readonly slot: number
  /** Requests of this gateway. */
  readonly inFlight: number
  /** Of the engine's metrics; null = unknown, because they are missing or stale. */
  readonly running: number | null
  readonly waiting: number | null
  readonly kvUsage: number | null
}

interface Member {
  readonly keeper: NodeKeeper
  readonly origin: NodeOrigin
}

export class Fleet {
  readonly #options: FleetOptions
  readonly #slots: SlotAllocator
  readonly #kvCommands: KvCommands
  readonly #around: KeeperSurroundings
  readonly #members = new Map<string, Member>()
  #models: readonly ModelView[]
  #view: FleetView = EMPTY_FLEET
  #epoch = 0
  #isStarted = false
  #isCollecting = false
  #cancelCollect = () => {}

  constructor(options: FleetOptions) {
    this.#options = options
    this.#models = options.models
    this.#slots = new SlotAllocator(options.slotsMax)
    const { clock, probe, timings, log, kvFeed } = options
    this.#kvCommands = new KvCommands(kvFeed, slot => options.onSlotRestarted(slot))
    this.#around = {
      clock,
      probe,
      timings,
      log,
      kvCommands: this.#kvCommands,
      hashGroups: new HashGroups(),
      modelNames: new ModelNames(() => {
        for (const { keeper } of this.#members.values()) keeper.renamed()
      }),
      allocateSlot: () => this.#slots.allocate(),
      retireSlot: slot => this.#retire(slot),
      prefixIndexFor: (model, blockSize) => options.prefixIndexFor(model, blockSize),
      inFlightOf: slot => options.inFlightOf(slot),
      nextEpoch: () => ++this.#epoch,
      onChange: () => this.#publish(),
    }
  }

  get view(): FleetView {
    return this.#view
  }

  /** Adds a node and returns its id. It gets work once it has answered. */
  add(entry: NodeEntry, origin: NodeOrigin = 'admin'): string {
    const id = nodeIdOf(entry.url)
    if (this.#members.has(id)) {
      throw new OperatingError('invalid_request', `Node ${id} is in the fleet already.`, 'url')
    }
    if (this.#members.size >= this.#options.slotsMax) {
      const message = `The fleet is full: it has ${this.#options.slotsMax} nodes.`
      throw new OperatingError('invalid_request', message, 'url')
    }
    const keeper = new NodeKeeper(entry, this.#around)
    this.#members.set(id, { keeper, origin })
    if (this.#isStarted) keeper.start()
    this.#publish()
    return id
  }

  /** Takes a node out; exchanges that run on it finish. False when there is no such node. */
  remove(id: string): boolean {
    const member = this.#members.get(id)
    if (member === undefined) return false
    this.#members.delete(id)
    member.keeper.stop()
    this.#publish()
    return true
  }

  /** Gives a node no more work; what runs there goes on. False when there is no such node. */
  drain(id: string): boolean {
    const member = this.#members.get(id)
    if (member === undefined) return false
    member.keeper.drain()
    return true
  }

  /** Takes over the nodes and models of a reloaded file; nodes of the admin API stay. */
  reload(entries: readonly NodeEntry[], models: readonly ModelView[]): void {
    const wanted = new Map(entries.map(entry => [nodeIdOf(entry.url), entry]))
    for (const [id, { keeper, origin }] of this.#members) {
      const entry = wanted.get(id)
      const isSame = JSON.stringify(entry) === JSON.stringify(keeper.entry)
      if (origin === 'config' && !isSame) this.remove(id)
    }
    for (const [id, entry] of wanted) if (!this.#members.has(id)) this.add(entry, 'config')
    this.#models = models
    this.#publish()
  }

  list(): NodeReport[] {
    return [...this.#members.values()]
      .map(({ keeper, origin }) => this.#reportOf(keeper, origin))
      .sort((a, b) => (a.id < b.id ? -1 : 1))
  }

  /** Passive health: what an exchange met. */
  report(outcome: NodeOutcome): void {
    this.#members.get(outcome.nodeId)?.keeper.exchanged(outcome)
  }

  /** What the KV-event thread says; late reports about slots that left are ignored. */
  kvFeedReport(report: KvFeedReport): void {
    for (const { keeper } of this.#members.values()) {
      if (keeper.ranks.has(report.slot)) keeper.kvReported(report)
    }
  }

  start(): void {
    this.#isStarted = true
    for (const { keeper } of this.#members.values()) keeper.start()
  }

  /** Ends all loops. Slots are not freed any more: the process is about to end. */
  stop(): void {
    this.#isStarted = false
    for (const { keeper } of this.#members.values()) keeper.stop()
    this.#members.clear()
    this.#cancelCollect()
  }

  #reportOf(keeper: NodeKeeper, origin: NodeOrigin): NodeReport {
    const view = keeper.view()
    const { metrics } = keeper
    return {
      id: view.id,
      url: view.url,
      origin,
      state: view.state,
      reason: keeper.reason,
      epoch: view.epoch,
      version: keeper.facts?.version ?? '',
      models: view.models.map(model => model.id),
      blockSize: view.blockSize,
      blockCount: view.blockCount,
      kvEvents: view.kvEvents,
      inFlightMax: view.inFlightMax,
      ranks: view.ranks.map(({ rank, slot }) => {
        const seen = metrics?.ranks.find(one => one.rank === rank)
        return {
          rank,
          slot,
          inFlight: this.#options.inFlightOf(slot),
          running: seen?.running ?? null,
          waiting: seen?.waiting ?? null,
          kvUsage: seen?.kvUsage ?? null,
        }
      }),
    }
  }

  #publish(): void {
    const nodes = [...this.#members.values()]
      .map(({ keeper }) => keeper.view())
      .sort((a, b) => (a.id < b.id ? -1 : 1))
    const isSame =
      this.#models === this.#view.models &&
      nodes.length === this.#view.nodes.length &&
      nodes.every((node, i) => isSameNode(node, this.#view.nodes[i]))
    if (isSame) return
    this.#view = { version: this.#view.version + 1, nodes, models: this.#models }
    this.#options.onView(this.#view)
  }

  #retire(slot: number): void {
    this.#slots.retire(slot, this.#options.clock.nowMs())
    if (!this.#isCollecting) this.#collectLater()
  }

  #free(slot: number): void {
    this.#options.onSlotFreed(slot)
    // Nothing of the slot is left to hide, but whoever gets it must not stay hidden.
    this.#kvCommands.hide(slot)
  }

  #collectLater(): void {
    this.#isCollecting = true
    const options = this.#options
    this.#cancelCollect = options.clock.after(COLLECT_INTERVAL_MS, () => {
      this.#isCollecting = false
      const isIdle = (slot: number) =>
        options.inFlightOf(slot) === 0 && !this.#kvCommands.isBusy(slot)
      this.#slots.collect(options.clock.nowMs(), isIdle, slot => this.#free(slot))
      if (this.#slots.restingCount > 0) this.#collectLater()
    })
  }
}

/** Equal in every field; models and ranks keep their identity while they are the same. */
function isSameNode(a: NodeView, b: NodeView | undefined): boolean {
  if (b === undefined) return false
  const { models: aModels, ranks: aRanks, ...aRest } = a
  const { models: bModels, ranks: bRanks, ...bRest } = b
  if (aModels !== bModels || aRanks !== bRanks) return false
  return JSON.stringify(aRest) === JSON.stringify(bRest)
}
