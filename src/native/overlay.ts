/**
 * Predictions of which slot will soon hold which blocks: one bounded, lossy table of the process,
 * written by all threads. See native/overlay/overlay.h.
 *
 * It serves two ends: siblings of a request that was just placed find its node before the node's
 * events say so (a life of seconds); and it is all there is about a node without events (a life
 * of minutes, bounded by `setCapacity` to the node's number of blocks).
 */
import { addon } from './addon.ts'
import { SLOT_BLOCKS_MAX, SLOTS_MAX } from './limits.ts'

/** Longest life of a prediction; the table's clock wraps after 4.6 hours. */
export const PREDICTION_TTL_MS_MAX = 3_600_000

interface OverlayAddon {
  overlayPredict(
    slot: number,
    keys: BigUint64Array,
    count: number,
    nowMs: number,
    ttlMs: number,
  ): void
  overlaySetCapacity(slot: number, blocks: number): void
  overlayForget(slot: number): void
  overlayMatch(
    keys: BigUint64Array,
    count: number,
    nowMs: number,
    outSlots: Uint32Array,
    outDepths: Uint32Array,
  ): number
  matchPrefix(
    indexId: number,
    keys: BigUint64Array,
    count: number,
    nowMs: number,
    outSlots: Uint32Array,
    outDepths: Uint32Array,
    outIndexDepths: Uint32Array,
  ): number
}

// Decode boundary: the addon's exports are declared here and in no other place.
// oxlint-disable-next-line typescript/no-unsafe-type-assertion
const native = addon as OverlayAddon

function checkInteger(name: string, value: number, max: number): void {
  if (!(Number.isInteger(value) && value >= 0 && value <= max)) {
    throw new TypeError(`${name} must be an integer from 0 to ${max}, got ${value}`)
  }
}

function checkTime(name: string, value: number, max: number): void {
  if (!(value >= 0 && value <= max)) {
    throw new TypeError(`${name} must be from 0 to ${max} ms, got ${value}`)
  }
}

function checkOutput(name: string, out: Uint32Array): void {
  if (out.length < SLOTS_MAX) {
    throw new TypeError(`${name} must have ${SLOTS_MAX} words (one a slot), has ${out.length}`)
  }
}

export const overlay = {
  /** The slot will hold these blocks (keys from position 0) until `nowMs + ttlMs`. */
  predict(slot: number, keys: BigUint64Array, count: number, nowMs: number, ttlMs: number): void {
    checkInteger('slot', slot, SLOTS_MAX - 1)
    checkInteger('count', count, keys.length)
    checkTime('nowMs', nowMs, Number.MAX_SAFE_INTEGER)
    checkTime('ttlMs', ttlMs, PREDICTION_TTL_MS_MAX)
    native.overlayPredict(slot, keys, count, nowMs, ttlMs)
  },

  /**
   * The slot's node has room for this many blocks: a prediction with at least as many newer
   * insertions of the slot is gone. 0: no bound but the table's own and the time.
   */
  setCapacity(slot: number, blocks: number): void {
    checkInteger('slot', slot, SLOTS_MAX - 1)
    checkInteger('blocks', blocks, SLOT_BLOCKS_MAX)
    native.overlaySetCapacity(slot, blocks)
  },

  /** All predictions of the slot are void at once (its node restarted or left). */
  forget(slot: number): void {
    checkInteger('slot', slot, SLOTS_MAX - 1)
    native.overlayForget(slot)
  },

  /** Slots with a prediction for a prefix of the keys, and its depth; returns how many. */
  match(
    keys: BigUint64Array,
    count: number,
    nowMs: number,
    outSlots: Uint32Array,
    outDepths: Uint32Array,
  ): number {
    checkInteger('count', count, keys.length)
    checkTime('nowMs', nowMs, Number.MAX_SAFE_INTEGER)
    checkOutput('outSlots', outSlots)
    checkOutput('outDepths', outDepths)
    return native.overlayMatch(keys, count, nowMs, outSlots, outDepths)
  },
}

/**
 * Index and overlay in one call: each slot that has either, with the deeper of the two in
 * `outDepths` and the index's own depth in `outIndexDepths` (0: predicted only). Returns how many
 * slots. `indexId` 0: no index, predictions alone. Outputs have `SLOTS_MAX` words.
 */
export function matchPrefix(
  indexId: number,
  keys: BigUint64Array,
  count: number,
  nowMs: number,
  outSlots: Uint32Array,
  outDepths: Uint32Array,
  outIndexDepths: Uint32Array,
): number {
  checkInteger('indexId', indexId, 0xffffffff)
  checkInteger('count', count, keys.length)
  checkTime('nowMs', nowMs, Number.MAX_SAFE_INTEGER)
  checkOutput('outSlots', outSlots)
  checkOutput('outDepths', outDepths)
  checkOutput('outIndexDepths', outIndexDepths)
  return native.matchPrefix(indexId, keys, count, nowMs, outSlots, outDepths, outIndexDepths)
}
