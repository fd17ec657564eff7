/**
 * The `nodes:` and `health:` sections of the configuration, with every default. All durations are
 * milliseconds. One entry is one vLLM server; its data-parallel ranks are discovered.
 */
import { z } from 'zod'
import { duration, integer } from '../setting.ts'

/** Requests in flight a rank gets from this gateway; above vLLM's usual 256 running sequences. */
export const IN_FLIGHT_DEFAULT = 512
/** A load-table field holds more, but no engine runs that many sequences at once. */
const IN_FLIGHT_MAX = 65_536

const ENDPOINT = /^(tcp:\/\/.+:[0-9]+|ipc:\/\/.+|none)$/
const ENDPOINT_REMEDY = 'must look like tcp://10.0.0.1:5557 or ipc:///path, or be "none"'

function isOrigin(text: string): boolean {
  if (!URL.canParse(text)) return false
  const url = new URL(text)
  const isHttp = url.protocol === 'http:' || url.protocol === 'https:'
  return isHttp && url.pathname === '/' && url.search === '' && url.hash === '' && !url.username
}

export const nodeEntrySchema = z.strictObject({
  url: z
    .string()
    .refine(isOrigin, 'must be the origin of a node, without a path, such as http://10.0.0.1:8000')
    .describe('Address of the vLLM server, without /v1.'),
  kv_events: z
    .string()
    .regex(ENDPOINT, ENDPOINT_REMEDY)
    .optional()
    .describe(
      'Socket of the KV events of rank 0; rank r is at port + r. Left out: asked from the engine ' +
        '(/kv_event_sources), else predictive mode. "none": predictive mode. tcp://*:5557: the ' +
        'gateway binds there, and the engine connects.',
    ),
  kv_replay: z
    .string()
    .regex(ENDPOINT, ENDPOINT_REMEDY)
    .optional()
    .describe('Replay socket of rank 0; used with kv_events only.'),
  api_key: z.string().min(1).optional().describe('Key that this node asks for.'),
  in_flight_max: integer(1, IN_FLIGHT_MAX)
    .default(IN_FLIGHT_DEFAULT)
    .describe('Requests in flight per rank; more wait at the gateway.'),
})

export type NodeEntry = z.output<typeof nodeEntrySchema>

/** What holds between the settings of an entry and does not here; null: nothing. */
export function entryFault(entry: NodeEntry): string | null {
  if (entry.kv_replay === undefined || (entry.kv_events ?? 'none') !== 'none') return null
  return 'kv_replay is of no use without kv_events: set both or neither'
}

export const nodesSchema = z.array(nodeEntrySchema).default([]).describe('The fleet.')

const durationMs = (ms: number) => duration(10, 600_000).default(ms)

export const healthSchema = z
  .strictObject({
    interval_ms: durationMs(1000).describe('Pause between two active checks of a healthy node.'),
    unhealthy_interval_ms: durationMs(500).describe('The same for a node that is out.'),
    timeout_ms: durationMs(1000).describe('An active check without an answer fails after this.'),
    timeouts_max: integer(1, 100)
      .default(2)
      .describe('Checks in a row without an answer that take a node out.'),
    failures_max: integer(1, 10_000)
      .default(5)
      .describe('Server errors, resets or timeouts in a row that open the breaker.'),
    breaker_pause_ms: durationMs(1500).describe('An open breaker tries the node again after this.'),
    scrape_interval_ms: durationMs(1000).describe("Pause between two reads of a node's /metrics."),
    metrics_stale_ms: durationMs(3000).describe('Metrics older than this count as unknown.'),
    models_interval_ms: durationMs(10_000).describe('Pause between two reads of /v1/models.'),
  })
  .prefault({})
  .describe('Active checks and the circuit breaker.')

export type HealthTimings = z.output<typeof healthSchema>

/** Origin without a trailing slash; the argument has passed the schema. */
export function originOf(url: string): string {
  return new URL(url).origin
}

/** `host:port`, the id of a node; the port of the scheme where the URL names none. */
export function nodeIdOf(url: string): string {
  const { hostname, port, protocol } = new URL(url)
  return `${hostname}:${port === '' ? (protocol === 'https:' ? '443' : '80') : port}`
}
