/**
 * Every metric of Warmpath: name, help, kind and labels, in one list. docs/metrics.md is checked
 * against it, the layout of the shared buffers (layout.ts) is computed from it, and a metric that
 * is not here cannot be written.
 *
 *   counter        a sum kept by every thread; one cell for each combination of label values
 *   node_counter   the same for every slot, labelled `node` and `rank` when it is rendered
 *   histogram      buckets, count and sum of seconds, kept by every thread
 *   thread_gauge   a level that every thread sets for itself; rendered once a thread
 *   sum_gauge      a level that every thread sets for itself; rendered as the sum
 *   given          a value that the main thread knows when it renders (load table, index, process)
 *
 * What it costs: a cell is 8 bytes, a node counter 8 KB a thread. What it does badly: a label
 * value that is not known when the program is built can only be a node or a `given` value.
 */
import { ERROR_CODES } from '../../errors.ts'
import { FAST_BOUNDS, SLOW_BOUNDS } from './buckets.ts'
import {
  ABORT_PHASES,
  EDITS,
  ENDPOINTS,
  FALLBACK_REASONS,
  FINISH_REASONS,
  OUTCOMES,
  PROMPT_SOURCES,
  READER_ENDS,
  READER_KINDS,
  RELOAD_OUTCOMES,
  RETRY_REASONS,
  ROUTE_REASONS,
  STATUS_CLASSES,
  WEBSOCKET_CLOSES,
} from './labels.ts'

export interface Label {
  readonly name: string
  readonly values: readonly string[]
}

export interface CounterSpec {
  readonly kind: 'counter'
  readonly name: string
  readonly help: string
  readonly labels: readonly Label[]
}
export interface NodeCounterSpec {
  readonly kind: 'node_counter'
  readonly name: string
  readonly help: string
  readonly labels: readonly Label[]
}
export interface HistogramSpec {
  readonly kind: 'histogram'
  readonly name: string
  readonly help: string
  readonly bounds: readonly number[]
}
export interface GaugeSpec {
  readonly kind: 'thread_gauge' | 'sum_gauge'
  readonly name: string
  readonly help: string
}
export interface GivenSpec {
  readonly kind: 'given'
  readonly type: 'gauge' | 'counter'
  readonly name: string
  readonly help: string
  readonly labelNames: readonly string[]
}
export type MetricSpec = CounterSpec | NodeCounterSpec | HistogramSpec | GaugeSpec | GivenSpec

function counter(name: string, help: string, ...labels: Label[]): CounterSpec {
  return { kind: 'counter', name: `warmpath_${name}_total`, help, labels }
}

function nodeCounter(name: string, help: string, ...labels: Label[]): NodeCounterSpec {
  return { kind: 'node_counter', name: `warmpath_${name}_total`, help, labels }
}

function histogram(name: string, help: string, bounds: readonly number[]): HistogramSpec {
  return { kind: 'histogram', name: `warmpath_${name}_seconds`, help, bounds }
}

function given(name: string, help: string, ...labelNames: string[]): GivenSpec {
  return { kind: 'given', type: 'gauge', name: `warmpath_${name}`, help, labelNames }
}

function givenCounter(name: string, help: string, ...labelNames: string[]): GivenSpec {
  return { kind: 'given', type: 'counter', name: `warmpath_${name}_total`, help, labelNames }
}

/** Counters of requests, bytes and tokens. */
export const COUNTERS = {
  requests: counter(
    'requests',
    'Requests answered, by family of paths and class of the status.',
    { name: 'endpoint', values: ENDPOINTS },
    { name: 'status', values: STATUS_CLASSES },
  ),
  errors: counter('errors', 'Error answers made by the gateway itself, by code.', {
    name: 'code',
    values: ERROR_CODES,
  }),
  finishes: counter('exchanges', 'Exchanges finished, by reason.', {
    name: 'reason',
    values: FINISH_REASONS,
  }),
  retries: counter('retries', 'Requests sent to another node before the first byte, by cause.', {
    name: 'reason',
    values: RETRY_REASONS,
  }),
  retriesDenied: counter('retries_denied', 'Retries not made because the budget was spent.'),
  routed: counter('routed', 'Placements of a request on a node, by reason.', {
    name: 'reason',
    values: ROUTE_REASONS,
  }),
  aborts: counter('aborts', 'Exchanges whose client left, by the phase it left in.', {
    name: 'phase',
    values: ABORT_PHASES,
  }),
  collapsed: counter(
    'collapsed_requests',
    'Requests that read the answer to an identical one in flight.',
  ),
  resumes: counter('resumed_streams', 'Streams read again from where a client had left them.'),
  readers: counter(
    'readers',
    "Readers of another exchange's answer that have ended, by how they came to it and why.",
    { name: 'kind', values: READER_KINDS },
    { name: 'reason', values: READER_ENDS },
  ),
  readerEvents: counter('reader_events', "Events sent to readers of another exchange's answer."),
  cancels: counter('cancelled_responses', 'Responses whose end a client asked for.'),
  slowReadersCut: counter('slow_readers_cut', 'Readers cut because they passed the lag limit.'),
  edits: counter('edits', 'Edits of a request before a node saw it, by kind.', {
    name: 'edit',
    values: EDITS,
  }),
  promptTokens: counter(
    'prompt_tokens',
    'Prompt tokens of placed requests, as the gateway counts.',
  ),
  predictedCachedTokens: counter(
    'predicted_cached_tokens',
    'Prompt tokens that the chosen node was predicted to hold (index and predictions).',
  ),
  indexCachedTokens: counter(
    'index_cached_tokens',
    'Prompt tokens that the chosen node held according to its KV events alone.',
  ),
  uncachedTokens: counter(
    'uncached_tokens',
    'Prompt tokens that the chosen node was predicted to compute.',
  ),
  reportedPromptTokens: counter(
    'reported_prompt_tokens',
    'Prompt tokens in the usage that nodes reported.',
  ),
  reportedCachedTokens: counter(
    'reported_cached_tokens',
    'Cached prompt tokens in the usage that nodes reported.',
  ),
  reportedCompletionTokens: counter(
    'reported_completion_tokens',
    'Completion tokens in the usage that nodes reported.',
  ),
  requestBytes: counter('request_body_bytes', 'Bytes of request bodies received.'),
  responseBytes: counter('response_body_bytes', 'Bytes appended to response logs.'),
  events: counter('stream_events', 'Events of streamed answers appended to response logs.'),
  prompts: counter('prompts', 'Prompts keyed, by where the keys came from.', {
    name: 'source',
    values: PROMPT_SOURCES,
  }),
  tokenizerFallbacks: counter(
    'tokenizer_fallbacks',
    'Prompts keyed by text although their model has a tokenizer, by cause.',
    { name: 'reason', values: FALLBACK_REASONS },
  ),
  connectionsOpened: counter('connections_opened', 'Client connections accepted.'),
  websocketsOpened: counter('websockets_opened', 'WebSockets opened by clients.'),
  websocketCloses: counter('websocket_closes', 'WebSockets closed, by who closed them and why.', {
    name: 'reason',
    values: WEBSOCKET_CLOSES,
  }),
  upstreamConnectionsOpened: counter('upstream_connections_opened', 'Sockets opened to nodes.'),
  configReloads: counter('config_reloads', 'Reloads of the configuration, by outcome.', {
    name: 'outcome',
    values: RELOAD_OUTCOMES,
  }),
  logLinesDropped: counter(
    'log_lines_dropped',
    'Log lines dropped because the destination took no more bytes.',
  ),
} as const satisfies Record<string, CounterSpec>

/** Counters kept for every slot, that is every (node, rank). */
export const NODE_COUNTERS = {
  nodeOutcomes: nodeCounter('node_outcomes', 'Attempts to carry a request, by outcome.', {
    name: 'outcome',
    values: OUTCOMES,
  }),
  kvBatches: nodeCounter('kv_batches', 'KV-event batches applied.'),
  kvBlocks: nodeCounter('kv_blocks', 'Blocks stored and removed by KV events.'),
  kvBadEvents: nodeCounter(
    'kv_bad_events',
    'KV events, batches and messages dropped because they could not be read.',
  ),
  kvLookahead: nodeCounter(
    'kv_lookahead_events',
    'Stores whose hashes also cover the next tokens: a match may be a block too long.',
  ),
  kvGaps: nodeCounter('kv_gaps', 'Gaps seen in the sequence of KV-event batches.'),
  kvReplays: nodeCounter('kv_replays', 'Replays asked from the engine.'),
  kvRestarts: nodeCounter('kv_restarts', 'Restarts of the engine seen in the event sequence.'),
  kvOverfull: nodeCounter(
    'kv_overfull',
    'Times that a rank held more blocks than it has: removals were lost, its blocks were dropped.',
  ),
} as const satisfies Record<string, NodeCounterSpec>

export const HISTOGRAMS = {
  requestSeconds: histogram(
    'request_duration',
    'Whole time of an exchange, from the head of the request to its finish.',
    SLOW_BOUNDS,
  ),
  upstreamSeconds: histogram(
    'upstream_duration',
    'Time from the dispatch to a node to the end of its answer.',
    SLOW_BOUNDS,
  ),
  overheadSeconds: histogram(
    'overhead',
    'Time that the gateway itself added before the dispatch, waiting in its queue excluded.',
    FAST_BOUNDS,
  ),
  queueSeconds: histogram('queue', 'Time spent in the wait queue of the gateway.', SLOW_BOUNDS),
  firstTokenSeconds: histogram(
    'time_to_first_token',
    'Time from the head of the request to the first byte of the body of the answer.',
    SLOW_BOUNDS,
  ),
  eventGapSeconds: histogram(
    'event_gap',
    'Time between two reads of a streamed answer.',
    SLOW_BOUNDS,
  ),
} as const satisfies Record<string, HistogramSpec>

export const GAUGES = {
  connections: {
    kind: 'sum_gauge',
    name: 'warmpath_connections',
    help: 'Open client connections.',
  },
  websockets: {
    kind: 'sum_gauge',
    name: 'warmpath_websockets',
    help: 'Open WebSockets.',
  },
  exchanges: {
    kind: 'sum_gauge',
    name: 'warmpath_exchanges_running',
    help: 'Exchanges that have started and not finished.',
  },
  waiting: {
    kind: 'sum_gauge',
    name: 'warmpath_waiting_requests',
    help: 'Requests in the wait queue of the gateway.',
  },
  loopDelayP99: {
    kind: 'thread_gauge',
    name: 'warmpath_event_loop_delay_p99_seconds',
    help: '99th percentile of the event-loop delay in the last whole second.',
  },
  loopDelayMax: {
    kind: 'thread_gauge',
    name: 'warmpath_event_loop_delay_max_seconds',
    help: 'Longest event-loop delay in the last whole second.',
  },
} as const satisfies Record<string, GaugeSpec>

/** Values that the main thread reads from native memory, the fleet and the process. */
export const GIVEN = {
  buildInfo: given('build_info', 'Constant 1; the labels name the build.', 'version', 'node'),
  threads: given('gateway_threads', 'Gateway threads.'),
  nodeState: given('node_state', '1 for the state that the node is in.', 'node', 'state'),
  nodeInFlight: given('node_in_flight', 'Requests at the node, as leased here.', 'node', 'rank'),
  nodePrefillTokens: given(
    'node_queued_prefill_tokens',
    'Prompt tokens sent to the node whose first token has not come back.',
    'node',
    'rank',
  ),
  nodeDecodeBlocks: given(
    'node_decode_blocks',
    'KV blocks of the requests at the node, as leased here.',
    'node',
    'rank',
  ),
  engineRunning: given('engine_running', 'Requests running, as the engine says.', 'node', 'rank'),
  engineWaiting: given('engine_waiting', 'Requests waiting, as the engine says.', 'node', 'rank'),
  engineKvUsage: given(
    'engine_kv_usage_ratio',
    'Share of the KV blocks in use, as the engine says.',
    'node',
    'rank',
  ),
  kvLive: given('kv_events_live', '1 while the KV events of the node are followed.', 'node'),
  kvDegraded: given(
    'kv_events_degraded',
    '1 while the node has KV events that cannot be followed.',
    'node',
  ),
  indexBlocks: given(
    'index_held_blocks',
    'Blocks held, counted once a node that holds them.',
    'model',
    'block_size',
  ),
  indexDistinctBlocks: given(
    'index_distinct_blocks',
    'Distinct blocks held by any node.',
    'model',
    'block_size',
  ),
  indexBytes: given('index_bytes', 'Live bytes of the prefix index.', 'model', 'block_size'),
  indexUnknownRemovals: givenCounter(
    'index_unknown_removals',
    'Removals of a block that the index did not hold.',
    'model',
    'block_size',
  ),
  indexDroppedBlocks: givenCounter(
    'index_dropped_blocks',
    'Blocks that were stored at a node and not indexed, for want of memory.',
    'model',
    'block_size',
  ),
  responseLogs: given('response_logs', 'Response logs alive, idle ones included.'),
  responseLogsIdle: given(
    'response_logs_idle',
    'Logs of finished responses that nobody reads, kept for clients that come back.',
  ),
  responseLogBytes: given('response_log_bytes', 'Bytes held by response logs.'),
  residentBytes: given('resident_memory_bytes', 'Resident memory of the process.'),
  heapBytes: given('heap_used_bytes', 'JavaScript heap in use on the main thread.'),
  cpuSeconds: givenCounter('cpu_seconds', 'CPU time of the process, user and system.'),
  startSeconds: given('start_time_seconds', 'Unix time at which the process started.'),
} as const satisfies Record<string, GivenSpec>

/** The whole catalog, in the order in which it is rendered. */
export const CATALOG: readonly MetricSpec[] = [
  ...Object.values(COUNTERS),
  ...Object.values(NODE_COUNTERS),
  ...Object.values(HISTOGRAMS),
  ...Object.values(GAUGES),
  ...Object.values(GIVEN),
]
