/**
 * Every operating error of Warmpath in one table: its code, HTTP status, OpenAI error type and
 * whether a client may try again. Operating errors are values that are handled where they occur;
 * a programmer's error is an assertion and ends the process.
 *
 * Bodies have the shape of OpenAI, `{"error":{"message","type","param","code"}}`, and on
 * `/v1/messages*` that of Anthropic, `{"type":"error","error":{"type","message"},"request_id"}`.
 * A node's own error body passes unchanged and never goes through this file.
 */

/** Seconds a client is asked to wait after an overload answer; SDKs obey at most 60. */
export const RETRY_AFTER_SECONDS = 2

interface ErrorKind {
  readonly status: number
  readonly type: string
  /** The failure passes by waiting. */
  readonly isPassing: boolean
}

const INVALID = 'invalid_request_error'
const UNAVAILABLE = 'service_unavailable_error'

const KINDS = {
  invalid_request: { status: 400, type: INVALID, isPassing: false },
  invalid_api_key: { status: 401, type: INVALID, isPassing: false },
  forbidden: { status: 403, type: INVALID, isPassing: false },
  unknown_url: { status: 404, type: INVALID, isPassing: false },
  node_not_found: { status: 404, type: INVALID, isPassing: false },
  response_not_found: { status: 404, type: INVALID, isPassing: false },
  previous_response_not_found: { status: 400, type: INVALID, isPassing: false },
  'warmpath:stream_expired': { status: 410, type: INVALID, isPassing: false },
  model_not_found: { status: 404, type: INVALID, isPassing: false },
  method_not_allowed: { status: 405, type: INVALID, isPassing: false },
  invalid_stream_id: { status: 400, type: INVALID, isPassing: false },
  websocket_stream_limit_reached: { status: 400, type: INVALID, isPassing: false },
  websocket_connection_limit_reached: { status: 400, type: INVALID, isPassing: false },
  websocket_queue_full: { status: 429, type: 'rate_limit_error', isPassing: true },
  cancelled: { status: 499, type: INVALID, isPassing: false },
  upgrade_required: { status: 426, type: INVALID, isPassing: false },
  length_required: { status: 411, type: INVALID, isPassing: false },
  request_too_large: { status: 413, type: INVALID, isPassing: false },
  slow_down: { status: 429, type: 'rate_limit_error', isPassing: true },
  upstream_error: { status: 502, type: 'upstream_error', isPassing: false },
  server_is_overloaded: { status: 503, type: UNAVAILABLE, isPassing: true },
  no_healthy_node: { status: 503, type: UNAVAILABLE, isPassing: true },
  draining: { status: 503, type: UNAVAILABLE, isPassing: true },
  upstream_timeout: { status: 504, type: 'upstream_error', isPassing: false },
  internal_error: { status: 500, type: 'server_error', isPassing: false },
} as const satisfies Record<string, ErrorKind>

export type ErrorCode = keyof typeof KINDS

/** The types of Anthropic's API by status; every other one is an `api_error`. */
const ANTHROPIC_TYPES: Readonly<Record<number, string>> = {
  400: INVALID,
  401: 'authentication_error',
  403: 'permission_error',
  404: 'not_found_error',
  405: INVALID,
  410: INVALID,
  411: INVALID,
  413: 'request_too_large',
  429: 'rate_limit_error',
  499: INVALID,
  503: 'overloaded_error',
  504: 'timeout_error',
}

/** Every code, in the order of the table. */
// Decode boundary: Object.keys widens to string, the keys are exactly those of the table.
export const ERROR_CODES = Object.keys(KINDS) as readonly ErrorCode[]

/** The shape a client expects of an error body, chosen by the path it called. */
export type ErrorDialect = 'openai' | 'anthropic'

/** An operating error: what happened, where in the request, and the remedy in the message. */
export class OperatingError extends Error {
  readonly code: ErrorCode
  readonly param: string | null

  constructor(code: ErrorCode, message: string, param: string | null = null) {
    super(message)
    this.name = 'OperatingError'
    this.code = code
    this.param = param
  }

  get status(): number {
    return KINDS[this.code].status
  }

  get isPassing(): boolean {
    return KINDS[this.code].isPassing
  }

  /** The error as OpenAI's clients see it. */
  get detail(): Readonly<Record<'message' | 'type' | 'param' | 'code', string | null>> {
    const { message, param, code } = this
    return { message, type: KINDS[this.code].type, param, code }
  }

  /**
   * Headers that tell a client's library whether to try again. A fault of a node says nothing: SDKs
   * try twice after any 5xx, and the next node may do better.
   */
  get retryAdvice(): Readonly<Record<string, string>> {
    if (this.isPassing) return { 'retry-after': String(RETRY_AFTER_SECONDS) }
    return this.status < 500 ? { 'x-should-retry': 'false' } : {}
  }

  /** JSON text of the error in the client's dialect; Anthropic's names the request. */
  body(dialect: ErrorDialect = 'openai', requestId?: string): string {
    const { detail } = this
    if (dialect !== 'anthropic') return JSON.stringify({ error: detail })
    const type = ANTHROPIC_TYPES[this.status] ?? 'api_error'
    const error = { type, message: detail.message }
    return JSON.stringify({ type: 'error', error, request_id: requestId })
  }
}
