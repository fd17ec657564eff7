/**
 * A gateway thread: a complete data plane of its own. This file is the worker's entry; it only
 * joins the rooms together and speaks with the main thread.
 *
 *     ThreadStart ──► rooms ──► DataApp ──► listening
 *     view, access ◄── main thread          drain ──► closed ──► the worker ends by itself
 *
 * A worker whose uWebSockets.js app still listens would abort the whole process when it is
 * terminated, so a thread is never terminated: it is told to drain, closes its app and ends.
 */
// Node's globals are accessors, which optimized code has to call; an import is a constant.

import assert from 'node:assert/strict'
import { performance } from 'node:perf_hooks'
import { parentPort } from 'node:worker_threads'
import type { KeyTable } from '../access/keys.ts'
import { Access } from '../access/keys.ts'
import { EditRules } from '../api/edit_rules.ts'
import { Deadlines } from '../exchange/deadlines.ts'
import { PromptKeying } from '../exchange/keying.ts'
import { Recorder } from '../exchange/record.ts'
import type { ExchangeThread } from '../exchange/thread.ts'
import { loadTable } from '../native/load_table.ts'
import { matchPrefix, overlay } from '../native/overlay.ts'
import { systemClock } from '../nodes/clock.ts'
import type { FleetView } from '../nodes/fleet_view.ts'
import { EMPTY_FLEET } from '../nodes/fleet_view.ts'
import { OutcomeReporter } from '../nodes/outcome_reporter.ts'
import { NodeSockets } from '../nodes/sockets.ts'
import type { LogConfig } from '../observe/config.ts'
import { watchEventLoop } from '../observe/event_loop.ts'
import type { ThreadLog } from '../observe/log.ts'
import { openLog } from '../observe/log.ts'
import { EDITS } from '../observe/metrics/labels.ts'
import { G, M } from '../observe/metrics/layout.ts'
import { ThreadMetrics } from '../observe/metrics/thread_metrics.ts'
import { LogOwner } from '../responses/log_owner.ts'
import { systemClock as routingClock } from '../routing/clock.ts'
import type { RoutingConfig } from '../routing/config.ts'
import { Router } from '../routing/router.ts'
import { DataApp } from './data_app.ts'
import type { ToMain, ToThread } from './thread_mail.ts'
import { SharedWaitBoard } from './wait_board.ts'
import type { WebSocketSettings } from './websocket_front.ts'

/** Everything a thread is started with; plain data. */
export interface ThreadStart {
  readonly index: number
  readonly host: string
  readonly port: number
  readonly version: string
  readonly metrics: SharedArrayBuffer
  /** One counter of waiting exchanges a thread, and one mailbox number a thread. */
  readonly waiting: SharedArrayBuffer
  readonly mailboxes: SharedArrayBuffer
  readonly keys: KeyTable
  readonly log: LogConfig
  readonly routing: RoutingConfig
  readonly timeouts: ExchangeThread['timeouts']
  readonly logLimits: ExchangeThread['logLimits']
  readonly sharesPrefixCache: boolean
  readonly bodyBytesMax: number
  readonly collapses: boolean
  readonly connectTimeoutMs: number
  readonly websocket: WebSocketSettings
  /** Nobody on another machine reaches the data port. */
  readonly isLoopback: boolean
}

/** Milliseconds between two looks at what still runs while draining. */
const DRAIN_LOOK_MS = 20

class GatewayThread {
  readonly #start: ThreadStart
  readonly #metrics: ThreadMetrics
  readonly #log: ThreadLog
  readonly #sockets: NodeSockets
  readonly #router: Router
  readonly #board: SharedWaitBoard
  readonly #logs: LogOwner
  readonly #deadlines = new Deadlines(() => performance.now())
  readonly #outcomes = new OutcomeReporter(systemClock, outcome =>
    tell({ kind: 'outcome', outcome }),
  )
  readonly #keying: PromptKeying
  readonly #recorder: Recorder
  readonly #app: DataApp
  readonly #stopWatching: () => void
  #view: FleetView = EMPTY_FLEET
  #access: Access
  #edits: EditRules
  readonly #editCounts = new Uint32Array(EDITS.length)
  #connections = 0
  /** Callers of /metrics that wait for the main thread's text. */
  readonly #askers: ((text: string) => void)[] = []

  constructor(start: ThreadStart) {
    this.#start = start
    this.#metrics = new ThreadMetrics(start.metrics)
    this.#access = Access.from(start.keys)
    this.#edits = new EditRules(start.keys, start.sharesPrefixCache)
    const name = `gateway-${start.index}`
    this.#log = openLog({
      config: start.log,
      thread: name,
      isBatched: true,
      onDrop: () => this.#metrics.add(M.logLinesDropped, 1),
    })
    this.#stopWatching = watchEventLoop(this.#metrics, () => this.#setMetrics())
    this.#sockets = new NodeSockets({
      connectTimeoutMs: start.connectTimeoutMs,
      onConnect: () => this.#metrics.add(M.upstreamConnectionsOpened, 1),
    })
    this.#board = new SharedWaitBoard(start.index, start.waiting, start.mailboxes, {
      freed: (slot, hops) => this.#router.admission.receive(slot, hops),
      lost: () => this.#router.admission.wakeAll(),
      aboutLogs: (kind, a, b, c) => this.#logs.onMail(kind, a, b, c),
    })
    this.#logs = new LogOwner(this.#board.mailbox)
    this.#router = new Router({
      config: start.routing,
      clock: routingClock,
      random: Math.random,
      loadTable,
      overlay,
      match: matchPrefix,
      board: this.#board,
    })
    this.#keying = new PromptKeying(this.#metrics, this.#log)
    this.#recorder = new Recorder(this.#metrics, this.#log, () => performance.now())
    this.#app = new DataApp({
      thread: this.#exchangeThread(),
      access: () => this.#access,
      edits: () => this.#edits,
      editCounts: this.#editCounts,
      bodyBytesMax: start.bodyBytesMax,
      collapses: start.collapses,
      onConnection: change => this.#countConnection(change),
      websocket: start.websocket,
      metrics: this.#metrics,
      version: start.version,
      metricsText: start.isLoopback ? () => this.#askMetrics() : null,
    })
  }

  async listen(): Promise<void> {
    const { host, port } = this.#start
    const bound = await this.#app.listen(host, port)
    tell({ kind: 'listening', port: bound })
  }

  hear(message: ToThread): void {
    switch (message.kind) {
      case 'view':
        this.#view = message.view
        this.#router.useView(message.view)
        this.#sockets.retain(message.view)
        this.#outcomes.follow(message.view)
        this.#keying.follow(message.view)
        return
      case 'access':
        this.#access = Access.from(message.keys)
        this.#edits = new EditRules(message.keys, this.#start.sharesPrefixCache)
        this.#app.recheck()
        return
      case 'logLevel':
        this.#log.setLevel(message.level)
        return
      case 'metrics':
        for (const answer of this.#askers.splice(0)) answer(message.text)
        return
      case 'drain':
        void this.#drain(message.graceMs)
        return
    }
  }

  #exchangeThread(): ExchangeThread {
    const { timeouts, logLimits } = this.#start
    return {
      now: () => performance.now(),
      view: () => this.#view,
      forwardsAuthorization: () => !this.#access.hasKeys,
      timeouts,
      logLimits,
      logs: this.#logs,
      router: this.#router,
      sockets: this.#sockets,
      deadlines: this.#deadlines,
      recorder: this.#recorder,
      keyPrompt: (request, done) => this.#keying.key(request, this.#view, done),
      report: (node, kind) => this.#outcomes.note(node, kind),
    }
  }

  #countConnection(change: number): void {
    this.#connections += change
    this.#metrics.set(G.connections, this.#connections)
    if (change > 0) this.#metrics.add(M.connectionsOpened, 1)
  }

  /** What is kept elsewhere and shown once a second. */
  #setMetrics(): void {
    this.#metrics.set(G.waiting, this.#router.admission.waiting)
    for (const [edit, count] of this.#editCounts.entries()) this.#metrics.set(M.edits + edit, count)
  }

  #askMetrics(): Promise<string> {
    this.#setMetrics()
    if (this.#askers.length === 0) tell({ kind: 'askMetrics' })
    return new Promise(resolve => this.#askers.push(resolve))
  }

  async #drain(graceMs: number): Promise<void> {
    this.#app.drain()
    const until = performance.now() + graceMs
    // Clients here may read what another thread's exchange is still getting.
    const isReading = () => this.#logs.counts.remoteReaders > 0
    const isBusy = () => this.#deadlines.size > 0 || this.#app.websockets > 0 || isReading()
    while (isBusy() && performance.now() < until) {
      await new Promise(resolve => setTimeout(resolve, DRAIN_LOOK_MS))
    }
    this.#deadlines.shutDown()
    this.#deadlines.close()
    // The last answers leave in the next turn of the loop.
    await new Promise(resolve => setTimeout(resolve, DRAIN_LOOK_MS))
    this.#app.closeWebSockets()
    await new Promise(resolve => setTimeout(resolve, DRAIN_LOOK_MS))
    this.#app.close()
    this.#stopWatching()
    await this.#keying.close()
    await this.#sockets.close()
    this.#logs.close()
    this.#board.close()
    this.#recorder.settle()
    await this.#log.flush()
    port.close()
  }
}

assert(parentPort !== null, 'gateway_thread.ts is the entry of a worker')
const port = parentPort

function tell(message: ToMain): void {
  port.postMessage(message)
}

port.once('message', (start: ThreadStart) => {
  const thread = new GatewayThread(start)
  port.on('message', (message: ToThread) => thread.hear(message))
  void thread.listen()
})
