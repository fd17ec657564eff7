/**
 * A lease: one request's share of the load of one slot, from dispatch to its last byte.
 *
 *     acquire ──► prefill ──firstToken()──► decode ──┐
 *                    └──────────release()────────────┴──► released (for good)
 *
 * It is one object with one owner (the exchange), not a pair of calls, so the load of a slot
 * returns to its value before the request on every way out: end, error, abort, timeout, retry.
 * A second `release()` is a programmer's error and asserts; `firstToken()` is counted once, and one
 * that comes after the release (a late chunk of an aborted stream) is ignored.
 */
import assert from 'node:assert/strict'
import type { Member } from './roster.ts'

/** The part of `native/load_table` that routing uses. */
export interface LoadTable {
  /** Counts a request in, unless the slot already has `inFlightMax`. */
  acquire(slot: number, prefillTokens: number, blocks: number, inFlightMax: number): boolean
  firstToken(slot: number, prefillTokens: number): void
  release(slot: number, prefillTokensLeft: number, blocks: number): void
  /** Three words a slot: requests in flight, queued prefill tokens, decode blocks. */
  read(out: Float64Array, slotCount: number): void
}

/** Blocks that a slot was said to hold soon because of a lease; renewed until the first token. */
export interface LeasePrediction {
  readonly keys: BigUint64Array
  readonly count: number
  readonly ttlMs: number
  madeMs: number
}

/** Told of every lease's two turns: the router, which extends predictions and wakes waiters. */
export interface LeaseKeeper {
  firstToken(lease: Lease): void
  released(lease: Lease): void
}

/** Tokens, and blocks, that one lease counts in the table; a prompt is far below this. */
export const LEASE_TOKENS_MAX = 2 ** 24

export class Lease implements Member {
  readonly slot: number
  readonly prefillTokens: number
  readonly blocks: number
  /** What was predicted for it, until its first token; the router's own. */
  prediction: LeasePrediction | null = null
  rosterIndex = -1
  readonly #table: LoadTable
  readonly #keeper: LeaseKeeper
  #state: 'prefill' | 'decode' | 'released'

  private constructor(
    table: LoadTable,
    keeper: LeaseKeeper,
    slot: number,
    prefillTokens: number,
    blocks: number,
  ) {
    this.slot = slot
    this.prefillTokens = prefillTokens
    this.blocks = blocks
    this.#table = table
    this.#keeper = keeper
    this.#state = 'prefill'
  }

  /** null when the slot is at its limit: another thread may have taken the last place. */
  static acquire(
    table: LoadTable,
    keeper: LeaseKeeper,
    slot: number,
    prefillTokens: number,
    blocks: number,
    inFlightMax: number,
  ): Lease | null {
    assert(prefillTokens >= 0 && blocks >= 0, 'a lease counts no negative work')
    // Estimates of text-keyed prompts need not be whole.
    const tokens = Math.min(Math.ceil(prefillTokens), LEASE_TOKENS_MAX)
    const held = Math.min(Math.ceil(blocks), LEASE_TOKENS_MAX)
    if (!table.acquire(slot, tokens, held, inFlightMax)) return null
    return new Lease(table, keeper, slot, tokens, held)
  }

  get isReleased(): boolean {
    return this.#state === 'released'
  }

  get isPrefill(): boolean {
    return this.#state === 'prefill'
  }

  /** The first data-bearing chunk arrived: the prefill is done, the request decodes. */
  firstToken(): void {
    if (this.#state !== 'prefill') return
    this.#state = 'decode'
    this.#table.firstToken(this.slot, this.prefillTokens)
    this.#keeper.firstToken(this)
  }

  /** Exactly once, on every way out. */
  release(): void {
    assert(this.#state !== 'released', `the lease on slot ${this.slot} is released twice`)
    const left = this.#state === 'prefill' ? this.prefillTokens : 0
    this.#state = 'released'
    this.#table.release(this.slot, left, this.blocks)
    this.#keeper.released(this)
  }
}
