/**
 * Roots of the chains, remembered: (model, adapter, salt, block size) ──► 64 bits. Prompts of two
 * adapters or two salts share no key, because their chains start elsewhere, as in the engine.
 * Costs: a comparison of four fields for a request like the one before, else a map look-up.
 */
import type { PromptTarget } from './keys.ts'

/** As `chainRoot` of the native chain hash. */
export type ChainRoot = (
  out: BigUint64Array,
  model: string,
  blockSize: number,
  adapter: string,
  salt: string,
) => void

/** As `chainKeys` of the native chain hash; returns the number of whole blocks. */
export type ChainKeys = (
  root: BigUint64Array,
  tokens: Uint32Array,
  tokenCount: number,
  blockSize: number,
  out: BigUint64Array,
) => number

type RootTarget = Pick<PromptTarget, 'baseModel' | 'adapter' | 'salt'>

/** Roots kept; a client may send any salt, so the map must not grow with them. */
export const ROOTS_MAX = 4096
/** Characters of a name that is remembered; a longer salt has its root made each time. */
export const ROOT_NAME_MAX = 1024

export class ChainRoots {
  readonly #chainRoot: ChainRoot
  readonly #roots: Map<string, bigint>
  readonly #out: BigUint64Array
  #last: RootTarget
  #lastBlockSize: number
  #lastRoot: bigint

  constructor(chainRoot: ChainRoot) {
    this.#chainRoot = chainRoot
    this.#roots = new Map()
    this.#out = new BigUint64Array(1)
    this.#last = { baseModel: '', adapter: '', salt: '' }
    this.#lastBlockSize = 0
    this.#lastRoot = 0n
  }

  of(target: RootTarget, blockSize: number): bigint {
    const { baseModel, adapter, salt } = target
    const last = this.#last
    if (
      blockSize === this.#lastBlockSize &&
      baseModel === last.baseModel &&
      adapter === last.adapter &&
      salt === last.salt
    ) {
      return this.#lastRoot
    }
    const name = `${blockSize}\0${baseModel}\0${adapter}\0${salt}`
    let root = this.#roots.get(name)
    if (root === undefined) {
      this.#chainRoot(this.#out, baseModel, blockSize, adapter, salt)
      root = this.#out[0] ?? 0n
      if (name.length > ROOT_NAME_MAX) return root
      if (this.#roots.size >= ROOTS_MAX) this.#roots.clear()
      this.#roots.set(name, root)
    }
    this.#last = { baseModel, adapter, salt }
    this.#lastBlockSize = blockSize
    this.#lastRoot = root
    return root
  }
}
