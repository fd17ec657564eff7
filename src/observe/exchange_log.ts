/**
 * The one line that every finished exchange leaves in the log. It holds sizes, counts, times and
 * names, never a prompt, an answer, a query string or a key.
 *
 *   {"level":"info","time":"…","thread":"gateway-0","id":"…","tenant":"…","endpoint":"chat",
 *    "model":"…","node":"10.0.0.1:8000","rank":0,"status":200,"reason":"complete","stream":true,
 *    "prompt_tokens":812,"predicted_cached":800,"index_cached":800,
 *    "reported_cached":800,"ttft_ms":31.2,"total_ms":504.9,"queue_ms":0,"overhead_ms":0.21,
 *    "retries":0,"request_bytes":3312,"response_bytes":9120,"events":67,"msg":"exchange"}
 */
import type { Log } from './log.ts'
import type { Endpoint, FinishReason } from './metrics/labels.ts'

/** Keys are those of the line. Text from outside goes through `logText` before it comes here. */
export interface ExchangeLine {
  /** Id that the gateway gave, which is the engine's request id. */
  readonly id: string
  /** `x-request-id` of the client, when it sent one. */
  readonly client_id?: string
  readonly tenant: string
  readonly endpoint: Endpoint
  readonly model: string | null
  readonly node: string | null
  readonly rank: number | null
  /** Status sent to the client; 0: it left before. */
  readonly status: number
  readonly reason: FinishReason
  readonly stream: boolean
  readonly prompt_tokens: number | null
  /** Tokens that the node was predicted to hold: by its KV events and by predictions. */
  readonly predicted_cached: number | null
  /** Tokens that the node held by its KV events alone. */
  readonly index_cached: number | null
  /** From the node's `usage`; null when it reported none. */
  readonly reported_cached: number | null
  readonly ttft_ms: number | null
  readonly total_ms: number
  readonly queue_ms: number
  readonly overhead_ms: number
  readonly retries: number
  readonly request_bytes: number
  readonly response_bytes: number
  readonly events: number
}

/** Writes the line of a finished exchange, at level info. */
export function logExchange(log: Log, line: ExchangeLine): void {
  log.info(line, 'exchange')
}

/** Milliseconds with two decimals: enough for a reader, and short in the line. */
export function roundMs(ms: number): number {
  return Math.round(ms * 100) / 100
}
