/**
 * Writes of one turn of the event loop, gathered.
 *
 *     socket read ──► piece ──► marks its stream ─┐
 *     socket read ──► piece ──► marks its stream ─┴─► behind the reads: one cork a stream
 *
 * Two things are saved. A turn often reads a node's socket several times, which leaves in one send.
 * And a send to a socket whose reader sleeps wakes it, which costs more than the rest of the send:
 * sends in a row find the reader's processor awake. On two cores in a closed loop that was a fifth
 * of a short request's processor time, in a noisy run; with other loads it may be nothing.
 *
 * A piece waits for the reads of its own turn, never for a timer; and for at most
 * `WRITES_GATHERED_MAX` other streams, so that a turn with hundreds of tokens does not hold back
 * its first. The turn's first whole body waits for nothing: there is no more to come for it.
 *
 * Tokens in the middle of a stream do not pass here: what waits has to be copied and listed, which
 * was 1.3 of 32 µs for each of 500 paced streams (two builds in turn), and saved nothing there.
 */
import { nextTick } from 'node:process'

/** Streams that are written together; 16 reads take some 0.5 ms, which is what a chunk may wait. */
const WRITES_GATHERED_MAX = 16

export interface Flushable {
  flush(): void
}

let marked: Flushable[] = []
/** Something was written or marked in this turn already. */
let isGathering = false

function endTurn(): void {
  isGathering = false
  flushAll()
}

function begin(): void {
  isGathering = true
  setImmediate(endTurn)
}

function flushAll(): void {
  const streams = marked
  // A new array is cheaper than emptying this one, which is a call into the runtime.
  marked = []
  for (const stream of streams) stream.flush()
}

/** Flushes the stream in this turn, behind the callback that is running now; mark it once. */
export function flushSoon(stream: Flushable): void {
  if (!isGathering) begin()
  if (marked.push(stream) === WRITES_GATHERED_MAX) nextTick(flushAll)
}

/** Flushes the turn's first stream at once; false: others were before it, and it has to wait. */
export function flushFirst(stream: Flushable): boolean {
  if (isGathering) return false
  begin()
  stream.flush()
  return true
}
