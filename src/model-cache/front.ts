/**
 * How resident files reach their readers. Three fronts exist: FUSE (fuse_front.ts), a plain folder
 * in which whole files appear by rename (folder_front.ts), and none, for a warm-up that only
 * serves other members.
 */
import { closeSync } from 'node:fs'
import type { Slot } from './slot.ts'
import type { Tree } from './tree.ts'

export interface Front {
  readonly mode: 'passthrough' | 'copy' | 'tmpfs' | 'none'
  /** The tree has other entries now; slots of new files are absent. */
  treeChanged(tree: Tree): void
  /** Every byte is there and verified. The front owns the slot's descriptor from now on. */
  publish(slot: Slot): void
  /** The file does not fit: show the source's own bytes. */
  bypass(slot: Slot): Promise<void>
  /** Its path leads to other bytes from now on: who waits for these reads them at `fd`. */
  showLast(slot: Slot, fd: number): void
  /** It could not be loaded: whoever waits gets an error. */
  fail(slot: Slot, message: string): void
  /** A chunk of a file that somebody may be waiting for has come. */
  progress(slot: Slot): void
  /** Whether somebody reads the file, or did a moment ago, as far as this front can know. */
  isInUse(slot: Slot): boolean
  /** Ends a published file and closes its descriptor; forced: its version is gone anyway. */
  evict(slot: Slot, isForced: boolean): 'evicted' | 'busy'
  /** Takes over what is known of recent opens, before somebody is chosen to go. */
  refresh(slots: Iterable<Slot>): void
}

/** Closes the descriptor that a slot owns. */
export function closeSlot(slot: Slot): void {
  if (slot.fd === null) return
  closeSync(slot.fd)
  slot.fd = null
}

export function noFront(): Front {
  return {
    mode: 'none',
    treeChanged: () => {},
    publish: () => {},
    bypass: async () => {},
    showLast: () => {},
    fail: () => {},
    progress: () => {},
    isInUse: () => false,
    refresh: () => {},
    evict: slot => {
      closeSlot(slot)
      return 'evicted'
    },
  }
}
