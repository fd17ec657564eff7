/**
 * A reader of a log that another thread owns, or that nobody owns any more because it is kept.
 *
 *   owner appends --> mail LOG_ADVANCED, once --> advanced(): copy out, onBytes, until all is read
 *                                                  `-- all taken: the next append mails again
 *
 * Bytes are copied into this thread's own buffer. A reader that wants no more (onBytes returned
 * false) is left alone until it says ready; the log pauses its upstream when all its readers are
 * half the lag limit behind, and cuts a reader of a window log at the limit.
 */
import {
  FACT_END_CODE,
  FACT_SIZE,
  FACT_STATUS,
  FACT_WHOLE_END,
  FACT_WORDS,
  LOG_CUT,
  LOG_CUT_MEMORY,
  LOG_ENDED,
  LOG_EXPIRED,
  LOG_FULL,
  LOG_HAS_HEAD,
  LOG_MORE,
  LOG_REASON_BYTES_MAX,
  LOG_UNKNOWN,
  nativeLog,
} from '../native/response_log.ts'
import { decodeEnd, decodeHead } from './log_codec.ts'
import type { LogName } from './log_owner.ts'
import type { LogEnd, LogReader } from './log_reader.ts'
import { borrowScratch, returnScratch } from './scratch.ts'

/** Why a log cannot be followed: no such log, its bytes have gone, or too many read it. */
export type RefusedReader = 'unknown' | 'expired' | 'full'

const EMPTY = new Uint8Array(0)
const facts = new Uint32Array(FACT_WORDS)

export class RemoteReader {
  readonly #slot: number
  readonly #generation: number
  readonly #reader: LogReader
  readonly #onGone: () => void
  #index = 0
  #hasHead = false
  #isWanting = true
  #isReading = false
  #isGone = false

  constructor(name: LogName, reader: LogReader, onGone: () => void) {
    this.#slot = name.slot
    this.#generation = name.generation
    this.#reader = reader
    this.#onGone = onGone
  }

  attach(tenant: number, threadId: number, token: number, position: number): RefusedReader | null {
    nativeLog.logAttach(this.#slot, this.#generation, tenant, threadId, token, position, facts)
    const status = facts[FACT_STATUS] ?? 0
    if ((status & LOG_UNKNOWN) !== 0) return 'unknown'
    if ((status & LOG_EXPIRED) !== 0) return 'expired'
    if ((status & LOG_FULL) !== 0) return 'full'
    this.#index = facts[FACT_SIZE] ?? 0
    return null
  }

  /** Mail: there is something new. */
  advanced(): void {
    if (this.#isGone || this.#isReading) return
    this.#isReading = true
    this.#readHead()
    const scratch = borrowScratch()
    while (this.#readOnce(scratch)) continue
    returnScratch(scratch)
    this.#isReading = false
  }

  ready(): void {
    if (this.#isWanting) return
    this.#isWanting = true
    this.advanced()
  }

  detach(): void {
    if (this.#isGone) return
    this.#isGone = true
    nativeLog.logDetach(this.#slot, this.#generation, this.#index)
    this.#onGone()
  }

  /** True: there is more, and the reader wants it. A reader that wants nothing may still end. */
  #readOnce(scratch: Uint8Array): boolean {
    if (this.#isGone) return false
    const into = this.#isWanting ? scratch : EMPTY
    nativeLog.logRead(this.#slot, this.#generation, this.#index, into, facts)
    const status = facts[FACT_STATUS] ?? 0
    const size = facts[FACT_SIZE] ?? 0
    const endCode = facts[FACT_END_CODE] ?? 0
    const wholeEnd = facts[FACT_WHOLE_END] ?? 0
    if ((status & LOG_CUT) !== 0) {
      this.#finish({ kind: 'cut', reason: endCode === LOG_CUT_MEMORY ? 'memory' : 'lag' })
      return false
    }
    if ((status & LOG_HAS_HEAD) !== 0) this.#readHead()
    if (size > 0 && !this.#isGone) {
      this.#isWanting = this.#reader.onBytes(scratch.subarray(0, size), wholeEnd, 0)
    }
    if (this.#isGone) return false
    if ((status & LOG_ENDED) !== 0) {
      this.#finish(decodeEnd(endCode, this.#readReason()))
      return false
    }
    return this.#isWanting && (status & LOG_MORE) !== 0
  }

  #readHead(): void {
    if (this.#hasHead) return
    const scratch = borrowScratch()
    const size = nativeLog.logHead(this.#slot, this.#generation, scratch)
    const head = size === 0 ? null : decodeHead(scratch.subarray(0, size))
    returnScratch(scratch)
    if (head === null) return
    this.#hasHead = true
    this.#reader.onHead(head)
  }

  #readReason(): Uint8Array {
    const reason = new Uint8Array(LOG_REASON_BYTES_MAX)
    return reason.subarray(0, nativeLog.logReason(this.#slot, this.#generation, reason))
  }

  #finish(end: LogEnd): void {
    this.detach()
    this.#reader.onEnd(end)
  }
}
