/**
 * The wait queues of all gateway threads as one of them sees them: how many wait on each, and how
 * to wake another. Counters and mailbox numbers are shared memory, one word a thread; a wake goes
 * through the native mailbox.
 */
import {
  closeMailbox,
  MAIL_LOST,
  MAIL_SLOT_FREED,
  MAIL_WORDS,
  openMailbox,
  postMail,
} from '../native/mailbox.ts'
import type { WaitBoard } from '../routing/admission.ts'

/** What the board hears from other threads. */
export interface WaitMail {
  /** A slot was freed and passed on. */
  freed(slot: number, hops: number): void
  /** Some mail did not fit into the box: look at everything. */
  lost(): void
  /** Mail about response logs; `lost` comes here as well. */
  aboutLogs(kind: number, a: number, b: number, c: number): void
}

export class SharedWaitBoard implements WaitBoard {
  readonly waiting: Int32Array
  readonly self: number
  /** This thread's mailbox, the name under which logs know it. */
  readonly mailbox: number
  readonly #mailboxes: Int32Array

  constructor(
    self: number,
    waiting: SharedArrayBuffer,
    mailboxes: SharedArrayBuffer,
    mail: WaitMail,
  ) {
    this.self = self
    this.waiting = new Int32Array(waiting)
    this.#mailboxes = new Int32Array(mailboxes)
    this.mailbox = openMailbox((words, count) => {
      for (let at = 0; at < count * MAIL_WORDS; at += MAIL_WORDS) {
        const [kind = 0, a = 0, b = 0, c = 0] = words.subarray(at, at + MAIL_WORDS)
        if (kind === MAIL_SLOT_FREED) mail.freed(a, b)
        else mail.aboutLogs(kind, a, b, c)
        if (kind === MAIL_LOST) mail.lost()
      }
    })
    Atomics.store(this.#mailboxes, self, this.mailbox)
  }

  wake(thread: number, slot: number, hops: number): boolean {
    const mailbox = Atomics.load(this.#mailboxes, thread)
    return mailbox > 0 && postMail(mailbox, MAIL_SLOT_FREED, slot, hops, 0)
  }

  close(): void {
    Atomics.store(this.#mailboxes, this.self, 0)
    closeMailbox()
  }
}
