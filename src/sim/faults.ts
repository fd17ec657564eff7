/**
 * Faults on demand: what a node can be told to do wrong, and for how long.
 *
 * Request faults wait in a list and are applied to requests that fit, the oldest fault first; one
 * with `times` is used up. They touch inference calls (POST) unless `path` names another route.
 * Node faults (refuse, freeze, restart …) take effect when they are added.
 *
 *   refuse             the listener is closed, connections are reset
 *   stall              accepted, read, never answered
 *   slow_first_byte    `ms` late
 *   die                after `events` events of a stream, or before a plain reply, the socket goes
 *   cut                the stream ends properly, without finish reason and `[DONE]`
 *   stream_error       after `events` events an error event, then `[DONE]`
 *   empty_done         200, `[DONE]`, no token
 *   status             an answer in vLLM's error shape
 *   queue_full         the 503 of a full engine queue
 *   freeze, sleep      requests are accepted and hang
 *   restart            new process in place: cache empty, event sequence from 0
 *   kv_drop, kv_duplicate, kv_delay, kv_flush, replay_cut   on the event sockets of every rank
 */
import { z } from 'zod'

/** Requests a fault applies to; the default is all of them until `clear`. */
const times = z.number().int().positive().optional()
/** Begin of the paths it applies to. */
const pathPrefix = z.string().optional()
const events = z.number().int().nonnegative().default(1)
const batches = z.number().int().positive().default(1)

const requestFaultSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('stall'), times, path: pathPrefix }),
  z.strictObject({
    kind: z.literal('slow_first_byte'),
    ms: z.number().positive(),
    times,
    path: pathPrefix,
  }),
  z.strictObject({
    kind: z.literal('die'),
    events: z.number().int().nonnegative().default(0),
    how: z.enum(['rst', 'fin']).default('rst'),
    times,
    path: pathPrefix,
  }),
  z.strictObject({ kind: z.literal('cut'), events, times, path: pathPrefix }),
  z.strictObject({ kind: z.literal('stream_error'), events, times, path: pathPrefix }),
  z.strictObject({ kind: z.literal('empty_done'), times, path: pathPrefix }),
  z.strictObject({
    kind: z.literal('status'),
    status: z.number().int().min(400).max(599),
    message: z.string().optional(),
    type: z.string().optional(),
    /** Seconds in `Retry-After`; left out, there is none. */
    retryAfter: z.number().optional(),
    times,
    path: pathPrefix,
  }),
  z.strictObject({ kind: z.literal('queue_full'), times, path: pathPrefix }),
])

const nodeFaultSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('refuse') }),
  z.strictObject({ kind: z.literal('freeze') }),
  z.strictObject({ kind: z.literal('sleep') }),
  z.strictObject({ kind: z.literal('wake') }),
  z.strictObject({
    kind: z.literal('restart'),
    /** Milliseconds for which the listener is closed. */
    downMs: z.number().nonnegative().default(0),
    /**
     * The new process has announced as many batches as the old one, and this many more, before
     * anybody hears of it; left out, its first batch is heard with number 0.
     */
    overtakeBy: z.number().int().nonnegative().optional(),
  }),
  z.strictObject({ kind: z.literal('kv_drop'), batches }),
  z.strictObject({ kind: z.literal('kv_duplicate'), batches }),
  z.strictObject({ kind: z.literal('kv_delay'), batches }),
  z.strictObject({ kind: z.literal('kv_flush'), isReversed: z.boolean().default(false) }),
  z.strictObject({ kind: z.literal('replay_cut'), batches: z.number().int().nonnegative() }),
  /** Ends every fault. */
  z.strictObject({ kind: z.literal('clear') }),
])

export const faultSchema = z.union([requestFaultSchema, nodeFaultSchema])

export type RequestFault = z.output<typeof requestFaultSchema>
export type NodeFault = z.output<typeof nodeFaultSchema>
export type Fault = z.input<typeof faultSchema>

/** Faults waiting at most; a test that adds more has lost count. */
const WAITING_FAULTS_MAX = 1000

const REQUEST_KINDS: ReadonlySet<string> = new Set(
  requestFaultSchema.options.map(option => option.shape.kind.value),
)

export function isRequestFault(fault: RequestFault | NodeFault): fault is RequestFault {
  return REQUEST_KINDS.has(fault.kind)
}

interface Waiting {
  readonly fault: RequestFault
  left: number
}

export class RequestFaults {
  private waiting: Waiting[]

  constructor() {
    this.waiting = []
  }

  add(fault: RequestFault): void {
    if (this.waiting.length === WAITING_FAULTS_MAX) throw new RangeError('too many faults')
    this.waiting.push({ fault, left: fault.times ?? Number.POSITIVE_INFINITY })
  }

  clear(): void {
    this.waiting = []
  }

  /** The fault of this request, used up by one; null for nearly every request. */
  take(method: string, path: string): RequestFault | null {
    // Whoever makes faults must be able to end them.
    if (path.startsWith('/sim/')) return null
    for (const [at, entry] of this.waiting.entries()) {
      const { path: prefix } = entry.fault
      if (prefix === undefined ? method !== 'POST' : !path.startsWith(prefix)) continue
      if (--entry.left === 0) this.waiting.splice(at, 1)
      return entry.fault
    }
    return null
  }
}
