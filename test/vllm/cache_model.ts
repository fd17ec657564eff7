/**
 * What the engines must hold, by the rules of a prefix cache that evicts nothing: after a request
 * every whole block of its prompt and of what was computed of its answer (all but the last token).
 *
 *     a block = the tokens up to its end, the salt and the adapter, as one digest
 *
 * It is independent of the gateway and of the engine's own hashes, so three counts can be
 * compared: this one's, the index's prediction, and the engine's report.
 */
import { createHash } from 'node:crypto'

/** What a chain of blocks depends on beside its tokens. */
export interface Chain {
  readonly tokens: readonly number[]
  readonly salt?: string | undefined
  readonly adapter?: string | undefined
}

export class CacheModel {
  readonly #blockSize: number
  readonly #held = new Map<string, Set<string>>()

  constructor(blockSize: number) {
    this.#blockSize = blockSize
  }

  /** Blocks held by all nodes, counted once a node. */
  get heldBlocks(): number {
    return [...this.#held.values()].reduce((sum, held) => sum + held.size, 0)
  }

  blocksOf(node: string): number {
    return this.#held.get(node)?.size ?? 0
  }

  clear(node: string): void {
    this.#held.delete(node)
  }

  /** Tokens of a prompt that the node would not compute: whole blocks, never the last token. */
  cachedTokens(node: string, chain: Chain): number {
    const held = this.#held.get(node)
    if (held === undefined) return 0
    const blocksMax = Math.floor((chain.tokens.length - 1) / this.#blockSize)
    const keys = this.#keys(chain).slice(0, Math.max(0, blocksMax))
    const miss = keys.findIndex(key => !held.has(key))
    return (miss === -1 ? keys.length : miss) * this.#blockSize
  }

  /** A request was answered: `computed` are its prompt and its answer without the last token. */
  add(node: string, computed: Chain): void {
    let held = this.#held.get(node)
    if (held === undefined) {
      held = new Set()
      this.#held.set(node, held)
    }
    for (const key of this.#keys(computed)) held.add(key)
  }

  #keys({ tokens, salt = '', adapter = '' }: Chain): string[] {
    const keys: string[] = []
    let before = JSON.stringify([salt, adapter])
    for (let end = this.#blockSize; end <= tokens.length; end += this.#blockSize) {
      const block = tokens.slice(end - this.#blockSize, end).join(',')
      before = createHash('sha256').update(`${before}\n${block}`).digest('hex')
      keys.push(before)
    }
    return keys
  }
}
