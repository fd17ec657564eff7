/**
 * The one line that every finished exchange leaves in the log. It holds sizes, counts, times and
 * names, never a prompt, an answer, a query string or a key.
 *
 *   {"level":"info","time":"…","thread":"gateway-0","id":"…","tenant":"…","endpoint":"chat",
 *    "model":"…","log":null,"node":"10.0.0.1:8000","rank":0,"status":200,"reason":"complete",
 *    "stream":true,"prompt_tokens":812,"predicted_cached":800,"index_cached":800,
 *    "reported_cached":800,"ttft_ms":31.2,"total_ms":504.9,"queue_ms":0,"overhead_ms":0.21,
 *    "retries":0,"request_bytes":3312,"response_bytes":9120,"events":67,"msg":"exchange"}
 */
import type { ThreadLog } from './log.ts'
import { LOG_FIELD_CHARS_MAX, logText } from './log.ts'
import type { Endpoint, FinishReason } from './metrics/labels.ts'

/** Names of models and nodes that are kept as JSON text; more than a fleet has. */
const NAMES_MAX = 1024
const names = new Map<string, string>()

/** Keys are those of the line. */
export interface ExchangeLine {
  /** Id that the gateway gave, which is the engine's request id. */
  readonly id: string
  /** `x-request-id` of the client, when it sent one. */
  readonly client_id?: string | undefined
  readonly tenant: string
  readonly endpoint: Endpoint
  readonly model: string | null
  /** Name of the log that others may read, as in their own lines; null: nobody else may. */
  readonly log: string | null
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

/**
 * Writes the line of a finished exchange, at level info. The line is put together here, field by
 * field: a general serializer takes 3 µs for it, which is a tenth of what a short request may cost.
 */
export function logExchange(log: ThreadLog, line: ExchangeLine): void {
  if (!log.takesInfo) return
  const { client_id: client, ttft_ms: ttftMs } = line
  log.infoText(
    `"id":"${line.id}",${client === undefined ? '' : `"client_id":${quoted(client)},`}` +
      `"tenant":"${line.tenant}","endpoint":"${line.endpoint}","model":${remembered(line.model)},` +
      `"log":${line.log === null ? 'null' : `"${line.log}"`},` +
      `"node":${remembered(line.node)},"rank":${line.rank},"status":${line.status},` +
      `"reason":"${line.reason}","stream":${line.stream},"prompt_tokens":${line.prompt_tokens},` +
      `"predicted_cached":${line.predicted_cached},"index_cached":${line.index_cached},` +
      `"reported_cached":${line.reported_cached},` +
      `"ttft_ms":${ttftMs === null ? 'null' : decimal(ttftMs)},` +
      `"total_ms":${decimal(line.total_ms)},` +
      `"queue_ms":${decimal(line.queue_ms)},"overhead_ms":${decimal(line.overhead_ms)},` +
      `"retries":${line.retries},"request_bytes":${line.request_bytes},` +
      `"response_bytes":${line.response_bytes},"events":${line.events}`,
    'exchange',
  )
}

/** Text from outside as JSON: bounded, printable. */
function quoted(text: string | null): string {
  return text === null ? 'null' : JSON.stringify(logText(text))
}

/** As `quoted`, for names that recur: a few models and nodes, of which each line has one. */
function remembered(name: string | null): string {
  if (name === null) return 'null'
  const known = names.get(name)
  if (known !== undefined) return known
  // A model's name is whatever a client sent, of any length.
  if (name.length > LOG_FIELD_CHARS_MAX) return quoted(name)
  if (names.size >= NAMES_MAX) names.clear()
  const text = quoted(name)
  names.set(name, text)
  return text
}

/**
 * Milliseconds with two decimals: enough for a reader, and short in the line. Put together from
 * two whole numbers, whose texts V8 keeps, where that of a fraction is computed digit by digit.
 */
function decimal(ms: number): string {
  const hundredths = Math.round(ms * 100)
  const rest = hundredths % 100
  const whole = (hundredths - rest) / 100
  if (rest === 0) return `${whole}`
  return rest < 10 ? `${whole}.0${rest}` : `${whole}.${rest}`
}
