/**
 * The wait queue of one gateway thread: exchanges for which every eligible place is full.
 *
 *     route() saturated ──wait()──► queue (FIFO per model) ──attempt() placed──► gone
 *                                      │  full       ──► 429 slow_down, at once
 *                                      │  deadline   ──► 503 server_is_overloaded
 *                                      └─ cancel()   ──► gone (client left)
 *
 * A freed slot is a token: "somebody may try now". It goes to one thread that has waiters, in turn
 * among them, so that no thread starves behind the one that happens to finish more; a thread that
 * can not use it (other model, nobody left) hands it on, at most once round. The counters of
 * waiters are shared memory: a release on a quiet gateway costs one load per thread, no message.
 *
 * No wake is lost for long: an exchange counts itself as waiting before it tries a last time,
 * and a sweep tries the queue every `SWEEP_MS` while it is not empty, in case a message met a full
 * mailbox or a node came back.
 *
 * Order: an older waiter is tried first, and a model found full is not asked again in that pass, so
 * a queue behind one busy model neither blocks other models nor costs a decision per waiter.
 * Waiters that had tried nodes before (retries) are asked one by one, for their choice differs.
 */
import { OperatingError } from '../errors.ts'
import type { Clock } from './clock.ts'

/** Exchanges that may wait on one thread; each holds its request body, so this bounds memory. */
export const WAITING_ITEMS_MAX = 1024
/** Milliseconds a request may wait for a place: past it clients have mostly given up. */
export const WAIT_MS_MAX = 30_000
/** Milliseconds between two tries of a queue that nobody woke. */
export const SWEEP_MS = 250

/** Waiters of every gateway thread in shared memory, and the way to wake one of the threads. */
export interface WaitBoard {
  /** One counter a thread, over a SharedArrayBuffer. */
  readonly waiting: Int32Array
  /** Index of this thread. */
  readonly self: number
  /** Sends SLOT_FREED; false when the message could not be delivered. */
  wake(thread: number, slot: number, hops: number): boolean
}

/** The board of a thread that is alone. */
export function soloBoard(): WaitBoard {
  return { waiting: new Int32Array(1), self: 0, wake: () => false }
}

export interface WaitRequest {
  readonly model: string | null
  /** No node is excluded: a failure to place it speaks for its whole model. */
  readonly isFresh: boolean
  /** Places the exchange if it can; true when it is placed or needs no place any more. */
  attempt(): boolean
  refuse(error: OperatingError): void
}

export interface Waiter {
  /** The client left, or the exchange ended otherwise. Harmless when it waits no longer. */
  cancel(): void
}

export interface AdmissionOptions {
  readonly clock: Clock
  readonly board: WaitBoard
  readonly itemsMax: number
  readonly waitMsMax: number
}

interface Entry extends Waiter {
  readonly request: WaitRequest
  readonly deadlineMs: number
}

export class Admission {
  readonly #clock: Clock
  readonly #board: WaitBoard
  readonly #itemsMax: number
  readonly #waitMsMax: number
  readonly #queue: Set<Entry>
  readonly #byModel: Map<string | null, number>
  #elapsedMs: number
  #cancelTimer: (() => void) | null
  #turn: number
  /** For metrics: waits begun, refused because the queue was full, ended by the deadline. */
  waited: number
  rejected: number
  expired: number

  constructor(options: AdmissionOptions) {
    this.#clock = options.clock
    this.#board = options.board
    this.#itemsMax = options.itemsMax
    this.#waitMsMax = options.waitMsMax
    this.#queue = new Set()
    this.#byModel = new Map()
    this.#elapsedMs = 0
    this.#cancelTimer = null
    this.#turn = options.board.self
    this.waited = 0
    this.rejected = 0
    this.expired = 0
  }

  /** Exchanges that wait on this thread now. */
  get waiting(): number {
    return this.#queue.size
  }

  /** A newcomer must queue behind these, or it would overtake them. */
  hasWaiters(model: string | null): boolean {
    return this.#queue.size > 0 && (this.#byModel.get(model) ?? 0) > 0
  }

  /**
   * Queues the exchange and tries it once more. Returns null when that placed it, a waiter to
   * cancel, or the error when the queue is full.
   */
  wait(request: WaitRequest): Waiter | OperatingError | null {
    if (this.#queue.size >= this.#itemsMax) {
      this.rejected++
      return new OperatingError('slow_down', 'All nodes are busy and the wait queue is full.')
    }
    const isFirst = !this.hasWaiters(request.model)
    const entry: Entry = {
      request,
      deadlineMs: this.#elapsedMs + this.#waitMsMax,
      cancel: () => this.#remove(entry),
    }
    this.waited++
    this.#queue.add(entry)
    this.#byModel.set(request.model, (this.#byModel.get(request.model) ?? 0) + 1)
    Atomics.add(this.#board.waiting, this.#board.self, 1)
    // Counted first, tried after: a slot freed in between either sees the count or is seen here.
    if ((isFirst || !request.isFresh) && request.attempt()) {
      this.#remove(entry)
      return null
    }
    this.#arm()
    return entry
  }

  /** A lease of this thread was released: somebody may have its place. */
  slotFreed(slot: number): void {
    this.#passOn(slot, this.#board.waiting.length)
  }

  /** SLOT_FREED arrived from another thread. */
  receive(slot: number, hops: number): void {
    this.#clock.soon(() => {
      if (this.#tryAll() === 0 && hops > 0) this.#passOn(slot, hops)
    })
  }

  /** The fleet changed: nodes may have come back. */
  wakeAll(): void {
    if (this.#queue.size > 0) this.#clock.soon(() => void this.#tryAll())
  }

  #passOn(slot: number, hops: number): void {
    const { waiting, self } = this.#board
    for (let step = 1; step <= waiting.length; step++) {
      const thread = (this.#turn + step) % waiting.length
      if (Atomics.load(waiting, thread) <= 0) continue
      if (thread !== self && !this.#board.wake(thread, slot, hops - 1)) continue
      if (thread === self) this.receive(slot, hops - 1)
      this.#turn = thread
      return
    }
  }

  /** One pass from the oldest on; returns how many were placed. */
  #tryAll(): number {
    const full = new Set<string | null>()
    let placed = 0
    for (const entry of this.#queue) {
      const { request } = entry
      if (request.isFresh && full.has(request.model)) continue
      if (request.attempt()) {
        this.#remove(entry)
        placed++
      } else if (request.isFresh) {
        full.add(request.model)
        if (full.size === this.#byModel.size) break
      }
    }
    return placed
  }

  #remove(entry: Entry): void {
    if (!this.#queue.delete(entry)) return
    const { model } = entry.request
    const left = (this.#byModel.get(model) ?? 1) - 1
    if (left === 0) this.#byModel.delete(model)
    else this.#byModel.set(model, left)
    Atomics.sub(this.#board.waiting, this.#board.self, 1)
    if (this.#queue.size === 0 && this.#cancelTimer !== null) {
      this.#cancelTimer()
      this.#cancelTimer = null
    }
  }

  /** Deadlines count sweeps, not the wall clock, so a jump of that clock expires nobody. */
  #arm(): void {
    if (this.#cancelTimer !== null) return
    this.#cancelTimer = this.#clock.after(SWEEP_MS, () => {
      this.#cancelTimer = null
      this.#elapsedMs += SWEEP_MS
      this.#expire()
      this.#tryAll()
      if (this.#queue.size > 0) this.#arm()
    })
  }

  /** All wait equally long, so the oldest expires first; the scan ends at the first that stays. */
  #expire(): void {
    for (const entry of this.#queue) {
      if (entry.deadlineMs > this.#elapsedMs) return
      this.#remove(entry)
      this.expired++
      const message = 'No node became free in time.'
      entry.request.refuse(new OperatingError('server_is_overloaded', message))
    }
  }
}
