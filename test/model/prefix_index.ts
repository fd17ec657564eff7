/**
 * What the prefix index means, as plain maps: each slot has hash -> (path, copies), where a path
 * spells the tokens from the root. Obviously right, and slow.
 */
export interface ModelStore {
  readonly root: string
  readonly parent: bigint | null
  readonly hashes: readonly bigint[]
  readonly parts: readonly string[]
}

interface Held {
  readonly path: string
  copies: number
}

interface Parked {
  readonly slot: number
  readonly parent: bigint
  readonly hashes: (bigint | null)[]
  readonly parts: readonly string[]
}

export class IndexModel {
  readonly held: Map<number, Map<bigint, Held>> = new Map()
  readonly groups: Map<number, number> = new Map()
  readonly hidden: Set<number> = new Set()
  parked: Parked[] = []

  /** Where a hash lies: as the slot itself says, else as all of its group agree. */
  #place(slot: number, hash: bigint): string | null {
    const own = this.held.get(slot)?.get(hash)
    if (own !== undefined) return own.path
    const paths = new Set<string>()
    for (const [other, held] of this.held) {
      const entry = held.get(hash)
      if (entry !== undefined && this.groups.get(other) === this.groups.get(slot)) {
        paths.add(entry.path)
      }
    }
    const [path = null] = paths
    return paths.size === 1 ? path : null
  }

  #hold(slot: number, start: string, hashes: readonly (bigint | null)[], parts: readonly string[]) {
    const held = this.held.get(slot) ?? new Map<bigint, Held>()
    this.held.set(slot, held)
    let path = start
    hashes.forEach((hash, i) => {
      const known = hash === null ? undefined : held.get(hash)
      if (known !== undefined) known.copies++
      path = known?.path ?? `${path}/${parts[i]}`
      if (hash !== null && known === undefined) held.set(hash, { path, copies: 1 })
    })
  }

  store(slot: number, event: ModelStore): void {
    const { root, parent, hashes, parts } = event
    if (hashes.some((hash, i) => hash === (i === 0 ? parent : hashes[i - 1]))) return
    const start = parent === null ? root : this.#place(slot, parent)
    if (start === null && parent !== null) {
      this.parked.push({ slot, parent, hashes: [...hashes], parts })
      return
    }
    this.#hold(slot, start ?? root, hashes, parts)
    const group = this.groups.get(slot)
    const announced: bigint[] = [...hashes]
    for (let hash = announced.shift(); hash !== undefined; hash = announced.shift()) {
      for (const one of this.parked.filter(p => p.parent === hash)) {
        if (this.groups.get(one.slot) !== group) continue
        const place = this.#place(one.slot, one.parent)
        if (place === null) continue
        this.parked.splice(this.parked.indexOf(one), 1)
        this.#hold(one.slot, place, one.hashes, one.parts)
        announced.push(...one.hashes.filter(h => h !== null))
      }
    }
  }

  remove(slot: number, hash: bigint): void {
    const entry = this.held.get(slot)?.get(hash)
    if (entry !== undefined) {
      if (--entry.copies === 0) this.held.get(slot)?.delete(hash)
      return
    }
    const parked = this.parked.findLast(p => p.slot === slot && p.hashes.includes(hash))
    if (parked === undefined) return
    parked.hashes[parked.hashes.indexOf(hash)] = null
    if (parked.hashes.every(h => h === null)) this.parked.splice(this.parked.indexOf(parked), 1)
  }

  clear(slot: number): void {
    this.held.delete(slot)
    this.parked = this.parked.filter(p => p.slot !== slot)
  }

  match(root: string, parts: readonly string[]): Map<number, number> {
    const depths = new Map<number, number>()
    for (const [slot, held] of this.held) {
      const paths = new Set([...held.values()].map(entry => entry.path))
      let path = root
      let depth = 0
      for (const part of parts) {
        path = `${path}/${part}`
        if (!paths.has(path)) break
        depth++
      }
      if (depth > 0 && !this.hidden.has(slot)) depths.set(slot, depth)
    }
    return depths
  }
}
