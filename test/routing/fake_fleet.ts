/**
 * Stand-ins for what routing is given: a clock that only moves when told, a load table, an overlay
 * and an index as plain maps, and views of fleets. Obviously right and slow on purpose.
 */
import assert from 'node:assert/strict'
import type { FleetView, NodeView } from '../../src/nodes/fleet_view.ts'
import { soloBoard, type WaitBoard } from '../../src/routing/admission.ts'
import type { RouteRequest } from '../../src/routing/candidates.ts'
import type { Clock } from '../../src/routing/clock.ts'
import { routingSchema } from '../../src/routing/config.ts'
import type { LoadTable } from '../../src/routing/lease.ts'
import type { PolicyName } from '../../src/routing/policy.ts'
import { type MatchPrefix, type Overlay, Router } from '../../src/routing/router.ts'

/** A small seeded generator (mulberry32): the same seed gives the same run. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

export class FakeClock implements Clock {
  #now = 1_000
  #order = 0
  readonly #timers = new Map<number, { atMs: number; run: () => void }>()

  nowMs(): number {
    return this.#now
  }

  after(ms: number, run: () => void): () => void {
    const id = this.#order++
    this.#timers.set(id, { atMs: this.#now + ms, run })
    return () => this.#timers.delete(id)
  }

  soon(run: () => void): void {
    this.after(0, run)
  }

  get pending(): number {
    return this.#timers.size
  }

  /** Runs what is due up to `ms` from now, in order of time, then of creation. */
  advance(ms: number): void {
    const end = this.#now + ms
    for (;;) {
      let first: [number, { atMs: number; run: () => void }] | null = null
      for (const timer of this.#timers) {
        if (timer[1].atMs <= end && (first === null || timer[1].atMs < first[1].atMs)) first = timer
      }
      if (first === null) break
      this.#timers.delete(first[0])
      this.#now = Math.max(this.#now, first[1].atMs)
      first[1].run()
    }
    this.#now = end
  }
}

export class FakeLoadTable implements LoadTable {
  readonly words: Float64Array

  constructor(slotCount: number) {
    this.words = new Float64Array(slotCount * 3)
  }

  acquire(slot: number, prefillTokens: number, blocks: number, inFlightMax: number): boolean {
    if (this.inFlight(slot) >= inFlightMax) return false
    this.#add(slot, 1, prefillTokens, blocks)
    return true
  }

  firstToken(slot: number, prefillTokens: number): void {
    this.#add(slot, 0, -prefillTokens, 0)
  }

  release(slot: number, prefillTokensLeft: number, blocks: number): void {
    this.#add(slot, -1, -prefillTokensLeft, -blocks)
  }

  read(out: Float64Array, slotCount: number): void {
    out.set(this.words.subarray(0, slotCount * 3))
  }

  inFlight(slot: number): number {
    return this.words[slot * 3] ?? 0
  }

  get isZero(): boolean {
    return this.words.every(word => word === 0)
  }

  #add(slot: number, running: number, tokens: number, blocks: number): void {
    for (const [offset, change] of [running, tokens, blocks].entries()) {
      const word = (this.words[slot * 3 + offset] ?? 0) + change
      assert(word >= 0, `load of slot ${slot} below zero`)
      this.words[slot * 3 + offset] = word
    }
  }
}

/** What each slot holds (index) and is predicted to hold (overlay), by key. */
export class FakeKnowledge implements Overlay {
  readonly held = new Map<number, Set<bigint>>()
  readonly predicted = new Map<number, Map<bigint, number>>()

  store(slot: number, keys: BigUint64Array): void {
    const own = this.held.get(slot) ?? new Set()
    for (const key of keys) own.add(key)
    this.held.set(slot, own)
  }

  predict(slot: number, keys: BigUint64Array, count: number, nowMs: number, ttlMs: number): void {
    const own = this.predicted.get(slot) ?? new Map<bigint, number>()
    for (const key of keys.subarray(0, count)) own.set(key, nowMs + ttlMs)
    this.predicted.set(slot, own)
  }

  setCapacity(): void {
    // The real overlay forgets its oldest entries; nothing here lives long enough.
  }

  readonly match: MatchPrefix = (indexId, keys, count, nowMs, slots, depths, indexDepths) => {
    let matched = 0
    for (const slot of new Set([...this.held.keys(), ...this.predicted.keys()])) {
      const own = indexId === 0 ? undefined : this.held.get(slot)
      const soon = this.predicted.get(slot)
      let indexed = 0
      while (indexed < count && own?.has(keys[indexed] ?? 0n)) indexed++
      let depth = 0
      while (depth < count && (soon?.get(keys[depth] ?? 0n) ?? 0) > nowMs) depth++
      if (Math.max(indexed, depth) === 0) continue
      slots[matched] = slot
      depths[matched] = Math.max(indexed, depth)
      indexDepths[matched++] = indexed
    }
    return matched
  }
}

export function fakeNode(index: number, changes: Partial<NodeView> = {}): NodeView {
  return {
    id: `10.0.0.${index}:8000`,
    url: `http://10.0.0.${index}:8000`,
    state: 'healthy',
    epoch: 1,
    apiKey: null,
    models: [{ id: 'm', parent: null, body: {} }],
    indexModel: 'm',
    ranks: [{ rank: 0, slot: index }],
    blockSize: 16,
    blockCount: 0,
    kvEvents: 'live',
    indexId: 1,
    inFlightMax: 256,
    ...changes,
  }
}

export function fakeView(nodes: readonly NodeView[], version = 1): FleetView {
  return { version, nodes, models: [] }
}

export function fakeNodes(count: number, changes: Partial<NodeView> = {}): NodeView[] {
  return Array.from({ length: count }, (_, index) => fakeNode(index, changes))
}

/** Keys of a prompt made of named parts: equal beginnings give equal keys. */
export function promptOf(parts: readonly (readonly [string, number])[]): RouteRequest {
  const promptTokens = parts.reduce((sum, [, tokens]) => sum + tokens, 0)
  const keys: bigint[] = []
  let text = ''
  let chain = 14695981039346656037n
  let tokens = 0
  for (const [name, count] of parts) {
    text += name
    for (let token = 0; token < count; token++) {
      if (++tokens % 16 !== 0) continue
      for (const unit of `${text}:${token}`) {
        chain = BigInt.asUintN(64, (chain ^ BigInt(unit.charCodeAt(0))) * 1099511628211n)
      }
      keys.push(chain)
    }
  }
  const none = new Uint32Array(0)
  const matches = { slots: none, depths: none, indexDepths: none, matched: 0 }
  const count = keys.length
  const prompt = { exact: true, promptTokens, blockSize: 16, count, ...matches }
  const own = { ...prompt, keys: BigUint64Array.from(keys) }
  return { model: 'm', prompt: own, promptTokens, skipsCache: false }
}

export interface FakeFleet {
  readonly clock: FakeClock
  readonly table: FakeLoadTable
  readonly knowledge: FakeKnowledge
  readonly router: Router
}

interface FleetOptions {
  readonly policy?: PolicyName
  readonly seed?: number
  readonly board?: WaitBoard
  readonly waitingItemsMax?: number
  /** Shared by two routers of one process. */
  readonly shared?: FakeFleet
}

export function fakeFleet(nodes: readonly NodeView[], options: FleetOptions = {}): FakeFleet {
  const { shared } = options
  const clock = shared?.clock ?? new FakeClock()
  const table = shared?.table ?? new FakeLoadTable(1024)
  const knowledge = shared?.knowledge ?? new FakeKnowledge()
  const router = new Router({
    config: routingSchema.parse({
      policy: options.policy ?? 'prefix',
      waiting_items_max: options.waitingItemsMax ?? 16,
      wait_ms_max: 10_000,
    }),
    clock,
    random: seededRandom(options.seed ?? 1),
    loadTable: table,
    overlay: knowledge,
    match: knowledge.match,
    board: options.board ?? soloBoard(),
  })
  router.useView(fakeView(nodes))
  return { clock, table, knowledge, router }
}
