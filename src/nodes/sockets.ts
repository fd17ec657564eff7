/**
 * Persistent sockets of one gateway thread to the nodes: one undici Pool per node origin, with one
 * request at a time on a socket.
 *
 *     exchange ── dispatch(node, options, handler) ──► Pool(origin) ──► socket 1 … connectionsMax
 *     view     ── retain(view) ──► pools of nodes that left close after their last response
 *
 * Rules: `pipelining: 1`, for a POST is not idempotent; no timers of undici's own apart from the
 * connect timeout and the idle timeout, for the exchange has its own first-byte and idle timers;
 * idle sockets are dropped after 4 s, below the 5 s after which uvicorn closes them, and whatever a
 * server's Keep-Alive header says; concurrency is bounded by the load table, not here, because what
 * waits in a pool cannot be routed elsewhere. The pool's own bound is only the last fence.
 *
 * The first request of a turn of the event loop is sent at once, the others in a row behind the
 * turn's reads: a send wakes the node, if it sleeps, and the next one finds it awake.
 *
 * Costs: undici waits one turn of the loop before it reuses a socket (it looks whether the other
 * side has closed it), and it looks for a free socket in a list, so at 500 streams in flight a
 * dispatch reads some 500 fields (about 1 µs).
 */
import { nextTick } from 'node:process'
import type { Dispatcher, Pool as PoolType } from 'undici'
import type { FleetView, NodeView } from './fleet_view.ts'
import { nodeConnector } from './node_socket.ts'
import { Pool } from './undici.ts'

/** Sockets to one node from one thread; more requests wait inside the pool. Bounds descriptors. */
export const CONNECTIONS_MAX = 4096
/** A node that does not accept within this is as good as refused (ms). */
export const CONNECT_TIMEOUT_MS = 2000
/** Idle sockets are closed after this (ms), before uvicorn's 5 s. */
export const SOCKET_IDLE_MS = 4000
/** Requests that are sent in a row; the first waits some 0.5 ms for 16 others to be placed. */
const DISPATCHES_GATHERED_MAX = 16
/** Header block of a response in bytes; more is an error of that response. */
const RESPONSE_HEADER_BYTES_MAX = 65_536

export interface NodeSocketsOptions {
  readonly connectionsMax?: number
  readonly connectTimeoutMs?: number
  /** Told of every socket that was opened. */
  readonly onConnect?: () => void
}

/** The part of a NodeView that a socket needs. */
export type SocketTarget = Pick<NodeView, 'id' | 'url'>

/** Options of a dispatch; the origin and the timers belong to the pool. */
export type SocketRequest = Omit<
  Dispatcher.DispatchOptions,
  'origin' | 'headersTimeout' | 'bodyTimeout' | 'query'
>

interface Dispatch {
  readonly url: string
  readonly request: SocketRequest
  readonly handler: Dispatcher.DispatchHandler
}

export class NodeSockets {
  readonly #pools = new Map<string, PoolType>()
  readonly #closing = new Map<PoolType, Promise<void>>()
  readonly #connectionsMax: number
  readonly #connectTimeoutMs: number
  readonly #onConnect: () => void
  /** One request was sent in this turn already. */
  #isGathering = false
  #gathered: Dispatch[] = []
  readonly #sendNow = (): void => this.#send()
  readonly #endTurn = (): void => {
    this.#isGathering = false
    this.#send()
  }

  constructor(options: NodeSocketsOptions = {}) {
    this.#connectionsMax = options.connectionsMax ?? CONNECTIONS_MAX
    this.#connectTimeoutMs = options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS
    this.#onConnect = options.onConnect ?? (() => {})
  }

  /**
   * Sends one request over a persistent socket of the node, in this turn of the event loop; the
   * handler hears of everything.
   */
  dispatch(node: SocketTarget, request: SocketRequest, handler: Dispatcher.DispatchHandler): void {
    if (this.#isGathering) {
      const count = this.#gathered.push({ url: node.url, request, handler })
      if (count === DISPATCHES_GATHERED_MAX) nextTick(this.#sendNow)
      return
    }
    this.#isGathering = true
    setImmediate(this.#endTurn)
    this.#dispatch(node.url, request, handler)
  }

  #dispatch(url: string, request: SocketRequest, handler: Dispatcher.DispatchHandler): void {
    const pool = this.#pools.get(url) ?? this.#open(url)
    pool.dispatch(request, handler)
  }

  #send(): void {
    const gathered = this.#gathered
    this.#gathered = []
    for (const { url, request, handler } of gathered) this.#dispatch(url, request, handler)
  }

  /** Sockets open to a node and requests on them; for metrics and tests. */
  stats(node: SocketTarget): { connected: number; running: number; queued: number } {
    const stats = this.#pools.get(node.url)?.stats
    if (stats === undefined) return { connected: 0, running: 0, queued: 0 }
    return { connected: stats.connected, running: stats.running, queued: stats.queued }
  }

  /** Closes the pools of nodes that are not in the view; what is in flight on them finishes. */
  retain(view: FleetView): void {
    const origins = new Set(view.nodes.map(node => node.url))
    for (const [origin, pool] of this.#pools) {
      if (origins.has(origin)) continue
      this.#pools.delete(origin)
      this.#closeGently(pool)
    }
  }

  /** Ends every socket at once; requests still in flight fail. Called after the drain. */
  async close(): Promise<void> {
    const pools = [...this.#pools.values(), ...this.#closing.keys()]
    this.#pools.clear()
    await Promise.all(pools.map(pool => pool.destroy()))
  }

  /** Resolves when the pools given up by `retain` have finished their last response. */
  async settled(): Promise<void> {
    await Promise.all(this.#closing.values())
  }

  #open(origin: string): PoolType {
    const pool = new Pool(origin, {
      connections: this.#connectionsMax,
      pipelining: 1,
      bodyTimeout: 0,
      headersTimeout: 0,
      keepAliveTimeout: SOCKET_IDLE_MS,
      keepAliveMaxTimeout: SOCKET_IDLE_MS,
      maxHeaderSize: RESPONSE_HEADER_BYTES_MAX,
      connect: nodeConnector(this.#connectTimeoutMs),
    })
    pool.on('connect', this.#onConnect)
    this.#pools.set(origin, pool)
    return pool
  }

  #closeGently(pool: PoolType): void {
    const done = pool.close().finally(() => this.#closing.delete(pool))
    this.#closing.set(pool, done)
  }
}
