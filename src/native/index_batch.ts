/**
 * A batch of KV events of one slot, in the words that the index applies in one native call:
 *
 *   store    1 | flags << 8 | count << 32 · token count · root key · [parent hash] ·
 *            count hashes · [count extras]         (its tokens go to the tokens array)
 *   remove   2 | count << 32 · count hashes
 *   clear    3
 *
 * Buffers grow to the largest batch seen and are kept. Hashes are u64; a number of a message
 * (BigInt) is copied into a typed array here, once, and crosses to C++ as bytes.
 */

const OP_STORE = 1n
const OP_REMOVE = 2n
const OP_CLEAR = 3n
const HAS_PARENT = 1n << 8n
const HAS_EXTRAS = 2n << 8n

/** Words of one batch (hashes, extras), so that a broken node cannot fill memory: 128 MiB. */
const OP_WORDS_MAX = 1 << 24
/** Tokens of one batch: 256 MiB. */
const TOKEN_WORDS_MAX = 1 << 26

export interface StoreEvent {
  /** Root key of the chain: `chainRoot(model, block size, adapter, salt)`, in `root[0]`. */
  readonly root: BigUint64Array
  /** Engine hash of the block before the first; null at position 0. */
  readonly parent: bigint | null
  readonly hashes: ArrayLike<bigint>
  readonly tokens: ArrayLike<number>
  /** For each block what the node hashed into it beside its tokens (0n: nothing), or null. */
  readonly extras: ArrayLike<bigint> | null
}

export class IndexBatch {
  ops: BigUint64Array
  opWords: number
  tokens: Uint32Array
  tokenWords: number

  constructor() {
    this.ops = new BigUint64Array(256)
    this.opWords = 0
    this.tokens = new Uint32Array(1024)
    this.tokenWords = 0
  }

  /** False when the batch is full: apply it, reset it and store again. */
  store(event: StoreEvent): boolean {
    const { root, parent, hashes, tokens, extras } = event
    const count = hashes.length
    if (root.length === 0) throw new TypeError('root must have one word')
    if (extras !== null && extras.length !== count) {
      throw new TypeError(`extras must have ${count} words, has ${extras.length}`)
    }
    const words = 3 + (parent === null ? 0 : 1) + count * (extras === null ? 1 : 2)
    if (!this.#hasRoom(words, tokens.length)) return false
    const { ops } = this
    let at = this.opWords
    ops[at++] =
      OP_STORE |
      (parent === null ? 0n : HAS_PARENT) |
      (extras === null ? 0n : HAS_EXTRAS) |
      (BigInt(count) << 32n)
    ops[at++] = BigInt(tokens.length)
    ops[at++] = root[0] ?? 0n
    if (parent !== null) ops[at++] = parent
    ops.set(hashes, at)
    at += count
    if (extras !== null) ops.set(extras, at)
    this.tokens.set(tokens, this.tokenWords)
    this.opWords += words
    this.tokenWords += tokens.length
    return true
  }

  /** False when the batch is full. */
  remove(hash: bigint): boolean {
    if (!this.#hasRoom(2, 0)) return false
    this.ops[this.opWords++] = OP_REMOVE | (1n << 32n)
    this.ops[this.opWords++] = hash
    return true
  }

  /** False when the batch is full. */
  removeAll(hashes: ArrayLike<bigint>): boolean {
    if (!this.#hasRoom(1 + hashes.length, 0)) return false
    this.ops[this.opWords++] = OP_REMOVE | (BigInt(hashes.length) << 32n)
    this.ops.set(hashes, this.opWords)
    this.opWords += hashes.length
    return true
  }

  /** The slot holds nothing any more. False when the batch is full. */
  clear(): boolean {
    if (!this.#hasRoom(1, 0)) return false
    this.ops[this.opWords++] = OP_CLEAR
    return true
  }

  reset(): void {
    this.opWords = 0
    this.tokenWords = 0
  }

  #hasRoom(words: number, tokenWords: number): boolean {
    const ops = this.opWords + words
    const tokens = this.tokenWords + tokenWords
    if (ops > OP_WORDS_MAX || tokens > TOKEN_WORDS_MAX) return false
    if (ops > this.ops.length) {
      const grown = new BigUint64Array(Math.max(ops, this.ops.length * 2))
      grown.set(this.ops.subarray(0, this.opWords))
      this.ops = grown
    }
    if (tokens > this.tokens.length) {
      const grown = new Uint32Array(Math.max(tokens, this.tokens.length * 2))
      grown.set(this.tokens.subarray(0, this.tokenWords))
      this.tokens = grown
    }
    return true
  }
}
