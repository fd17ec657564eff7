/**
 * What a log says to its readers, and what it asks of its upstream.
 *
 * A reader is called synchronously, in this order: onHead once, onBytes any number of times,
 * onEnd once. After onEnd, and after it was detached, it is not called any more.
 */

export type LogKind = 'sse' | 'json'
export type LogMode = 'window' | 'kept'

/** Status and headers of the response. */
export interface LogHead {
  readonly status: number
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>
}

/** Whether what follows the head is a stream of server-sent events. */
export function isEventStream({ headers }: Pick<LogHead, 'headers'>): boolean {
  const type = headers['content-type']
  return typeof type === 'string' && type.startsWith('text/event-stream')
}

/**
 * How a log ended for a reader.
 *
 * `complete`: the upstream said all it had to say. `failed`: it did not, and why; `isTold`: the
 * last event says so. `cancelled`: the exchange was stopped on purpose. `cut`: the log goes on but
 * this reader does not, since it was too far behind (`lag`) or the memory that it needed is out
 * (`memory`).
 */
export type LogEnd =
  | { readonly kind: 'complete' }
  | { readonly kind: 'failed'; readonly reason: string; readonly isTold?: boolean }
  | { readonly kind: 'cancelled' }
  | { readonly kind: 'cut'; readonly reason: 'lag' | 'memory' }

export interface LogReader {
  onHead(head: LogHead): void
  /**
   * Bytes in order. `wholeEnd` is the offset in `chunk` just after the last event that ended in
   * it, 0 if none did (`json`: the chunk's length). `classes` are those of the events that ended
   * in it, or-ed, so that a writer can end the stream in the same send as its last event; they are
   * 0 for bytes that were stored meanwhile. The chunk is valid during the call only.
   *
   * The bytes are taken in any case. False: no more for now; the reader says `ready` later. A
   * `ready` during this call counts for nothing.
   */
  onBytes(chunk: Uint8Array, wholeEnd: number, classes: number): boolean
  onEnd(end: LogEnd): void
}

/** The upstream as a log steers it. */
export interface UpstreamFlow {
  /** Every live reader lags. */
  pause(): void
  /** One keeps up again. */
  resume(): void
  /** The last live reader has gone, and the log has not ended. */
  abandoned(): void
  /** Somebody asked for the work to end; may be said more than once. */
  stopped(): void
}
