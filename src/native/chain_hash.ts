/**
 * Own keys of prompt blocks: 64-bit chain hashes, one process-wide random seed, the very function
 * that the prefix index applies to the tokens of events. See native/chain_hash/chain_hash.h.
 *
 * Key i stands for all of blocks 0..i: equal keys mean equal prefixes. A block that is not full
 * has no key.
 */
import { addon } from './addon.ts'
import { BLOCK_TOKENS_MAX } from './limits.ts'

interface ChainAddon {
  chainSeed(seed: BigUint64Array): void
  chainRoot(
    out: BigUint64Array,
    model: string,
    blockSize: number,
    adapter: string,
    salt: string,
  ): void
  chainKeys(
    root: BigUint64Array,
    tokens: Uint32Array,
    tokenCount: number,
    blockSize: number,
    out: BigUint64Array,
  ): number
  textKeys(
    root: BigUint64Array,
    text: Uint8Array,
    start: number,
    end: number,
    chunkBytes: number,
    out: BigUint64Array,
  ): number
}

// Decode boundary: the addon's exports are declared here and in no other place.
// oxlint-disable-next-line typescript/no-unsafe-type-assertion
const native = addon as ChainAddon

function checkCount(name: string, value: number, min: number, max: number): void {
  if (!(Number.isInteger(value) && value >= min && value <= max)) {
    throw new TypeError(`${name} must be an integer from ${min} to ${max}, got ${value}`)
  }
}

function checkRoom(name: string, words: BigUint64Array, wanted: number): void {
  if (words.length < wanted) {
    throw new TypeError(`${name} must have ${wanted} words, has ${words.length}`)
  }
}

/**
 * Replaces the random seed of the process, for tests that want the same keys each time. Keys
 * made before are void, so it must come before the first root.
 */
export function setChainSeed(seed: bigint): void {
  native.chainSeed(BigUint64Array.of(seed))
}

/** Writes the root of all chains of this model, block size, adapter and salt to `out[0]`. */
export function chainRoot(
  out: BigUint64Array,
  model: string,
  blockSize: number,
  adapter: string,
  salt: string,
): void {
  checkRoom('out', out, 1)
  checkCount('blockSize', blockSize, 1, BLOCK_TOKENS_MAX)
  native.chainRoot(out, model, blockSize, adapter, salt)
}

/** Keys of the whole blocks of `tokens[0..tokenCount)`; returns how many. */
export function chainKeys(
  root: BigUint64Array,
  tokens: Uint32Array,
  tokenCount: number,
  blockSize: number,
  out: BigUint64Array,
): number {
  checkRoom('root', root, 1)
  checkCount('blockSize', blockSize, 1, BLOCK_TOKENS_MAX)
  checkCount('tokenCount', tokenCount, 0, tokens.length)
  checkRoom('out', out, Math.floor(tokenCount / blockSize))
  return native.chainKeys(root, tokens, tokenCount, blockSize, out)
}

/** Keys of the whole chunks of `text[start..end)`, for models without a tokenizer. */
export function textKeys(
  root: BigUint64Array,
  text: Uint8Array,
  start: number,
  end: number,
  chunkBytes: number,
  out: BigUint64Array,
): number {
  checkRoom('root', root, 1)
  checkCount('chunkBytes', chunkBytes, 1, BLOCK_TOKENS_MAX)
  checkCount('end', end, 0, text.length)
  checkCount('start', start, 0, end)
  checkRoom('out', out, Math.floor((end - start) / chunkBytes))
  return native.textKeys(root, text, start, end, chunkBytes, out)
}
