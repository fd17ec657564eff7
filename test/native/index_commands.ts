/**
 * Commands that drive the prefix index and its model side by side (fast-check). After every
 * command the invariants, the number of held blocks and one lookup are compared; a failure shrinks
 * to the fewest commands.
 *
 * Shapes: two tokens and two roots, so that chains meet; long stores, so that runs fork in their
 * middle; removals by place (tail first or anywhere), so that holes appear; hashes that follow
 * from the path, as engines make them, or arbitrary ones that collide and repeat.
 */
import * as fc from 'fast-check'
import { chainKeys, chainRoot } from '../../src/native/chain_hash.ts'
import { SLOTS_MAX } from '../../src/native/limits.ts'
import { IndexBatch, PrefixIndex } from '../../src/native/prefix_index.ts'
import type { IndexModel } from '../model/prefix_index.ts'

const BLOCK_SIZE = 2
/** Slots 0..2 are one hash-agreement group, 3 and 4 another. */
const GROUPS: readonly number[] = [1, 1, 1, 2, 2]
const ROOTS: readonly string[] = ['a', 'b']

const index = PrefixIndex.create({ blockSize: BLOCK_SIZE, bytesMax: 1 << 24 })
const batch = new IndexBatch()
const outSlots = new Uint32Array(SLOTS_MAX)
const outDepths = new Uint32Array(SLOTS_MAX)

/** The index under test (one for all walks, emptied before each), and the roots of its chains. */
export interface Real {
  readonly index: PrefixIndex
  readonly roots: readonly BigUint64Array[]
}

export function setUp(model: IndexModel): Real {
  GROUPS.forEach((group, slot) => model.groups.set(slot, group))
  const roots = ROOTS.map(name => {
    const out = new BigUint64Array(1)
    chainRoot(out, name, BLOCK_SIZE, '', '')
    return out
  })
  index.close()
  GROUPS.forEach((_, slot) => index.clearSlot(slot))
  return { index, roots }
}

function tokensOf(parts: readonly number[]): Uint32Array {
  return Uint32Array.from(parts.flatMap(part => [part, 7]))
}

function pathHash(path: string): bigint {
  let hash = 17
  for (const char of path) hash = (Math.imul(hash, 31) + char.charCodeAt(0)) >>> 0
  return BigInt(hash) + 100n
}

function line(depths: ReadonlyMap<number, number>): string {
  const rows = [...depths].toSorted((a, b) => a[0] - b[0])
  return rows.map(([slot, depth]) => `${slot}:${depth}`).join(' ')
}

/** Throws on the first difference between index and model, seen through the query's chain. */
function compare(model: IndexModel, real: Real, query: Query): void {
  real.index.verify()
  const { root, parts } = query
  const keys = new BigUint64Array(parts.length)
  const rootKey = real.roots[root] ?? new BigUint64Array(1)
  chainKeys(rootKey, tokensOf(parts), parts.length * BLOCK_SIZE, BLOCK_SIZE, keys)
  const found = real.index.match(keys, keys.length, outSlots, outDepths)
  const got = new Map<number, number>()
  for (let i = 0; i < found; i++) got.set(outSlots[i] ?? 0, outDepths[i] ?? 0)
  const wanted = model.match(ROOTS[root] ?? '', parts.map(String))
  if (line(got) !== line(wanted)) {
    throw new Error(`lookup ${parts.join('')}: index ${line(got)}, model ${line(wanted)}`)
  }
  for (let slot = 0; slot < GROUPS.length; slot++) {
    const paths = new Set([...(model.held.get(slot)?.values() ?? [])].map(held => held.path))
    const held = real.index.heldBlocks(slot)
    if (held !== paths.size) throw new Error(`slot ${slot} holds ${held}, model ${paths.size}`)
  }
}

interface Query {
  readonly root: number
  readonly parts: readonly number[]
}

type IndexCommand = fc.Command<IndexModel, Real>

interface StorePlan extends Query {
  readonly slot: number
  /** Where in the chain the store begins; what is before it is the parent's chain. */
  readonly start: number
  /** Arbitrary hashes in place of those that follow from the path. */
  readonly hashes: readonly number[] | null
}

class Store implements IndexCommand {
  readonly plan: StorePlan
  constructor(plan: StorePlan) {
    this.plan = plan
  }
  check(): boolean {
    return true
  }
  run(model: IndexModel, real: Real): void {
    const { slot, root, parts } = this.plan
    const start = Math.min(this.plan.start, parts.length - 1)
    let path = ROOTS[root] ?? ''
    const all = parts.map((part, i) => {
      path += `/${part}`
      return this.plan.hashes === null ? pathHash(path) : BigInt(this.plan.hashes[i] ?? 1)
    })
    const parent = start === 0 ? null : (all[start - 1] ?? null)
    const hashes = all.slice(start)
    const own = parts.slice(start)
    const rootKey = real.roots[root] ?? new BigUint64Array(1)
    batch.reset()
    batch.store({ root: rootKey, parent, hashes, tokens: tokensOf(own), extras: null })
    real.index.apply(slot, GROUPS[slot] ?? 0, batch)
    model.store(slot, { root: ROOTS[root] ?? '', parent, hashes, parts: own.map(String) })
    compare(model, real, this.plan)
  }
  toString(): string {
    return `store ${JSON.stringify(this.plan)}`
  }
}

interface RemovePlan {
  readonly slot: number
  /** Places among what the slot holds and has parked; the last is the deepest. */
  readonly places: readonly number[]
  readonly query: Query
}

class Remove implements IndexCommand {
  readonly plan: RemovePlan
  constructor(plan: RemovePlan) {
    this.plan = plan
  }
  check(): boolean {
    return true
  }
  run(model: IndexModel, real: Real): void {
    const { slot, places, query } = this.plan
    const held = [...(model.held.get(slot) ?? [])].toSorted((a, b) =>
      a[1].path < b[1].path ? -1 : 1,
    )
    const parked = model.parked.filter(one => one.slot === slot).flatMap(one => one.hashes)
    const all = [1n, ...parked.filter(hash => hash !== null), ...held.map(([hash]) => hash)]
    batch.reset()
    for (const place of places) {
      const hash = all[(all.length - 1 - (place % all.length)) % all.length] ?? 1n
      batch.remove(hash)
      model.remove(slot, hash)
    }
    real.index.apply(slot, GROUPS[slot] ?? 0, batch)
    compare(model, real, query)
  }
  toString(): string {
    return `remove ${JSON.stringify(this.plan)}`
  }
}

class Forget implements IndexCommand {
  readonly slot: number
  readonly how: 'clear' | 'event' | 'hide'
  readonly query: Query
  constructor(slot: number, how: 'clear' | 'event' | 'hide', query: Query) {
    this.slot = slot
    this.how = how
    this.query = query
  }
  check(): boolean {
    return true
  }
  run(model: IndexModel, real: Real): void {
    const { slot, how } = this
    if (how === 'hide') {
      real.index.hideSlot(slot)
      model.hidden.add(slot)
    } else {
      batch.reset()
      batch.clear()
      if (how === 'event') real.index.apply(slot, GROUPS[slot] ?? 0, batch)
      else real.index.clearSlot(slot)
      model.clear(slot)
      if (how === 'clear') model.hidden.delete(slot)
    }
    compare(model, real, this.query)
  }
  toString(): string {
    return `${this.how} ${this.slot}`
  }
}

/** Walks of up to `lengthMax` commands. */
export function walks(lengthMax: number): fc.Arbitrary<Iterable<IndexCommand>> {
  const slot = fc.nat({ max: GROUPS.length - 1 })
  const root = fc.nat({ max: ROOTS.length - 1 })
  const part = fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, fc.constant(1))
  const parts = fc.array(part, { minLength: 1, maxLength: 14 })
  const query = fc.record({ root, parts })
  const hashes = fc.option(fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 14 }), {
    freq: 4,
  })
  const store = fc.record({ slot, root, parts, start: fc.nat({ max: 8 }), hashes })
  const tail = fc.integer({ min: 1, max: 6 }).map(count => Array.from({ length: count }, () => 0))
  const anywhere = fc.array(fc.nat({ max: 20 }), { minLength: 1, maxLength: 4 })
  const remove = fc.record({ slot, places: fc.oneof(tail, anywhere), query })
  const how = fc.constantFrom('clear', 'event', 'hide')
  const kinds = [
    store.map(plan => new Store(plan)),
    store.map(plan => new Store(plan)),
    remove.map(plan => new Remove(plan)),
    remove.map(plan => new Remove(plan)),
    fc.tuple(slot, how, query).map(([s, h, q]) => new Forget(s, h, q)),
  ]
  return fc.commands(kinds, { maxCommands: lengthMax, size: 'max' })
}
