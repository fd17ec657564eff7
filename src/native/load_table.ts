/**
 * The load table: requests in flight, queued prefill tokens and decode blocks of every slot
 * (node, rank), process-wide and shared by all threads. See native/load_table/load_table.h.
 *
 * A lease is one `acquire` that returned true and exactly one `release`. A second release ends
 * the process: a table that is wrong would misplace every later request without a sign.
 */
import { addon } from './addon.ts'
import { SLOTS_MAX } from './limits.ts'

/** Words of one slot in `read`: in flight, queued prefill tokens, decode blocks. */
export const LOAD_WORDS = 3

/** Tokens or blocks of one lease; sums of all leases of a slot stay exact doubles. */
const LEASE_AMOUNT_MAX = 1 << 24

interface LoadAddon {
  loadAcquire(slot: number, prefillTokens: number, blocks: number, inFlightMax: number): boolean
  loadFirstToken(slot: number, prefillTokens: number): void
  loadRelease(slot: number, prefillTokensLeft: number, blocks: number): void
  loadRead(out: Float64Array, slotCount: number): void
  loadClear(slot: number): boolean
  loadDrainCheck(): number
}

// Decode boundary: the addon's exports are declared here and in no other place.
// oxlint-disable-next-line typescript/no-unsafe-type-assertion
const native = addon as LoadAddon

function checkSlot(slot: number): void {
  if (!(Number.isInteger(slot) && slot >= 0 && slot < SLOTS_MAX)) {
    throw new TypeError(`slot must be an integer from 0 to ${SLOTS_MAX - 1}, got ${slot}`)
  }
}

function checkAmount(name: string, amount: number): void {
  if (!(Number.isInteger(amount) && amount >= 0 && amount <= LEASE_AMOUNT_MAX)) {
    throw new TypeError(`${name} must be an integer from 0 to ${LEASE_AMOUNT_MAX}, got ${amount}`)
  }
}

export const loadTable = {
  /** Takes one place and adds the lease's work; false when `inFlightMax` run already. */
  acquire(slot: number, prefillTokens: number, blocks: number, inFlightMax: number): boolean {
    checkSlot(slot)
    checkAmount('prefillTokens', prefillTokens)
    checkAmount('blocks', blocks)
    checkAmount('inFlightMax', inFlightMax)
    return native.loadAcquire(slot, prefillTokens, blocks, inFlightMax)
  },

  /** The lease's prefill is over: it decodes from here on. */
  firstToken(slot: number, prefillTokens: number): void {
    checkSlot(slot)
    checkAmount('prefillTokens', prefillTokens)
    native.loadFirstToken(slot, prefillTokens)
  },

  /** Gives back the place, the blocks, and the prefill tokens if no first token came. */
  release(slot: number, prefillTokensLeft: number, blocks: number): void {
    checkSlot(slot)
    checkAmount('prefillTokensLeft', prefillTokensLeft)
    checkAmount('blocks', blocks)
    native.loadRelease(slot, prefillTokensLeft, blocks)
  },

  /** Fills `LOAD_WORDS` words a slot, from slot 0. */
  read(out: Float64Array, slotCount: number): void {
    if (!(Number.isInteger(slotCount) && slotCount >= 0 && slotCount <= SLOTS_MAX)) {
      throw new TypeError(`slotCount must be an integer from 0 to ${SLOTS_MAX}, got ${slotCount}`)
    }
    if (out.length < slotCount * LOAD_WORDS) {
      throw new TypeError(`out must have ${slotCount * LOAD_WORDS} words, has ${out.length}`)
    }
    native.loadRead(out, slotCount)
  },

  /** True when no lease of the slot is out, so that it may be given to another node. */
  clear(slot: number): boolean {
    checkSlot(slot)
    return native.loadClear(slot)
  },

  /** Sum of all words of all slots: zero when no lease is out. For tests and shutdown. */
  drainCheck(): number {
    return native.loadDrainCheck()
  },
}
