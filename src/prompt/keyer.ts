/**
 * From a request body to the keys of its prompt. Four ways, the first that fits:
 *
 *   token ids in the body ──────────────► chain                         now, exact
 *   seen before (digest in the memo) ───► chain                         now, exact
 *   a tokenizer for the model ──────────► pool: template, tokens, chain later, exact
 *   everything else ────────────────────► chain over canonical text     now, by text
 *
 * `done` is called once unless the caller gives up: within `keys` for the ways marked "now", else
 * in a later turn. Whatever goes wrong in the pool ends in keys by text, never in an error: the
 * answer is then only routed worse. Equal prompts that are asked for at once share one task.
 *
 * Costs: by text about 1 µs for a body of 200 B and 10 µs for 32 kB; a task copies the body once.
 * It does badly: a prompt keyed by text and the same prompt keyed by tokens do not match.
 */
import {
  CHUNK_BYTES_MAX,
  canonicalKeys,
  numberCount,
  PROMPT_KINDS,
  type PromptKind,
  SPAN_VALUE_END,
  SPAN_VALUE_START,
  STATE_ROOT,
  STATE_TEXT_BYTES,
  STATE_WORDS,
  tokenArray,
  VALUE_ARRAY,
} from '../native/json_scan.ts'
import type { RequestBody } from './body.ts'
import { GROWING, isTokenizable, skipsPrefixCache } from './eligibility.ts'
import { digestKey, KeyMemo } from './key_memo.ts'
import {
  type KeyChain,
  type MatchPrefix,
  matchChain,
  type PromptKeys,
  type PromptTarget,
  TEXT_TOKEN_BYTES,
} from './keys.ts'
import type { ChainKeys, ChainRoot } from './roots.ts'
import { ChainRoots } from './roots.ts'
import { Slab } from './slab.ts'
import type { FallbackReason, TokenOutcome, TokenPool } from './token_pool.ts'

export type { PromptKind } from '../native/json_scan.ts'
export type { MatchPrefix, PromptKeys, PromptTarget } from './keys.ts'
export type { FallbackReason } from './token_pool.ts'

/** Where the keys of a prompt came from. */
export type PromptSource = 'memo' | 'pool' | 'tokens' | 'text'

export interface PromptMeter {
  source(source: PromptSource): void
  fallback(reason: FallbackReason): void
}

export interface KeyerOptions {
  readonly chainRoot: ChainRoot
  readonly chainKeys: ChainKeys
  /** Left out: keys come without matches, which the router then looks up itself. */
  readonly match: MatchPrefix | null
  /** Left out: every prompt is keyed by text or by the ids in its body. */
  readonly pool: TokenPool | null
  readonly meter: PromptMeter
  readonly memoBytesMax: number
  /** How long a request waits for its tokens before it is routed by text. */
  readonly waitMsMax: number
  readonly setTimer: (run: () => void, ms: number) => () => void
}

/** Bytes of text that one key covers: about four tokens of 4 bytes less than a usual block. */
export const TEXT_CHUNK_BYTES = 64
/** Keys made of one text: 8 MiB of it; what lies beyond is not matched. */
export const TEXT_KEYS_MAX = 131_072
/** Token ids taken from a body: as long as the longest contexts in use; the rest is not matched. */
export const BODY_TOKENS_MAX = 1_048_576
/** The block that stands in where the node's is unknown: vLLM's default. */
const BLOCK_SIZE_DEFAULT = 16

const NO_KEYS = new BigUint64Array(0)
const KIND_INDEX = new Map(PROMPT_KINDS.map((kind, index) => [kind, index]))

/** One request for keys. */
interface Question {
  readonly body: RequestBody
  readonly kind: PromptKind
  readonly target: PromptTarget
  readonly nowMs: number
  readonly done: (keys: PromptKeys) => void
}

interface Waiter {
  isWaiting: boolean
  settle(outcome: TokenOutcome): void
}

/** A task of the pool and those who wait for it. */
interface Pending {
  readonly waiters: Waiter[]
  giveUp: () => void
}

function nothing(): void {}

export class PromptKeyer {
  readonly #options: KeyerOptions
  readonly #roots: ChainRoots
  readonly #memo: KeyMemo
  readonly #pending: Map<number, Pending>
  readonly #state: BigUint64Array
  readonly #halves: Uint32Array
  readonly #textKeys: Slab<BigUint64Array>
  #tokens: Uint32Array

  constructor(options: KeyerOptions) {
    this.#options = options
    this.#roots = new ChainRoots(options.chainRoot)
    this.#memo = new KeyMemo(options.memoBytesMax)
    this.#pending = new Map()
    this.#state = new BigUint64Array(STATE_WORDS)
    this.#halves = new Uint32Array(this.#state.buffer)
    this.#textKeys = new Slab(words => new BigUint64Array(words))
    this.#tokens = new Uint32Array(0)
  }

  /** Keys a prompt; the returned function gives up waiting for `done`. */
  keys(
    body: RequestBody,
    kind: PromptKind,
    target: PromptTarget,
    nowMs: number,
    done: (keys: PromptKeys) => void,
  ): () => void {
    const question: Question = { body, kind, target, nowMs, done }
    const isOpen = isTokenizable(body, kind)
    const given = isOpen ? this.#givenTokens(question) : null
    if (given !== null) {
      this.#answer('tokens', given, question)
      return nothing
    }
    const { tokenizer } = target
    const { pool } = this.#options
    if (tokenizer === null || pool === null) return this.#byText(question)
    if (!isOpen) {
      this.#options.meter.fallback('template')
      return this.#byText(question)
    }
    return this.#byTokens(question, tokenizer, pool)
  }

  /** Forgets all keys: the tokenizers changed. */
  clear(): void {
    this.#memo.clear()
  }

  #answer(source: PromptSource, chain: KeyChain, question: Question): void {
    const { body, kind, target, nowMs, done } = question
    this.#options.meter.source(source)
    const match = skipsPrefixCache(body, kind) ? null : this.#options.match
    done(matchChain(chain, match, target.indexId, nowMs))
  }

  #byText(question: Question): () => void {
    const { body, target } = question
    const possible = Math.min(TEXT_KEYS_MAX, Math.ceil(body.bytes.length / TEXT_CHUNK_BYTES) + 1)
    const keys = this.#textKeys.take(possible)
    this.#state[STATE_ROOT] = this.#roots.of(target, TEXT_CHUNK_BYTES)
    const count = this.#walk(question, TEXT_CHUNK_BYTES, keys)
    this.#textKeys.commit(count)
    const promptTokens = Math.ceil((this.#halves[STATE_TEXT_BYTES * 2] ?? 0) / TEXT_TOKEN_BYTES)
    const chain: KeyChain = {
      exact: false,
      isVerifiable: false,
      promptTokens,
      blockSize: TEXT_CHUNK_BYTES / TEXT_TOKEN_BYTES,
      keys: count === 0 ? NO_KEYS : keys.subarray(0, count),
    }
    this.#answer('text', chain, question)
    return nothing
  }

  #walk({ body, kind }: Question, chunkBytes: number, keys: BigUint64Array): number {
    const index = KIND_INDEX.get(kind) ?? 0
    return canonicalKeys(body.bytes, body.spans, body.count, index, this.#state, chunkBytes, keys)
  }

  /** The chain of a prompt that is given as token ids, or null. */
  #givenTokens({ body, kind, target }: Question): KeyChain | null {
    if (kind !== 'completion' && kind !== 'embedding') return null
    const id = GROWING[kind]
    const at = body.typeOf(id) === VALUE_ARRAY ? body.find(id) : -1
    if (at === -1) return null
    const start = body.spans[at + SPAN_VALUE_START] ?? 0
    const end = body.spans[at + SPAN_VALUE_END] ?? 0
    // An id takes two bytes or more with what separates it from the next.
    const possible = Math.min(BODY_TOKENS_MAX, Math.ceil((end - start) / 2))
    if (this.#tokens.length < possible) this.#tokens = new Uint32Array(possible)
    const count = tokenArray(body.bytes, start, end, this.#tokens)
    if (count < 1) return null
    const blockSize = target.blockSize === 0 ? BLOCK_SIZE_DEFAULT : target.blockSize
    const usable = Math.min(count, possible)
    const keys = new BigUint64Array(Math.floor(usable / blockSize))
    const root = BigUint64Array.of(this.#roots.of(target, blockSize))
    this.#options.chainKeys(root, this.#tokens, usable, blockSize, keys)
    const isAlone = isFlat(body.bytes, start)
    // Of several prompts the first is matched; the node computes all of them.
    const promptTokens = isAlone ? count : numberCount(body.bytes, start, end)
    const isVerifiable = usable === count && isAlone
    return { exact: true, isVerifiable, promptTokens, blockSize, keys }
  }

  #byTokens(question: Question, tokenizer: string, pool: TokenPool): () => void {
    const { body, kind, target } = question
    const blockSize = target.blockSize === 0 ? BLOCK_SIZE_DEFAULT : target.blockSize
    const root = this.#roots.of(target, blockSize)
    this.#state[STATE_ROOT] = root
    this.#walk(question, CHUNK_BYTES_MAX, NO_KEYS)
    const low = this.#halves[2] ?? 0
    const high = this.#halves[3] ?? 0
    const known = this.#memo.find(high, low)
    if (known !== null) {
      this.#answer('memo', known, question)
      return nothing
    }
    const key = digestKey(high, low)
    const pending = this.#pendingOf(key, own => {
      const task = {
        bytes: new Uint8Array(body.bytes),
        kind,
        tokenizer,
        root: BigUint64Array.of(root),
        blockSize,
      }
      return pool.submit(task, outcome => {
        if (typeof outcome !== 'string' && outcome.isLasting) this.#memo.keep(high, low, outcome)
        this.#forget(key, own)
        for (const waiter of own.waiters) if (waiter.isWaiting) waiter.settle(outcome)
      })
    })
    if (pending === null) {
      this.#options.meter.fallback('queue_full')
      return this.#byText(question)
    }
    const leave = this.#join(pending.waiters, outcome => {
      if (typeof outcome !== 'string') {
        this.#answer('pool', outcome, question)
        return
      }
      this.#options.meter.fallback(outcome)
      this.#byText(question)
    })
    return () => {
      leave()
      if (pending.waiters.some(waiter => waiter.isWaiting)) return
      pending.giveUp()
      this.#forget(key, pending)
    }
  }

  /** Those who wait for the same digest; the first one starts the task. Null: the queue is full. */
  #pendingOf(key: number, start: (own: Pending) => (() => void) | null): Pending | null {
    const held = this.#pending.get(key)
    if (held !== undefined) return held
    const own: Pending = { waiters: [], giveUp: nothing }
    const giveUp = start(own)
    if (giveUp === null) return null
    own.giveUp = giveUp
    this.#pending.set(key, own)
    return own
  }

  /** A task that was given up may be asked for again before it is over. */
  #forget(key: number, pending: Pending): void {
    if (this.#pending.get(key) === pending) this.#pending.delete(key)
  }

  #join(waiting: Waiter[], settle: (outcome: TokenOutcome) => void): () => void {
    const { setTimer, waitMsMax } = this.#options
    const waiter: Waiter = {
      isWaiting: true,
      settle: outcome => {
        waiter.isWaiting = false
        cancelTimer()
        settle(outcome)
      },
    }
    const cancelTimer = setTimer(() => waiter.settle('timeout'), waitMsMax)
    waiting.push(waiter)
    return () => {
      if (!waiter.isWaiting) return
      waiter.isWaiting = false
      cancelTimer()
    }
  }
}

/** Whether the array that starts at `start` holds no array first. */
function isFlat(bytes: Buffer, start: number): boolean {
  let at = start + 1
  while ((bytes[at] ?? 0) <= 0x20) at++
  return bytes[at] !== 0x5b
}
