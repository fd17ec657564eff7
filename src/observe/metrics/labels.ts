/**
 * The closed lists of label values. A label never holds what a client or a node sent, so the
 * number of series is known when the program is built (nodes excepted: they are bounded by the
 * slots of the load table and named when the text is rendered).
 *
 * `indexOf` gives every value its position as a constant: `RETRY.refused` is the number that
 * `ThreadMetrics.addFor` wants, so the data path carries numbers and never looks a string up.
 */

import { ERROR_CODES } from '../../errors.ts'

/** Position of every value of a list, as an object of constants. */
export function indexOf<const V extends readonly string[]>(
  values: V,
): { readonly [K in V[number]]: number } {
  const entries = values.map((value, index) => [value, index])
  // Decode boundary: Object.fromEntries widens the keys, which are exactly the list's values.
  return Object.freeze(Object.fromEntries(entries)) as { readonly [K in V[number]]: number }
}

/** Codes of the errors that the gateway makes itself. */
export const ERROR = indexOf(ERROR_CODES)

/** Families of paths; every route of the data listener belongs to exactly one. */
export const ENDPOINTS = [
  'chat',
  'completions',
  'responses',
  'messages',
  'embeddings',
  'pooling',
  'audio',
  'tokens',
  'models',
  'operations',
  'unknown',
] as const
export type Endpoint = (typeof ENDPOINTS)[number]
export const ENDPOINT = indexOf(ENDPOINTS)

/** Class of the status that the client got; `none`: it left before a status was sent. */
export const STATUS_CLASSES = ['2xx', '3xx', '4xx', '5xx', 'none'] as const

/** Every way an exchange can end: the closed union that `finish(reason)` takes. */
export const FINISH_REASONS = [
  /** The node's answer of status below 400 was relayed to its end. */
  'complete',
  /** The node's own answer of status 400 or more was relayed to its end. */
  'node_error',
  /** No node gave a first byte: refused, reset, or an error after the retries were spent. */
  'node_failed',
  /** The node's stream broke after the first byte: a reset, a short body, no end of stream. */
  'truncated',
  /** No first byte, or a gap between bytes, beyond its limit. */
  'timeout',
  /** The client closed its connection. */
  'client_gone',
  /** A client asked for the end of a response that outlives its askers. */
  'cancelled',
  /** The client read too slowly and passed the lag limit. */
  'slow_reader',
  /** The wait queue was full. */
  'queue_full',
  /** The deadline in the wait queue passed. */
  'queue_timeout',
  /** No healthy node serves the model. */
  'no_node',
  /** The gateway itself refused the request: bad JSON, unknown model, and so on. */
  'refused',
  /** The gateway was draining. */
  'draining',
  /** A fault of the gateway. */
  'internal',
] as const
export type FinishReason = (typeof FINISH_REASONS)[number]
export const FINISH = indexOf(FINISH_REASONS)

/** Why a request was sent to another node before its first byte. */
export const RETRY_REASONS = ['refused', 'reset', 'timeout', 'status', 'queue_full'] as const
export const RETRY = indexOf(RETRY_REASONS)

/** Why the chosen node was chosen. */
export const ROUTE_REASONS = [
  /** The node holds at least one block of the prompt, and no other held more. */
  'prefix',
  /** A node holds more of the prompt, but its load made another one cheaper. */
  'spill',
  /** No eligible node holds a block of the prompt. */
  'cold',
  /** There was nothing to compare: the endpoint or the prompt cannot be keyed. */
  'unkeyed',
  /** The policy takes turns. */
  'turn',
] as const
export type RouteReason = (typeof ROUTE_REASONS)[number]
export const ROUTE = indexOf(ROUTE_REASONS)

/** Where an exchange stood when its client left. */
export const ABORT_PHASES = ['queue', 'prefill', 'decode'] as const
export const ABORT = indexOf(ABORT_PHASES)

/**
 * The permitted edits of a request, made by prompt/edits.ts, the last three by
 * api/responses_plan.ts; docs/http-api.md says why. The position is the place in counts of them.
 */
export const EDITS = [
  'kv_transfer_params',
  'ec_transfer_params',
  'request_id',
  'kv_cache_report_mode',
  'priority',
  'cache_salt',
  'session_id',
  'conversation',
  'background',
  'response_id',
] as const

/** Why a prompt was keyed by its text although its model has a tokenizer. */
export const FALLBACK_REASONS = [
  'unavailable',
  'template',
  'queue_full',
  'timeout',
  'error',
] as const
export const FALLBACK = indexOf(FALLBACK_REASONS)

/** How a prompt got its keys. */
export const PROMPT_SOURCES = ['memo', 'pool', 'tokens', 'text', 'none'] as const
export const PROMPT = indexOf(PROMPT_SOURCES)

/** What the gateway saw of a node while it carried a request. */
export const OUTCOMES = ['ok', 'refused', 'reset', 'timeout', 'status5xx'] as const
export const OUTCOME = indexOf(OUTCOMES)

export const RELOAD_OUTCOMES = ['applied', 'unchanged', 'rejected'] as const
export const RELOAD = indexOf(RELOAD_OUTCOMES)

/** Why somebody reads an answer that is another exchange's. */
export const READER_KINDS = [
  /** The client came back to it. */
  'resumed',
  /** Its request is identical to one in flight. */
  'joined',
] as const
export type ReaderKind = (typeof READER_KINDS)[number]
export const READER_KIND = indexOf(READER_KINDS)

/** Why such a reader's part was over. */
export const READER_ENDS = [
  /** It has got all that there is. */
  'complete',
  /** The node broke off. */
  'failed',
  /** The work was cancelled. */
  'cancelled',
  /** It was too far behind, or memory ran out. */
  'cut',
  /** It left. */
  'client_gone',
] as const
export type ReaderEnd = (typeof READER_ENDS)[number]
export const READER_END = indexOf(READER_ENDS)

/** How a WebSocket was closed; every one but `client` is a close code of the gateway's own. */
export const WEBSOCKET_CLOSES = [
  /** By the client, by a broken connection, or by the front's own timers. */
  'client',
  'aged',
  'policy',
  'too_big',
  'internal',
  'draining',
  'overload',
] as const
export type WebSocketClose = (typeof WEBSOCKET_CLOSES)[number]
export const WEBSOCKET_CLOSE = indexOf(WEBSOCKET_CLOSES)
