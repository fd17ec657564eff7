/**
 * The keys of a prompt and where they match: all that the ways behind this room know of it.
 *
 *   keys    k0 ──► k1 ──► k2 ──► k3          key i stands for the whole prefix of (i + 1) blocks
 *   slots   [ 5, 9 ]                         (node, rank)s that hold a part of it
 *   depths  [ 4, 1 ]                         … in keys, predictions included
 *   index   [ 3, 1 ]                         … as the nodes themselves announced it
 *
 * A value is immutable and owns its arrays, so it may outlive the request's body. Costs: some
 * 8 bytes a key; a prompt of 100,000 tokens at 16 a block has 6,250.
 */
import { SLOTS_MAX } from '../native/limits.ts'

/** Bytes of text a token has on average; English prose has 4.2, code and other scripts less. */
export const TEXT_TOKEN_BYTES = 4

export interface PromptKeys {
  /** The keys are those of the engine's own tokens; false: made from text, never in the index. */
  readonly exact: boolean
  /** The prediction may be compared with the node's own count: one sequence, all of it keyed. */
  readonly isVerifiable: boolean
  /** Of all prompts of a request; a guess unless exact, and of texts after the first. */
  readonly promptTokens: number
  /** Tokens that one key covers. */
  readonly blockSize: number
  readonly keys: BigUint64Array
  readonly count: number
  readonly slots: Uint32Array
  readonly depths: Uint32Array
  readonly indexDepths: Uint32Array
  /** Slots in use. */
  readonly matched: number
}

/** Keys without their matches: what depends on the prompt alone and may be remembered. */
export interface KeyChain {
  readonly exact: boolean
  readonly isVerifiable: boolean
  readonly promptTokens: number
  readonly blockSize: number
  readonly keys: BigUint64Array
}

/** What the keys depend on beside the body. */
export interface PromptTarget {
  readonly baseModel: string
  /** The adapter's id, or empty. */
  readonly adapter: string
  /** The salt that the node will see, or empty. */
  readonly salt: string
  /** Directory of the model's tokenizer, "toy", or null: keyed by text. */
  readonly tokenizer: string | null
  /** 0: no node of the model announces its blocks. */
  readonly indexId: number
  /** Tokens a block of the nodes holds; 0 when unknown. */
  readonly blockSize: number
}

/** As `matchPrefix` of the native index: fills the arrays, returns the slots found. */
export type MatchPrefix = (
  indexId: number,
  keys: BigUint64Array,
  count: number,
  nowMs: number,
  outSlots: Uint32Array,
  outDepths: Uint32Array,
  outIndexDepths: Uint32Array,
) => number

const NO_WORDS = new Uint32Array(0)
const slots = new Uint32Array(SLOTS_MAX)
const depths = new Uint32Array(SLOTS_MAX)
const indexDepths = new Uint32Array(SLOTS_MAX)

/** The chain with the matches of this moment; without a match function there are none. */
export function matchChain(
  chain: KeyChain,
  match: MatchPrefix | null,
  indexId: number,
  nowMs: number,
): PromptKeys {
  const { exact, isVerifiable, promptTokens, blockSize, keys } = chain
  const count = keys.length
  let matched = 0
  if (match !== null && count > 0) {
    // Keys of text are in no index: only predictions can know them.
    const index = exact ? indexId : 0
    matched = match(index, keys, count, nowMs, slots, depths, indexDepths)
  }
  return {
    exact,
    isVerifiable,
    promptTokens,
    blockSize,
    keys,
    count,
    slots: matched === 0 ? NO_WORDS : slots.slice(0, matched),
    depths: matched === 0 ? NO_WORDS : depths.slice(0, matched),
    indexDepths: matched === 0 ? NO_WORDS : indexDepths.slice(0, matched),
    matched,
  }
}
