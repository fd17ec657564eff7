/**
 * Keeps one (node, rank) in step with its engine: which batches to apply, in which order, when to
 * ask for a replay, and when the engine was restarted. Pure: no socket, no clock, no decoding.
 *
 *            start / gap / reconnect                   end of replay, contiguous
 *     idle ───────────────────────────► replaying ───────────────────────────────► live
 *                  live frames wait in    │   ▲                                     │
 *                  a bounded buffer       └───┘ cut: ask again                      │
 *     any state: the sequence falls back, or a batch is not the one we know ─► restart: drop the
 *     blocks, then join from 0.
 *
 * The wire has no epoch, so a restarted engine shows itself in one of three ways: a live sequence
 * that falls back; a replay asked from our last batch that begins with another batch under the same
 * number (it has overtaken us already); or, after a reconnect, a replay that has nothing from there
 * on (it is behind us). That is why every replay asks from `last`, not from `last + 1`. A replay
 * may show it while frames of the engine before still come live: they are older than what is known
 * under their numbers, and dropped, until the first that is not.
 *
 * Worked example: applied up to 7. Live 10 arrives: a gap. 10 is buffered, a replay asked from 7;
 * it brings 7 (the very batch: same engine), 8, 9, then stops without its marker (the engine's send
 * limit). Asked again from 9: 9, 10, end. The buffer's 10 is a duplicate now, 11 follows live.
 *
 * A gap never clears what is known. What can not be recovered (no replay endpoint, ring
 * overrun, replay cut twice without progress, buffer full) sets `isDegraded` and goes on with what
 * is there: live batches never wait for a replay that may not come. Degraded ends with a restart,
 * or with a clear, after which the index is exact by itself; the doubt after a replay that was
 * given up ends as well when the live stream proves to continue without a gap.
 *
 * Bounds: the buffer by frames and bytes; replays of one gap by `GAP_REPLAYS_MAX`; re-asks by
 * progress. Silence is the transport's to notice (`replaySilent`).
 */

import { type Frame, isSame, KnownBatches } from './known_batches.ts'

/** Live frames held back during one replay; past it the replay is given up. */
export const BUFFER_FRAMES_MAX = 20_000
/** Bytes held back likewise: what one slow replay may cost the gateway for each rank. */
export const BUFFER_BYTES_MAX = 32 * 2 ** 20
/** Asks in a row that brought nothing new, after which a replay is given up. */
export const REPLAY_CUTS_MAX = 2
/** Replays in a row that each ended before the buffered frames, before the gap is accepted. */
export const GAP_REPLAYS_MAX = 2

/**
 * What became of a batch: `cleared` when it emptied the rank on its way, `lost` when it, or an
 * event of it, could not be read.
 */
export type Applied = 'applied' | 'cleared' | 'lost'

export interface SubscriberEffects {
  /** Applies one batch, in order. */
  apply(frame: Frame): Applied
  /** The engine was restarted: its blocks are gone. */
  dropBlocks(): void
  /** Asks for batches from `seq` on; ends one that runs. */
  startReplay(seq: number): void
  stopReplay(): void
}

export interface SubscriberCounts {
  applied: number
  duplicates: number
  gaps: number
  replays: number
  restarts: number
}

type Phase = 'idle' | 'replaying' | 'live'

export class Subscriber {
  readonly counts: SubscriberCounts
  readonly #effects: SubscriberEffects
  readonly #hasReplay: boolean
  /** What was applied of this engine's life. */
  readonly #known = new KnownBatches()
  #phase: Phase
  /** Batches were lost for good. */
  #hasLost: boolean
  /** A replay was given up: more may be missing than the live stream has shown so far. */
  #isUncertain: boolean
  /** Last sequence seen live; -1 before the first. */
  #lastLive: number
  #buffer: Frame[]
  #bufferBytes: number
  #replayFrom: number
  #sawFirst: boolean
  #hasProgress: boolean
  #cuts: number
  #gapReplays: number
  /** The connection was lost, and there is no new one yet. */
  #isUnverified: boolean
  /** Without a replay: the first frame of a new connection follows on, or the engine is another. */
  #mustContinue: boolean
  #isJoined: boolean
  /** A replay showed a restart: what is heard live may still be the engine's before it. */
  #mayBeLate: boolean

  constructor(effects: SubscriberEffects, hasReplay: boolean) {
    this.counts = { applied: 0, duplicates: 0, gaps: 0, replays: 0, restarts: 0 }
    this.#effects = effects
    this.#hasReplay = hasReplay
    this.#phase = 'idle'
    this.#hasLost = false
    this.#isUncertain = false
    this.#lastLive = -1
    this.#buffer = []
    this.#bufferBytes = 0
    this.#replayFrom = 0
    this.#sawFirst = false
    this.#hasProgress = false
    this.#cuts = 0
    this.#gapReplays = 0
    this.#isUnverified = false
    this.#mustContinue = false
    this.#isJoined = false
    this.#mayBeLate = false
  }

  get phase(): Phase {
    return this.#phase
  }

  /** Batches are missing that nothing has brought back. */
  get isDegraded(): boolean {
    return this.#hasLost || this.#isUncertain
  }

  /** Last batch applied; -1 before the first. */
  get last(): number {
    return this.#known.last
  }

  /** Something was heard of the engine: a batch, or a whole replay without any. */
  get isJoined(): boolean {
    return this.#isJoined
  }

  get buffered(): number {
    return this.#buffer.length
  }

  /** The live socket has a connection. The first time we join: a replay has what was before. */
  connected(): void {
    const wasLost = this.#isUnverified
    this.#isUnverified = false
    this.#cuts = 0
    if (!this.#hasReplay) {
      this.#mustContinue = wasLost
    } else if (wasLost || this.#phase === 'idle') {
      // Held frames are of the lost connection, or published before this replay: it has them.
      this.#buffer = []
      this.#bufferBytes = 0
      this.#lastLive = this.last
      this.#ask(Math.max(this.last, 0))
    }
  }

  /** It lost it: a new process may answer behind the same address, to be verified first. */
  disconnected(): void {
    this.#isUnverified = this.last >= 0 || this.#hasReplay
  }

  live(frame: Frame): void {
    if (this.#isPast(frame)) return
    if (!this.#mayBeLate) {
      if (this.#isOld(frame)) return
      this.#lastLive = frame.seq
    }
    // A frame may come before the news of the connection that brought it.
    const mustVerify = this.#isUnverified && this.#hasReplay
    if (this.#phase !== 'replaying' && !mustVerify) {
      this.#follow(frame, true)
      return
    }
    this.#hold(frame)
    if (this.#phase !== 'replaying') this.#ask(Math.max(this.last, 0))
    if (this.#buffer.length > BUFFER_FRAMES_MAX || this.#bufferBytes > BUFFER_BYTES_MAX) {
      this.#giveUp()
    }
  }

  /** One batch of the replay asked last. */
  replayed(frame: Frame): void {
    if (this.#phase !== 'replaying' || frame.seq < this.#replayFrom) return
    const isFirst = !this.#sawFirst
    this.#sawFirst = true
    if (frame.seq <= this.last) {
      // Another batch has the number of our last one: another engine that has overtaken us.
      if (this.#known.compare(frame) === 'other') this.#restart(null)
      return
    }
    if (!isFirst && frame.seq !== this.last + 1) {
      // A hole inside a replay: the sender dropped messages at its limit.
      this.#cut()
      return
    }
    // The batch we asked for has left the engine's ring: what came before is lost, or unverified.
    if (isFirst && frame.seq > this.#replayFrom) this.#hasLost = true
    this.#hasProgress = true
    this.#accept(frame)
  }

  /** The replay's end marker. */
  replayEnded(): void {
    if (this.#phase !== 'replaying') return
    const isEmpty = !this.#sawFirst && this.last >= 0
    if (isEmpty && this.#buffer.length === 0) {
      // Nothing at or past our last batch, and no live frame that says otherwise.
      this.#restart(null)
      return
    }
    this.#isUncertain = false
    this.#isJoined = true
    this.#phase = 'live'
    this.#drain(isEmpty)
  }

  /** No answer, or no more of it, for the idle time; or the replay socket failed. */
  replaySilent(): void {
    if (this.#phase === 'replaying') this.#cut()
  }

  #ask(from: number): void {
    this.#phase = 'replaying'
    this.#replayFrom = from
    this.#sawFirst = false
    this.#hasProgress = false
    this.counts.replays++
    this.#effects.startReplay(from)
  }

  #cut(): void {
    this.#cuts = this.#hasProgress ? 0 : this.#cuts + 1
    if (this.#cuts >= REPLAY_CUTS_MAX) this.#giveUp()
    else this.#ask(Math.max(this.last, 0))
  }

  #giveUp(): void {
    this.#effects.stopReplay()
    this.#isUncertain = true
    this.#phase = 'live'
    this.#drain(true)
  }

  #hold(frame: Frame): void {
    this.#buffer.push(frame)
    this.#bufferBytes += frame.payload.length
  }

  /**
   * Whether a live frame is a duplicate, to be dropped. A frame that proves a restart is handled
   * here too, and then counts as dealt with.
   */
  #isOld(frame: Frame): boolean {
    if (frame.seq > Math.max(this.last, this.#lastLive)) return false
    const isBuffered = this.#buffer.some(held => held.seq === frame.seq && isSame(held, frame))
    const known = isBuffered ? 'same' : this.#known.compare(frame)
    // Replayed ahead of the live stream, which is still on its way: not a fall back.
    const isAhead = frame.seq > this.#lastLive && this.#known.isNoNewer(frame)
    if (known === 'same' || (known === 'unknown' && isAhead)) {
      this.counts.duplicates++
      this.#lastLive = Math.max(this.#lastLive, frame.seq)
    } else {
      this.#restart(frame)
    }
    return true
  }

  /** Drops a frame of the engine before; the first that is none ends the doubt. */
  #isPast(frame: Frame): boolean {
    if (!this.#mayBeLate || this.last < 0) return false
    this.#mayBeLate = this.#known.isBehind(frame)
    if (this.#mayBeLate) this.counts.duplicates++
    return this.#mayBeLate
  }

  /** Applies a live frame, or deals with the gap before it. */
  #follow(frame: Frame, isNew: boolean): void {
    const expected = this.last + 1
    const isContinuous = frame.seq === expected
    const isOther = this.#mustContinue && !isContinuous
    this.#mustContinue = false
    if (isContinuous) {
      this.#gapReplays = 0
      this.#isUncertain = false
      this.#phase = 'live'
      this.#accept(frame)
      return
    }
    if (isOther) {
      this.#restart(frame)
      return
    }
    if (isNew) this.counts.gaps++
    if (!this.#hasReplay || this.#gapReplays >= GAP_REPLAYS_MAX) {
      // Publishers that count from 1 exist (they have no replay): nothing was before their first.
      if (this.last >= 0 || this.#hasReplay || frame.seq > 1) this.#hasLost = true
      this.#phase = 'live'
      this.#accept(frame)
      return
    }
    this.#gapReplays++
    this.#cuts = 0
    // Held before the ask: an answer may come while asking.
    this.#phase = 'replaying'
    this.#hold(frame)
    this.#ask(Math.max(this.last, 0))
  }

  /** Applies what was held back; `isFinal` accepts gaps instead of asking again. */
  #drain(isFinal: boolean): void {
    const held = this.#buffer
    this.#buffer = []
    this.#bufferBytes = 0
    this.#cuts = 0
    for (const [index, frame] of held.entries()) {
      const isLate = this.#known.isBehind(frame)
      if (!isLate) this.#lastLive = Math.max(this.#lastLive, frame.seq)
      if (isLate || this.#known.compare(frame) === 'same') {
        // The replay came as far as the live stream: the gap is closed.
        if (frame.seq <= this.last) this.#gapReplays = 0
        this.counts.duplicates++
      } else if (frame.seq <= this.last) {
        this.#restart(frame)
      } else if (isFinal && frame.seq !== this.last + 1) {
        this.#hasLost = true
        this.#accept(frame)
      } else {
        this.#follow(frame, false)
      }
      // The frame made us ask again: the rest waits with it.
      if (this.#phase === 'replaying') {
        for (const rest of held.slice(index + 1)) this.#hold(rest)
        return
      }
    }
  }

  #accept(frame: Frame): void {
    this.#known.add(frame)
    this.counts.applied++
    this.#isJoined = true
    const applied = this.#effects.apply(frame)
    if (applied === 'lost') this.#hasLost = true
    if (applied !== 'cleared') return
    // The rank holds nothing from before: whatever was lost no longer matters.
    this.#hasLost = false
    this.#isUncertain = false
  }

  #restart(first: Frame | null): void {
    this.counts.restarts++
    this.#effects.dropBlocks()
    this.#known.forget()
    this.#lastLive = -1
    this.#buffer = []
    this.#bufferBytes = 0
    this.#hasLost = false
    this.#isUncertain = false
    this.#mustContinue = false
    this.#mayBeLate = first === null && this.#hasReplay
    this.#cuts = 0
    this.#gapReplays = 0
    if (!this.#hasReplay) {
      if (first !== null) this.#follow(first, true)
      return
    }
    // The frame that showed it is in the replay too. It is not held: should it be a late one of the
    // engine before, it would show a restart again when the replay is over, and so for ever.
    this.#ask(0)
  }
}
