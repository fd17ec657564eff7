/**
 * The fleet as everyone else sees it: one immutable value, published by the main thread to every
 * gateway thread on each change, and read there without a lock or a call.
 *
 *     main thread                                 gateway thread
 *     Fleet ── FleetView (structured clone) ────► routing, sockets, /v1/models
 *           ◄─ NodeOutcome (passive health) ─────  exchange
 *
 * Invariants: `nodes` is sorted by id; ids and slots are unique in a view; a slot that left the
 * view is not seen again before its coverage, load and predictions were cleared; `version` rises
 * with every view. A view is plain data, so it costs one clone a thread and change (some 100 µs
 * for 64 nodes); it is not made for thousands of changes a second, and load is not part of it:
 * load lives in the native load table.
 */

export type NodeState = 'healthy' | 'unhealthy' | 'draining' | 'sleeping' | 'starting'

export interface RankView {
  readonly rank: number
  /** Dense number of this (node, rank) in the native tables. */
  readonly slot: number
}

export interface ServedModel {
  readonly id: string
  /** The base model's id for an adapter, else null. */
  readonly parent: string | null
  /** The item of the node's /v1/models as it came. */
  readonly body: unknown
}

export interface NodeView {
  /** `host:port`, unique in the fleet. */
  readonly id: string
  /** Origin, without a trailing slash. */
  readonly url: string
  readonly state: NodeState
  /** Rises with every start or restart seen; outcomes of an older epoch are ignored. */
  readonly epoch: number
  /** The gateway's credential towards the node; never a client's. */
  readonly apiKey: string | null
  readonly models: readonly ServedModel[]
  /** Name under which its base model is indexed and keyed; empty while it has told none. */
  readonly indexModel: string
  readonly ranks: readonly RankView[]
  /** Tokens a KV block holds; 0 = unknown. */
  readonly blockSize: number
  /** KV blocks of each rank; 0 = unknown. */
  readonly blockCount: number
  readonly kvEvents: 'live' | 'degraded' | 'none'
  /** The prefix index of (base model, block size); 0 = none, predictions only. */
  readonly indexId: number
  /** Requests in flight a rank may have from this gateway. */
  readonly inFlightMax: number
}

/** A model of the configuration. */
export interface ModelView {
  readonly name: string
  /** Directory of the tokenizer, or "toy"; null = prompts are keyed by text. */
  readonly tokenizer: string | null
}

export interface FleetView {
  readonly version: number
  readonly nodes: readonly NodeView[]
  readonly models: readonly ModelView[]
}

/**
 * What one exchange met at a node. `ok` is every answer that is not a server error: a 4xx and an
 * engine's full-queue 503 are `ok` too, for they say that the node is there and answers.
 */
export type OutcomeKind = 'refused' | 'reset' | 'timeout' | 'status5xx' | 'ok'

export interface NodeOutcome {
  readonly nodeId: string
  readonly epoch: number
  readonly kind: OutcomeKind
}

/** The view before the first node is known. */
export const EMPTY_FLEET: FleetView = { version: 0, nodes: [], models: [] }
