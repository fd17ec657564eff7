/**
 * The main thread of a serving gateway: it owns the fleet, the admin port and the threads, and is
 * on no request's way.
 *
 *     configuration ──► Fleet ──view──► gateway threads (1 … N)
 *                         ▲ ▲                │ outcomes
 *             KV-event feed └────────────────┘
 *     signals ──► reload, drain          admin port ──► metrics, nodes
 */
import type { KeyTable } from '../access/keys.ts'
import { Access, Tenants } from '../access/keys.ts'
import { isLoopback } from '../address.ts'
import type { Configuration } from '../config/effective.ts'
import { OperatingError } from '../errors.ts'
import type { AdminActions } from '../front/admin_app.ts'
import { AdminApp } from '../front/admin_app.ts'
import { SLOTS_MAX } from '../native/limits.ts'
import { loadTable } from '../native/load_table.ts'
import { overlay } from '../native/overlay.ts'
import { expireLogs, setLogBudget, setLogShelf } from '../native/response_log.ts'
import { systemClock } from '../nodes/clock.ts'
import { entryFault, nodeEntrySchema } from '../nodes/config.ts'
import { Fleet } from '../nodes/fleet.ts'
import type { ModelView, NodeOutcome } from '../nodes/fleet_view.ts'
import { KvEventFeed } from '../nodes/kv_events/feed.ts'
import { HttpProbe } from '../nodes/probe.ts'
import { watchEventLoop } from '../observe/event_loop.ts'
import type { ThreadLog } from '../observe/log.ts'
import { openLog } from '../observe/log.ts'
import { clearSlotMetrics } from '../observe/metrics/exposition.ts'
import { M, N } from '../observe/metrics/layout.ts'
import type { ThreadBuffer } from '../observe/metrics/thread_metrics.ts'
import { createThreadBuffer, ThreadMetrics } from '../observe/metrics/thread_metrics.ts'
import { GatewayThreads, type PreparedThread } from './gateway_threads.ts'
import { inFlightOf, metricsPage } from './metrics_page.ts'
import { PrefixIndexes } from './prefix_indexes.ts'
import { reservePort } from './reserve_port.ts'

export interface Ports {
  readonly data: number
  readonly admin: number
}

export class ControlPlane implements AdminActions {
  readonly #version: string
  readonly #log: ThreadLog
  readonly #buffer = createThreadBuffer('main')
  readonly #metrics = new ThreadMetrics(this.#buffer.buffer)
  readonly #tenants = new Tenants()
  readonly #indexes = new PrefixIndexes()
  readonly #probe = new HttpProbe()
  readonly #feed: KvEventFeed
  readonly #fleet: Fleet
  readonly #admin: AdminApp
  readonly #stopWatching: () => void
  readonly #onFailure: (error: Error) => void
  #configuration: Configuration
  #keys: KeyTable
  #access: Access
  #threads: GatewayThreads | null = null
  #started: Promise<Ports> | null = null

  /** `onFailure` hears of a thread that died: the process must end. */
  constructor(configuration: Configuration, version: string, onFailure: (error: Error) => void) {
    this.#onFailure = onFailure
    this.#configuration = configuration
    this.#version = version
    this.#log = openLog({ config: configuration.log, thread: 'main', isBatched: false })
    this.#keys = this.#tenants.tableOf(configuration)
    this.#access = Access.from(this.#keys)
    this.#feed = new KvEventFeed({
      onReport: report => this.#fleet.kvFeedReport(report),
      onCrash: error => onFailure(error),
    })
    this.#fleet = this.#makeFleet()
    this.#admin = new AdminApp(this, () => this.#access, this.#log)
    this.#stopWatching = watchEventLoop(this.#metrics, () => expireLogs())
    const { responses } = configuration
    setLogBudget(responses.store_bytes_max)
    setLogShelf({
      itemsMax: responses.kept_items_max,
      tenantItemsMax: responses.tenant_items_max,
      tenantBytesMax: responses.tenant_bytes_max,
    })
  }

  /**
   * Resolves when both ports answer; nodes are found out about meanwhile and afterwards. `first` is
   * the first gateway thread, which may still be loading.
   */
  start(first: PreparedThread): Promise<Ports> {
    this.#started = this.#start(first)
    return this.#started
  }

  async #start(first: PreparedThread): Promise<Ports> {
    const { listen, admin, nodes, threads: count } = this.#configuration
    for (const entry of nodes) this.#fleet.add(entry, 'config')
    this.#fleet.start()
    const { threads, port } = await GatewayThreads.start({
      count,
      port: listen.port,
      common: this.#threadStart(),
      first,
      onOutcome: (outcome: NodeOutcome) => this.#fleet.report(outcome),
      metricsText: () => this.metricsText(),
      onFailure: this.#onFailure,
    })
    this.#threads = threads
    threads.tell({ kind: 'view', view: this.#fleet.view })
    const reserved = await reservePort(admin.host, admin.port)
    return { data: port, admin: await this.#admin.listen(admin.host, reserved) }
  }

  /** Takes over what may change while it runs: nodes, models, keys, the log's level. */
  reload(configuration: Configuration): void {
    this.#configuration = configuration
    this.#fleet.reload(configuration.nodes, modelViews(configuration))
    this.#keys = this.#tenants.tableOf(configuration)
    this.#access = Access.from(this.#keys)
    this.#log.setLevel(configuration.log.level)
    this.#threads?.tell({ kind: 'access', keys: this.#keys })
    this.#threads?.tell({ kind: 'logLevel', level: configuration.log.level })
  }

  /** Stops accepting, lets what runs finish, and ends every thread. */
  async drain(): Promise<void> {
    // Whoever ends it while it starts: threads that are about to listen could not be told.
    await this.#started
    this.#admin.close()
    this.#stopWatching()
    await this.#threads?.drain(this.#configuration.timeouts.drain_ms)
    this.#fleet.stop()
    await this.#feed.close()
    await this.#probe.close()
    await this.#log.flush()
  }

  async metricsText(): Promise<string> {
    for (const { slot, counters } of await this.#feed.reports()) {
      this.#metrics.set(N.kvBatches + slot, counters.batches)
      this.#metrics.set(N.kvBlocks + slot, counters.storedBlocks + counters.removedBlocks)
      const badEvents = counters.malformedEvents + counters.unknownEvents
      const unread = counters.malformedBatches + counters.malformedMessages
      this.#metrics.set(N.kvBadEvents + slot, badEvents + unread)
      this.#metrics.set(N.kvLookahead + slot, counters.lookahead)
      this.#metrics.set(N.kvGaps + slot, counters.gaps)
      this.#metrics.set(N.kvReplays + slot, counters.replays)
      this.#metrics.set(N.kvRestarts + slot, counters.restarts)
      this.#metrics.set(N.kvOverfull + slot, counters.overfull)
    }
    return metricsPage({
      version: this.#version,
      threadCount: this.#threads?.buffers.length ?? 0,
      buffers: this.#buffers(),
      fleet: this.#fleet,
      indexes: this.#indexes,
    })
  }

  #buffers(): ThreadBuffer[] {
    return [this.#buffer, ...(this.#threads?.buffers ?? [])]
  }

  /** Counts a reload; `outcome` is its place in RELOAD_OUTCOMES. */
  countReload(outcome: number): void {
    this.#metrics.addFor(M.configReloads, outcome, 1)
  }

  listNodes(): unknown {
    return this.#fleet.list()
  }

  addNode(entry: unknown): unknown {
    const read = nodeEntrySchema.safeParse(entry)
    if (!read.success) {
      const issue = read.error.issues[0]
      const param = issue?.path.join('.') || null
      const message = issue?.message ?? 'the entry is wrong'
      const place = param === null ? '' : `${param}: `
      throw new OperatingError('invalid_request', place + message, param)
    }
    const fault = entryFault(read.data)
    if (fault !== null) throw new OperatingError('invalid_request', fault, 'kv_replay')
    return { id: this.#fleet.add(read.data) }
  }

  removeNode(id: string): void {
    if (!this.#fleet.remove(id)) throw new OperatingError('node_not_found', `no node ${id}`)
  }

  drainNode(id: string): void {
    if (!this.#fleet.drain(id)) throw new OperatingError('node_not_found', `no node ${id}`)
  }

  get log(): ThreadLog {
    return this.#log
  }

  #makeFleet(): Fleet {
    const hide = (slot: number): void => {
      this.#indexes.hide(slot)
      overlay.forget(slot)
    }
    return new Fleet({
      clock: systemClock,
      probe: this.#probe,
      timings: this.#configuration.health,
      slotsMax: SLOTS_MAX,
      models: modelViews(this.#configuration),
      kvFeed: this.#feed,
      log: this.#log,
      prefixIndexFor: (model, blockSize) => this.#indexes.idFor(model, blockSize),
      inFlightOf,
      onSlotRestarted: hide,
      onSlotFreed: slot => {
        hide(slot)
        loadTable.clear(slot)
        clearSlotMetrics(this.#buffers(), slot)
      },
      onView: view => this.#threads?.tell({ kind: 'view', view }),
    })
  }

  #threadStart() {
    const { listen, log, routing, timeouts, limits, responses } = this.#configuration
    const { websocket, origins } = this.#configuration
    return {
      host: listen.host,
      version: this.#version,
      keys: this.#keys,
      log,
      routing,
      timeouts: { firstByteMs: timeouts.first_byte_ms, betweenBytesMs: timeouts.between_bytes_ms },
      connectTimeoutMs: timeouts.connect_ms,
      bodyBytesMax: limits.body_bytes_max,
      sharesPrefixCache: this.#configuration.share_prefix_cache,
      logLimits: {
        keptBytesMax: responses.kept_bytes_max,
        lagBytesMax: responses.lag_bytes_max,
        graceMs: responses.grace_ms,
        retentionMs: responses.retention_ms,
        resumeMs: responses.resume_ms,
      },
      collapses: responses.collapse,
      websocket: {
        isEnabled: websocket.enabled,
        inFlightMax: websocket.in_flight_max,
        frameBytesMax: websocket.frame_bytes_max,
        lifetimeMs: websocket.lifetime_ms,
        pingMs: websocket.ping_ms,
        idleMs: websocket.idle_ms,
        blockedMs: websocket.blocked_ms,
        origins,
      },
      isLoopback: isLoopback(listen.host),
    }
  }
}

function modelViews(configuration: Configuration): ModelView[] {
  return configuration.models.map(({ name, tokenizer }) => ({ name, tokenizer: tokenizer ?? null }))
}
