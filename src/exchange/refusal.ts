/**
 * What a node's refusal means: a full queue, a fault of the node, or the client's own business.
 *
 * vLLM answers a full queue (`--max-num-queued-reqs`) with 503 before it has done any work:
 * `{"error":{"message":"The engine is currently busy…","type":"Service Unavailable",…}}`. Such a
 * request may go to another node at once, and the node is not unhealthy for it. Other 5xx count
 * against the node's breaker; 4xx, 429 included, never do.
 */

/** Bytes of a 429 or 5xx body that are read before the reply is passed on instead of retried. */
const STATUS_BODY_BYTES_MAX = 65_536

/** The body of a 429 or 5xx reply while it is being read. */
export class Refusal {
  readonly pieces: Buffer[] = []
  #bytes = 0

  /** False: it is too long to wait for its end. */
  push(chunk: Buffer): boolean {
    this.pieces.push(Buffer.from(chunk))
    this.#bytes += chunk.length
    return this.#bytes <= STATUS_BODY_BYTES_MAX
  }

  get isQueueFull(): boolean {
    return isQueueFull(Buffer.concat(this.pieces))
  }
}

function isQueueFull(body: Buffer): boolean {
  try {
    const decoded: unknown = JSON.parse(body.toString('utf8'))
    if (typeof decoded !== 'object' || decoded === null || !('error' in decoded)) return false
    const { error } = decoded
    if (typeof error !== 'object' || error === null || !('type' in error)) return false
    return error.type === 'Service Unavailable'
  } catch {
    return false
  }
}

export function outcomeOf(status: number, isFull: boolean): 'status5xx' | 'ok' {
  return status >= 500 && !isFull ? 'status5xx' : 'ok'
}
