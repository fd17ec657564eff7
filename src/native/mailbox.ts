/**
 * Mailboxes: one per thread, through which other threads say that there is something to look at.
 * See native/mailbox/mailbox.h.
 *
 * A message is a hint of four words, `[kind, a, b, c]`; what it is about lies in native memory.
 * When a box was full, mail was lost and the next batch begins with `MAIL_LOST`: look at
 * everything then. The owner of the thread opens the box once and hands messages to the rooms.
 */
import { addon } from './addon.ts'

/** Some mail did not fit: look at everything you wait for. */
export const MAIL_LOST = 0
/** a = the remote reader's token, b, c = name of the log: there are bytes, a head or an end. */
export const MAIL_LOG_ADVANCED = 1
/** a, b = name of a log that you own: a remote reader has left it. */
export const MAIL_CANCEL = 2
/** a, b = name of a log that you own: a remote reader has caught up. */
export const MAIL_RESUME_UPSTREAM = 3
/** a = slot in which a place has become free: try your wait queue. */
export const MAIL_SLOT_FREED = 4
/** Words are the sender's: run an exchange for another thread. */
export const MAIL_START_EXCHANGE = 5
/** a, b = name of a log that you own: somebody wants its work to end. */
export const MAIL_STOP = 6

export const MAIL_WORDS = 4
/** Messages handed over in one call of `onBatch`. */
const MAIL_BATCH_ITEMS_MAX = 512
/** Batches in one turn of the event loop; the rest waits, so that a flood starves nobody. */
const MAIL_BATCHES_MAX = 16
/** What the addon returns when `MAIL_THREADS_MAX` (256) boxes are open. */
const NO_THREAD = 0xffffffff

interface MailAddon {
  mailOpen(onWake: () => void, keepsAlive: boolean): number
  mailClose(): void
  mailPost(threadId: number, kind: number, a: number, b: number, c: number): boolean
  mailArm(threadId: number): void
  mailDrain(threadId: number, out: Uint32Array): number
}

// Decode boundary: the addon's exports are declared here and in no other place.
// oxlint-disable-next-line typescript/no-unsafe-type-assertion
const native = addon as MailAddon

/** Hears of `count` messages, `MAIL_WORDS` words each; the array is reused after the call. */
export type MailListener = (words: Uint32Array, count: number) => void

let isOpen = false

/**
 * Opens this thread's mailbox and returns the thread's id. The box does not keep the thread
 * alive unless asked to.
 */
export function openMailbox(onBatch: MailListener, keepsAlive = false): number {
  if (typeof onBatch !== 'function') throw new TypeError('onBatch must be a function')
  if (isOpen) throw new TypeError('this thread has opened its mailbox already')
  const words = new Uint32Array(MAIL_BATCH_ITEMS_MAX * MAIL_WORDS)
  const onWake = (): void => {
    native.mailArm(threadId)
    for (let batch = 0; batch < MAIL_BATCHES_MAX; batch++) {
      const count = native.mailDrain(threadId, words)
      if (count === 0) return
      onBatch(words, count)
    }
    setImmediate(onWake)
  }
  const threadId = native.mailOpen(onWake, keepsAlive)
  if (threadId === NO_THREAD) throw new Error('no mailbox left: too many threads')
  isOpen = true
  return threadId
}

/** Closes this thread's mailbox; waiting mail is dropped and later posts to it return false. */
export function closeMailbox(): void {
  native.mailClose()
  isOpen = false
}

/** Posts to any thread's mailbox; false when it is full or closed. */
export function postMail(threadId: number, kind: number, a: number, b: number, c: number): boolean {
  return native.mailPost(threadId, kind, a, b, c)
}
