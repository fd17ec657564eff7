/**
 * A response log as its owner sees it: the thread that has the upstream socket appends, and the
 * readers on that thread are called inside `append`. See native/response_log/log_table.h for
 * what is stored, and for the readers on other threads.
 *
 *   upstream --append--> scan for ends --> onBytes of each reader that keeps up (the very chunk)
 *                             |
 *                             `--> stored, when a reader lags, is remote, or the log is kept
 *                                      `--> ready(reader) feeds it from there, in 64 KB pieces
 *
 * A reader's states:
 *
 *   keeping up --onBytes returned false--> lagging at `bytes` --ready(), all fed--> keeping up
 *                                            |-- behind by lagBytesMax (window) --> cut
 *
 * Example, a window log with readers A and B: append(100) calls both; B returns false and lags at
 * 100; append(50) calls A, and [100, 150) is stored; ready(B) calls B with those 50 bytes, frees
 * them, and B keeps up. Had A returned false as well, the upstream would have been paused.
 *
 * The common case, one reader that keeps up in window mode, costs one native call and one
 * reader call per append; nothing is copied or allocated. What it does badly: readers are found
 * by a linear search, and each append looks at all of them, so a thousand readers of one log
 * cost a thousand calls per token.
 */
import {
  FACT_CLASSES,
  FACT_EVENTS_TOTAL,
  FACT_REMOTE_LAGGING,
  FACT_REMOTE_LIVE,
  FACT_SIZE,
  FACT_STATUS,
  FACT_WHOLE_END,
  appendFacts as facts,
  LOG_CUT,
  LOG_EXPIRED,
  LOG_IS_WINDOW,
  LOG_NO_FLOOR,
  LOG_PRIVATE,
  LOG_STOP_ASKED,
  nativeLog,
} from '../native/response_log.ts'
import { encodeEnd, encodeHead } from './log_codec.ts'
import { openLog, type ResponseLogOptions } from './log_options.ts'
import type { LogOwner } from './log_owner.ts'
import type { LogEnd, LogHead, LogKind, LogMode, LogReader, UpstreamFlow } from './log_reader.ts'
import { borrowScratch, returnScratch } from './scratch.ts'

/** A reader, and where it stands while it lags. */
interface Follower {
  readonly reader: LogReader
  position: number
  isLagging: boolean
  isFeeding: boolean
  isGone: boolean
}

const EMPTY = new Uint8Array(0)

function fact(index: number): number {
  return facts[index] ?? 0
}

export class ResponseLog {
  readonly kind: LogKind
  readonly tenant: number
  readonly slot: number
  readonly generation: number
  readonly lagBytesMax: number
  readonly #upstream: UpstreamFlow
  readonly #owner: LogOwner | null
  #bytes = 0
  #events = 0
  #isWindow: boolean
  #head: LogHead | null = null
  #end: LogEnd | null = null
  #followers: Follower[] = []
  #callDepth = 0
  #hasGone = false
  #lagging = 0
  #remoteLive = 0
  #remoteLagging = 0
  #isPaused = false
  #isClosed = false
  #isReleased = false
  #isUnsettled = false
  #floor = LOG_NO_FLOOR

  constructor(options: ResponseLogOptions) {
    this.kind = options.kind
    this.tenant = options.tenant
    this.lagBytesMax = options.lagBytesMax
    this.#upstream = options.upstream
    this.#owner = options.owner ?? null
    this.#isWindow = options.mode === 'window'
    const name = openLog(options, this.#owner?.threadId ?? LOG_PRIVATE)
    this.slot = name.slot
    this.generation = name.generation
    this.#owner?.add(this)
  }

  /** Bytes appended so far. */
  get bytes(): number {
    return this.#bytes
  }

  /** Events that have ended so far (`json`: 0). */
  get events(): number {
    return this.#events
  }

  /** A kept log that became too large is a window from then on. */
  get mode(): LogMode {
    return this.#isWindow ? 'window' : 'kept'
  }

  get isEnded(): boolean {
    return this.#end !== null
  }

  get isPaused(): boolean {
    return this.#isPaused
  }

  /** Readers of this and of other threads that have not gone. */
  get readers(): number {
    return this.#followers.length + this.#remoteLive
  }

  head(head: LogHead): void {
    if (this.#head !== null) throw new Error('a log has one head')
    this.#head = head
    if (this.#owner !== null) nativeLog.logSetHead(this.slot, this.generation, encodeHead(head))
    this.#callDepth++
    for (const follower of this.#followers.slice()) {
      if (!follower.isGone) follower.reader.onHead(head)
    }
    this.#callDepth--
    this.#sweep()
  }

  /** Hands the bytes to everybody; returns the classes of the events that ended, or-ed. */
  append(chunk: Uint8Array): number {
    if (this.#end !== null) throw new Error('append after the end of a log')
    if (this.#head === null) throw new Error('append before the head of a log')
    if (chunk.length === 0) return 0
    nativeLog.logAppend(this.slot, this.generation, chunk)
    const wholeEnd = fact(FACT_WHOLE_END)
    const classes = fact(FACT_CLASSES)
    const status = fact(FACT_STATUS)
    this.#bytes += chunk.length
    this.#events = fact(FACT_EVENTS_TOTAL)
    const remoteLagging = fact(FACT_REMOTE_LAGGING)
    let isChanged = remoteLagging !== this.#remoteLagging
    this.#remoteLive = fact(FACT_REMOTE_LIVE)
    this.#remoteLagging = remoteLagging
    if ((status & LOG_IS_WINDOW) !== 0) this.#isWindow = true
    const isMemoryOut = (status & LOG_CUT) !== 0
    if (this.#lagging > 0) isChanged = this.#cutLaggards(isMemoryOut) || isChanged
    const followers = this.#followers
    const count = followers.length
    this.#callDepth++
    for (let i = 0; i < count; i++) {
      const follower = followers[i]
      if (follower === undefined || follower.isGone || follower.isLagging) continue
      if (follower.reader.onBytes(chunk, wholeEnd, classes) || follower.isGone) continue
      follower.isLagging = true
      follower.position = this.#bytes
      this.#lagging++
      isChanged = true
    }
    this.#callDepth--
    if (this.#hasGone) this.#sweep()
    if (isChanged || this.#isUnsettled) this.#settle()
    return classes
  }

  /** Nothing more will come. Readers that lag are told after they have been fed. */
  end(end: LogEnd): void {
    if (this.#end !== null) throw new Error('a log ends once')
    const { code, reason } = encodeEnd(end)
    nativeLog.logEnd(this.slot, this.generation, code, reason, facts)
    this.#events = fact(FACT_EVENTS_TOTAL)
    this.#end = end
    this.#callDepth++
    for (const follower of this.#followers.slice()) {
      const hasAll = !follower.isLagging || follower.position === this.#bytes
      if (!follower.isGone && !follower.isFeeding && hasAll) this.#finish(follower, end)
    }
    this.#callDepth--
    this.#sweep()
  }

  /**
   * Attaches a reader at a position, from the start if none is given. It hears the head and what
   * is stored before this returns. False: the position has been freed, or is not there yet.
   */
  attach(reader: LogReader, position = 0): boolean {
    if (this.#find(reader) !== null) throw new Error('the reader is attached already')
    if (!(position >= 0 && position <= this.#bytes)) return false
    if (position < this.#bytes && !this.#isStored(position)) return false
    const isLagging = position < this.#bytes
    const follower = { reader, position, isLagging, isFeeding: false, isGone: false }
    this.#followers.push(follower)
    if (isLagging) {
      this.#lagging++
      this.#setFloor()
    }
    if (this.#head !== null) reader.onHead(this.#head)
    if (follower.isGone) return true
    if (isLagging) this.#feed(follower)
    else if (this.#end !== null) this.#finish(follower, this.#end)
    else this.#settle()
    this.#sweep()
    return true
  }

  /** A reader that returned false can take more: feeds it what is stored. */
  ready(reader: LogReader): void {
    const follower = this.#find(reader)
    if (follower === null || !follower.isLagging || follower.isFeeding) return
    this.#feed(follower)
  }

  /** The reader hears nothing more. When it was the last, the upstream is told. */
  detach(reader: LogReader): void {
    const follower = this.#find(reader)
    if (follower !== null) this.#leave(follower)
  }

  /** Gives up what a kept log holds beyond its readers' needs, for good. */
  turnToWindow(): void {
    nativeLog.logTurnToWindow(this.slot, this.generation)
    this.#isWindow = true
  }

  /** Position just after the given number of events, or -1 when it is not stored. */
  positionAfter(events: number): number {
    return nativeLog.logPositionAfter(this.slot, this.generation, events)
  }

  /** Makes the log findable by an id from every thread; false: the id is in use. */
  publish(id: string): boolean {
    if (this.#owner === null) throw new Error('a log without an owner cannot be published')
    return this.#owner.publish(this, id)
  }

  /** The owner is done with it. What readers still lag behind stays until they have it. */
  close(): void {
    if (this.#isClosed) return
    if (this.#end === null) this.end({ kind: 'failed', reason: 'closed' })
    this.#isClosed = true
    this.#owner?.remove(this)
    this.#releaseIfDone()
  }

  /** Mail from other threads: readers came, caught up or, if so said, left; or an end is asked. */
  reconsider(hasLeft: boolean): void {
    if (this.#end !== null) return
    const before = this.#remoteLive
    this.#countRemote()
    if ((fact(FACT_STATUS) & LOG_STOP_ASKED) !== 0) this.#upstream.stopped()
    if (this.isEnded) return
    if (this.readers === 0 && (hasLeft || before > 0)) this.#upstream.abandoned()
    this.#settle()
  }

  #find(reader: LogReader): Follower | null {
    for (const follower of this.#followers) {
      if (follower.reader === reader && !follower.isGone) return follower
    }
    return null
  }

  #isStored(position: number): boolean {
    nativeLog.logReadAt(this.slot, this.generation, position, EMPTY, facts)
    return (fact(FACT_STATUS) & LOG_EXPIRED) === 0
  }

  /** Feeds a lagging reader from its position until it has all or wants no more. */
  #feed(follower: Follower): void {
    follower.isFeeding = true
    this.#callDepth++
    const scratch = borrowScratch()
    let isWanting = true
    while (isWanting && !follower.isGone && follower.position < this.#bytes) {
      nativeLog.logReadAt(this.slot, this.generation, follower.position, scratch, facts)
      const size = fact(FACT_SIZE)
      const wholeEnd = fact(FACT_WHOLE_END)
      follower.position += size
      isWanting = follower.reader.onBytes(scratch.subarray(0, size), wholeEnd, 0)
    }
    returnScratch(scratch)
    this.#callDepth--
    follower.isFeeding = false
    if (!follower.isGone) {
      const hasAll = follower.position === this.#bytes
      if (hasAll && this.#end !== null) this.#finish(follower, this.#end)
      else if (hasAll && isWanting) {
        follower.isLagging = false
        this.#lagging--
      }
    }
    this.#sweep()
    this.#settle()
  }

  /** Cuts who is too far behind, or all laggards when memory is out. True: somebody was cut. */
  #cutLaggards(isMemoryOut: boolean): boolean {
    if (!isMemoryOut && !this.#isWindow) return false
    let isCut = false
    for (const follower of this.#followers.slice()) {
      if (follower.isGone || !follower.isLagging) continue
      const reason = isMemoryOut ? 'memory' : 'lag'
      if (!isMemoryOut && this.#bytes - follower.position <= this.lagBytesMax) continue
      this.#finish(follower, { kind: 'cut', reason })
      isCut = true
    }
    return isCut
  }

  #finish(follower: Follower, end: LogEnd): void {
    this.#drop(follower)
    follower.reader.onEnd(end)
  }

  #drop(follower: Follower): void {
    follower.isGone = true
    this.#hasGone = true
    if (follower.isLagging) this.#lagging--
  }

  #leave(follower: Follower): void {
    this.#drop(follower)
    this.#sweep()
    this.#settle()
  }

  /** Takes the gone out of the list, unless a loop over it is under way. */
  #sweep(): void {
    if (!this.#hasGone || this.#callDepth > 0) return
    this.#hasGone = false
    this.#followers = this.#followers.filter(follower => !follower.isGone)
    this.#setFloor()
    this.#releaseIfDone()
    if (this.#end !== null || this.#followers.length > 0) return
    this.#countRemote()
    if (this.#remoteLive === 0) this.#upstream.abandoned()
  }

  #countRemote(): void {
    facts[FACT_STATUS] = 0
    if (this.#owner === null) return
    nativeLog.logStat(this.slot, this.generation, facts)
    this.#remoteLive = fact(FACT_REMOTE_LIVE)
    this.#remoteLagging = fact(FACT_REMOTE_LAGGING)
  }

  #setFloor(): void {
    if (this.#isReleased) return
    let floor = LOG_NO_FLOOR
    for (const follower of this.#followers) {
      if (!follower.isLagging || follower.isGone) continue
      if (floor === LOG_NO_FLOOR || follower.position < floor) floor = follower.position
    }
    if (floor === this.#floor) return
    this.#floor = floor
    nativeLog.logSetFloor(this.slot, this.generation, floor)
  }

  /** Frees what nobody needs and lets the upstream run unless every live reader lags. */
  #settle(): void {
    this.#isUnsettled = this.#callDepth > 0
    if (this.#isUnsettled) return
    this.#setFloor()
    if (this.#end !== null) return
    const live = this.readers
    const isPaused = live > 0 && this.#lagging + this.#remoteLagging >= live
    if (isPaused === this.#isPaused) return
    this.#isPaused = isPaused
    if (this.#owner !== null) {
      const keepingUp = nativeLog.logSetPaused(this.slot, this.generation, isPaused)
      // A remote reader caught up between the facts and this call: no mail would come.
      if (isPaused && keepingUp > 0) {
        this.#isPaused = false
        nativeLog.logSetPaused(this.slot, this.generation, false)
        return
      }
    }
    if (isPaused) this.#upstream.pause()
    else this.#upstream.resume()
  }

  #releaseIfDone(): void {
    if (!this.#isClosed || this.#isReleased || this.#followers.length > 0) return
    this.#isReleased = true
    nativeLog.logRelease(this.slot, this.generation)
  }
}
