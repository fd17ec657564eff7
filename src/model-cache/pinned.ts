/**
 * Which changes of the source are not taken over yet.
 *
 *   pin_generation   a model stays as it was when the first of its files was opened, until the last
 *                    is closed and unmapped and PIN_MS more have passed: a loader opens shard after
 *                    shard, with moments in which it has none open, and must not mix two versions
 *   on_delete: keep  a file that the source no longer has stays as long as it is in memory
 *
 * A model is a folder. Bytes of a pinned version that nobody has any more are an error to whoever
 * wants them, never those of the next version.
 */
import path from 'node:path'
import type { Front } from './front.ts'
import type { Slot } from './slot.ts'

/** Milliseconds after the last use of a model's file in which its loader may open another. */
export const PIN_MS = 5_000

export const DELETED = ['error', 'keep'] as const

export interface HoldRules {
  readonly pinsGeneration: boolean
  readonly onDelete: (typeof DELETED)[number]
}

export const NO_HOLDS: HoldRules = { pinsGeneration: false, onDelete: 'error' }

/** The model that an entry belongs to: a file to its folder, a folder to itself. */
function isOfModel(slot: Slot, name: string): boolean {
  return slot.model === path.posix.dirname(name) || slot.model === (name === '' ? '.' : name)
}

/** Whether it is the named entry or lies in it; '' is everything. */
export function isBelow(file: string, name: string): boolean {
  return file === name || name === '' || file.startsWith(`${name}/`)
}

/** Whether what changed at this path has to wait. */
export function isHeldBack(
  rules: HoldRules,
  name: string,
  isGone: boolean,
  slots: ReadonlyMap<string, Slot>,
  front: Front,
): boolean {
  const keeps = isGone && rules.onDelete === 'keep'
  if (!keeps && !rules.pinsGeneration) return false
  for (const slot of slots.values()) {
    if (keeps && slot.state === 'resident' && isBelow(slot.file.path, name)) return true
    if (rules.pinsGeneration && isOfModel(slot, name) && front.isInUse(slot)) return true
  }
  return false
}
