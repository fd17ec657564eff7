/**
 * Writes of one turn, gathered: a node's read often holds several HTTP chunks, and undici hands
 * each on by itself. Sent one by one, every token costs a system call; gathered until the read's
 * callback has ended, they leave in one send.
 *
 *     socket read ──► chunk, chunk, chunk ──► marks its stream ──► next tick: one cork a stream
 *
 * One tick callback serves all streams that were marked in the same turn. A chunk waits for the end
 * of its own read only, never for a timer or for another socket.
 */

export interface Flushable {
  flush(): void
}

let marked: Flushable[] = []
let flushing: Flushable[] = []

function flushAll(): void {
  const streams = marked
  marked = flushing
  flushing = streams
  for (const stream of streams) stream.flush()
  streams.length = 0
}

/** Flushes the stream after the callback that is running now; mark it once a turn. */
export function flushSoon(stream: Flushable): void {
  if (marked.push(stream) === 1) process.nextTick(flushAll)
}
