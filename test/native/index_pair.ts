/**
 * The index and its model side by side: one operation goes to both, then every question is asked
 * of both. Shared by the random tests.
 */
import { chainKeys, chainRoot } from '../../src/native/chain_hash.ts'
import { SLOTS_MAX } from '../../src/native/limits.ts'
import { IndexBatch, PrefixIndex } from '../../src/native/prefix_index.ts'
import { IndexModel } from '../model/prefix_index.ts'

const BLOCK = 2
const SLOTS = 5
const HASHES = 40

export class Pair {
  readonly index: PrefixIndex
  readonly model: IndexModel
  readonly batch: IndexBatch
  readonly roots: BigUint64Array[]
  readonly random: (n: number) => number
  readonly log: string[] = []

  constructor(random: (n: number) => number) {
    this.index = PrefixIndex.create({ blockSize: BLOCK, bytesMax: 1 << 26 })
    this.model = new IndexModel()
    this.batch = new IndexBatch()
    this.random = random
    this.roots = ['', 'salt'].map(salt => {
      const out = new BigUint64Array(1)
      chainRoot(out, 'm', BLOCK, '', salt)
      return out
    })
    for (let slot = 0; slot < SLOTS; slot++) this.model.groups.set(slot, slot < 3 ? 1 : 2)
  }

  step(): void {
    const { random, model, batch, index } = this
    const slot = random(SLOTS)
    const group = model.groups.get(slot) ?? 0
    const kind = random(20)
    batch.reset()
    if (kind < 10) {
      const root = random(2)
      const count = 1 + random(6)
      // Mostly consistent hashes (a function of the path), sometimes arbitrary ones.
      const arbitrary = random(4) === 0
      const parts: string[] = []
      const tokens: number[] = []
      const hashes: bigint[] = []
      const start = random(6)
      let path = `r${root}`
      let parent: bigint | null = null
      for (let i = 0; i < start + count; i++) {
        const token = random(3) === 0 ? 1 : 0
        path += `/${token}`
        const hash = arbitrary ? BigInt(1 + random(HASHES)) : BigInt(hashOf(path))
        if (i < start) {
          parent = hash
          continue
        }
        parts.push(String(token))
        tokens.push(token, 7)
        hashes.push(hash)
      }
      batch.store({
        root: this.roots[root] ?? new BigUint64Array(1),
        parent,
        hashes,
        tokens,
        extras: null,
      })
      this.log.push(`store s${slot} r${root} p${parent} ${hashes.join()} ${parts.join('')}`)
      index.apply(slot, group, batch)
      model.store(slot, { root: `r${root}`, parent, hashes, parts })
    } else if (kind < 18) {
      const held = [...(model.held.get(slot)?.keys() ?? [])]
      const parked = model.parked.filter(p => p.slot === slot).flatMap(p => p.hashes)
      const all = [...held, ...parked.filter(h => h !== null), BigInt(1 + random(HASHES))]
      const count = 1 + random(3)
      for (let i = 0; i < count; i++) {
        const hash = all[random(3) === 0 ? random(all.length) : Math.max(0, held.length - 1 - i)]
        if (hash === undefined) continue
        batch.remove(hash)
        model.remove(slot, hash)
        this.log.push(`remove s${slot} ${hash}`)
      }
      index.apply(slot, group, batch)
    } else if (kind === 18) {
      if (random(4) === 0) {
        this.log.push(`clear s${slot}`)
        index.clearSlot(slot)
        model.clear(slot)
        model.hidden.delete(slot)
      }
    } else if (random(4) === 0) {
      this.log.push(`hide s${slot}`)
      index.hideSlot(slot)
      model.hidden.add(slot)
    }
    this.check()
  }

  check(): void {
    this.index.verify()
    const slots = new Uint32Array(SLOTS_MAX)
    const depths = new Uint32Array(SLOTS_MAX)
    const root = this.random(2)
    const parts = Array.from({ length: 1 + this.random(12) }, () => (this.random(3) === 0 ? 1 : 0))
    const tokens = Uint32Array.from(parts.flatMap(p => [p, 7]))
    const keys = new BigUint64Array(parts.length)
    chainKeys(this.roots[root] ?? new BigUint64Array(1), tokens, tokens.length, BLOCK, keys)
    const found = this.index.match(keys, parts.length, slots, depths)
    const got = new Map<number, number>()
    for (let i = 0; i < found; i++) got.set(slots[i] ?? 0, depths[i] ?? 0)
    const wanted = this.model.match(`r${root}`, parts.map(String))
    if (line(got) !== line(wanted)) {
      throw new Error(
        `r${root} ${parts.join('')}: index ${line(got)}, model ${line(wanted)}\n${this.log.slice(-40).join('\n')}`,
      )
    }
    for (let slot = 0; slot < SLOTS; slot++) {
      const paths = new Set([...(this.model.held.get(slot)?.values() ?? [])].map(h => h.path))
      const held = this.index.heldBlocks(slot)
      if (held !== paths.size) {
        throw new Error(
          `s${slot} holds ${held}, model ${paths.size}\n${this.log.slice(-40).join('\n')}`,
        )
      }
    }
  }

  close(): void {
    this.index.close()
  }
}

function hashOf(path: string): number {
  let hash = 17
  for (const char of path) hash = (Math.imul(hash, 31) + char.charCodeAt(0)) >>> 0
  return hash + 100
}

function line(depths: Map<number, number>): string {
  return [...depths]
    .toSorted((a, b) => a[0] - b[0])
    .map(([slot, depth]) => `${slot}:${depth}`)
    .join(' ')
}
