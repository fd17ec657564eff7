/**
 * The data port of one gateway thread: sockets in, bytes out.
 *
 *     head ──► framing guard ──► draining? ──► route ──► key ──► body ──► api ──► exchange
 *
 * Every refusal on this way is answered by `reply`, never in the handler's own turn. A refusal
 * before the body was read closes the connection, so that the body is not taken for a request.
 */
import type { HttpRequest, HttpResponse, TemplatedApp, us_listen_socket } from 'uWebSockets.js'
import type { Access, Tenant } from '../access/keys.ts'
import { queryHoldsKey } from '../access/query.ts'
import type { EditRules } from '../api/edit_rules.ts'
import type { Route } from '../api/endpoints.ts'
import { dialectOf, endpointOf, MODEL_PATH, ROUTES } from '../api/endpoints.ts'
import { openKept } from '../api/open_kept.ts'
import { type Plan, type Planner, planRequest } from '../api/plan.ts'
import { OperatingError } from '../errors.ts'
import { Exchange } from '../exchange/exchange.ts'
import { type KeptLog, NODE_HEADER } from '../exchange/kept_log.ts'
import { FROM_START, followLate, joinedBy } from '../exchange/late_reader.ts'
import type { ExchangeThread } from '../exchange/thread.ts'
import { describeModel, listModels } from '../nodes/models.ts'
import type { ThreadMetrics } from '../observe/metrics/thread_metrics.ts'
import type { LogName } from '../responses/log_owner.ts'
import type { LogHead } from '../responses/log_reader.ts'
import { collectBody } from './body.ts'
import { ClientStream, type StreamFacts } from './client_stream.ts'
import { allowedOrigin, preflightAnswer } from './cors.ts'
import { EventNumbers } from './event_numbers.ts'
import { KeptRoutes, type Visitor } from './kept_routes.ts'
import type { Answer } from './reply.ts'
import { errorAnswer, jsonAnswer, reply } from './reply.ts'
import type { RequestHead } from './request_head.ts'
import { readHead } from './request_head.ts'
import { requestIds } from './request_ids.ts'
import { openWebSockets } from './socket_turns.ts'
import { answerUnread } from './unread.ts'
import { uWS } from './uws.ts'
import { Visit } from './visit.ts'
import type { WebSocketFront, WebSocketSettings } from './websocket_front.ts'
import { WEBSOCKET_PATHS } from './websocket_front.ts'

/** Said to those who read the answer to another's request (RFC 9211). */
const COLLAPSED = [['Cache-Status', 'warmpath; fwd=miss; collapsed']] as const

export interface DataAppOptions {
  readonly thread: ExchangeThread
  readonly access: () => Access
  readonly edits: () => EditRules
  /** One counter for each of EDITS. */
  readonly editCounts: Uint32Array
  readonly bodyBytesMax: number
  /** Identical deterministic requests share one exchange. */
  readonly collapses: boolean
  /** Told of every connection: 1 when it is opened, -1 when it is gone. */
  readonly onConnection: (change: number) => void
  readonly websocket: WebSocketSettings
  readonly metrics: ThreadMetrics
  readonly version: string
  /** Prometheus text of the whole process, shown while there are no keys; null: never. */
  readonly metricsText: (() => Promise<string>) | null
}

export class DataApp {
  readonly #options: DataAppOptions
  readonly #app: TemplatedApp
  readonly #newId = requestIds()
  /** Ids that clients come back with; not those that nodes and logs see. */
  readonly #newSecretId = requestIds()
  readonly #kept: KeptRoutes
  readonly #websockets: WebSocketFront
  #socket: us_listen_socket | null = null
  #isDraining = false

  constructor(options: DataAppOptions) {
    this.#options = options
    this.#kept = new KeptRoutes({
      thread: options.thread,
      identify: head => this.#identify(head),
      refuse: (visit, head, error, isClosing) => this.#refuse(visit, head, error, isClosing),
      refuseMethod: (visit, head, allowed) => this.#refuseMethod(visit, head, allowed),
      stream: (visit, facts, tenant) => this.#joined(visit, facts, tenant),
    })
    this.#app = uWS.App()
    this.#app.filter((_, change) => options.onConnection(Number(change)))
    this.#websockets = openWebSockets(this.#app, {
      thread: options.thread,
      settings: options.websocket,
      access: options.access,
      metrics: options.metrics,
      planner: () => this.#planner(),
      newId: this.#newId,
    })
    this.#app.any('/*', (res, req) => this.#handle(res, req))
  }

  /** Open WebSockets. */
  get websockets(): number {
    return this.#websockets.size
  }

  /** Resolves with the port; rejects when the address cannot be bound. */
  listen(host: string, port: number): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#app.listen(host, port, socket => {
        if (!socket) return reject(new Error(`cannot listen on ${host}:${port}`))
        this.#socket = socket
        resolve(uWS.us_socket_local_port(socket))
      })
    })
  }

  /** Stops accepting; requests on kept connections are answered 503 and their connection closed. */
  drain(): void {
    this.#isDraining = true
    if (this.#socket !== null) uWS.us_listen_socket_close(this.#socket)
    this.#socket = null
    this.#websockets.drain()
  }

  /** The keys have changed. */
  recheck(): void {
    this.#websockets.recheck()
  }

  /** Tells the WebSockets that are left to go elsewhere. */
  closeWebSockets(): void {
    this.#websockets.close()
  }

  /** Closes every socket, so that the thread can end by itself. */
  close(): void {
    this.#app.close()
  }

  #handle(res: HttpResponse, req: HttpRequest): void {
    const head = readHead(req)
    const origin = allowedOrigin(req, this.#options.websocket.origins)
    const visit = new Visit(res, origin, this.#newId(), head)
    if (head.fault !== null) return this.#refuse(visit, head, head.fault, true)
    if (this.#isDraining) {
      return this.#refuse(visit, head, new OperatingError('draining', 'shutting down'), true)
    }
    if (origin !== null && head.method === 'OPTIONS') return reply(visit, preflightAnswer(req))
    if (head.method === 'GET' && WEBSOCKET_PATHS.has(head.path)) {
      return this.#askForUpgrade(visit, head)
    }
    const route = ROUTES.get(head.path)
    if (route?.kind === 'relay') return this.#relay(visit, head, route)
    if (route === undefined && this.#kept.answer(visit, head)) return
    this.#answerOwn(visit, head, route)
  }

  #relay(visit: Visit, head: RequestHead, route: Extract<Route, { kind: 'relay' }>): void {
    const hasBody = head.contentLength > 0
    if (head.method !== route.method) {
      return this.#refuseMethod(visit, head, route.method)
    }
    const tenant = this.#identify(head)
    if (tenant instanceof OperatingError) return this.#refuse(visit, head, tenant, hasBody)
    if (head.contentLength > this.#options.bodyBytesMax) {
      const { bodyBytesMax } = this.#options
      const message = `the body has ${head.contentLength} bytes; the limit is ${bodyBytesMax}`
      return this.#refuse(visit, head, new OperatingError('request_too_large', message), true)
    }
    if (route.method === 'GET') return this.#run(visit, head, route, tenant, Buffer.alloc(0))
    collectBody(visit.res, head.contentLength, body => this.#run(visit, head, route, tenant, body))
  }

  #run(
    visit: Visit,
    head: RequestHead,
    route: Extract<Route, { kind: 'relay' }>,
    tenant: Tenant,
    bytes: Buffer,
  ): void {
    if (visit.isGone) return
    const { thread } = this.#options
    const plan = planRequest(
      {
        id: visit.id,
        endpoint: route.endpoint,
        tenant,
        method: route.method,
        target: head.path + head.query,
        headers: head.forwarded,
        authorization: head.authorization,
        clientId: head.requestId,
        contentType: head.contentType,
        bytes,
      },
      head,
      this.#planner(),
    )
    if (plan instanceof OperatingError) return this.#refuse(visit, head, plan, false)
    const kept = openKept(thread, plan, name => this.#share(visit, plan, name, tenant))
    if (kept === 'joined') return
    if (kept instanceof OperatingError) return this.#refuse(visit, head, kept, false)
    if (plan.now !== null) return this.#runBehind(visit, head, plan, kept, plan.now)
    const asker = new ClientStream(visit, {
      requestId: visit.requestId,
      endpoint: route.endpoint,
      nodeId: () => (this.#seesNodes(tenant) ? exchange.nodeId : null),
      times: () => exchange.facts,
      headers: kept === null ? [] : plan.headers,
      numbers: plan.isNumbered ? new EventNumbers(0) : null,
    })
    const exchange = new Exchange(thread, plan.request, asker, kept)
    visit.holder = exchange
    exchange.start()
  }

  #planner(): Planner {
    const { thread, edits, editCounts, collapses } = this.#options
    const { retentionMs, resumeMs } = thread.logLimits
    return {
      rules: edits(),
      editCounts,
      logs: thread.logs,
      newId: this.#newSecretId,
      wallMs: Date.now,
      retentionMs,
      resumeMs,
      collapses,
      forwardsAuthorization: thread.forwardsAuthorization(),
    }
  }

  /** Runs a background response; the client is answered at once. */
  #runBehind(visit: Visit, head: RequestHead, plan: Plan, kept: KeptLog | null, now: string): void {
    const { thread } = this.#options
    const exchange = new Exchange(thread, plan.request, null, kept)
    exchange.start()
    if (exchange.refusal !== null) return this.#refuse(visit, head, exchange.refusal, false)
    reply(visit, { ...jsonAnswer(200, now), headers: plan.headers })
  }

  /** Reads the answer to an identical request that is in flight on any thread. */
  #share(visit: Visit, { request }: Plan, name: LogName, tenant: Tenant): boolean {
    const { endpoint } = request
    const { requestId } = visit
    const facts = { endpoint, headers: COLLAPSED, numbers: null, requestId }
    const asker = this.#joined(visit, facts, tenant)
    const follow = followLate(this.#options.thread, name, FROM_START, joinedBy(request, 'http'))
    // It may end, or be too long to be read from its start, in this very moment.
    if (asker.join(follow) !== null) return false
    visit.holder = asker
    return true
  }

  /** The writer of an answer that another exchange, maybe of another thread, is getting. */
  #joined(
    visit: Visitor,
    facts: Omit<StreamFacts, 'nodeId' | 'times'>,
    tenant: Tenant,
  ): ClientStream {
    const seesNodes = this.#seesNodes(tenant)
    return new ClientStream(visit, {
      ...facts,
      nodeId: stored => (seesNodes ? nodeOf(stored) : null),
      times: () => null,
    })
  }

  #answerOwn(visit: Visit, head: RequestHead, route: Route | undefined): void {
    const isBodyless = head.method === 'HEAD'
    const isRead = head.method === 'GET' || isBodyless
    const isModel = head.path.startsWith(MODEL_PATH) && head.path.length > MODEL_PATH.length
    if (route === undefined && !isModel) {
      const error = new OperatingError('unknown_url', `unknown URL: ${head.method} ${head.path}`)
      return this.#refuse(visit, head, error, head.contentLength > 0)
    }
    if (!isRead) return this.#refuseMethod(visit, head, 'GET')
    if (route?.kind === 'own' && route.own === 'metrics') return this.#answerMetrics(visit, head)
    const answer = this.#ownAnswer(head, route)
    if (answer instanceof OperatingError) return this.#refuse(visit, head, answer, false)
    this.#options.thread.recorder.answered(endpointOf(head.path), answer.status)
    reply(visit, { ...answer, isBodyless })
  }

  #ownAnswer(head: RequestHead, route: Route | undefined): Answer | OperatingError {
    const view = this.#options.thread.view()
    const own = route?.kind === 'own' ? route.own : 'model'
    if (own === 'model' || own === 'models') {
      const tenant = this.#identify(head)
      if (tenant instanceof OperatingError) return tenant
      return own === 'models' ? jsonAnswer(200, listModels(view)) : this.#modelAnswer(head)
    }
    if (own === 'version') {
      return jsonAnswer(200, JSON.stringify({ version: this.#options.version }))
    }
    if (own === 'ready' && !view.nodes.some(node => node.state === 'healthy')) {
      return new OperatingError('no_healthy_node', 'no node is healthy')
    }
    return { status: 200, contentType: 'text/plain', body: '' }
  }

  #modelAnswer(head: RequestHead): Answer | OperatingError {
    const id = decoded(head.path.slice(MODEL_PATH.length))
    const body = describeModel(id, this.#options.thread.view())
    if (body !== null) return jsonAnswer(200, body)
    const message = `The model \`${id}\` does not exist.`
    return new OperatingError('model_not_found', message, 'model')
  }

  #identify(head: RequestHead): Tenant | OperatingError {
    if (queryHoldsKey(head.query.slice(1))) {
      const message = 'an API key does not belong into a URL; send it as Authorization: Bearer'
      return new OperatingError('invalid_api_key', message)
    }
    const tenant = this.#options.access().identify(head.authorization, head.apiKey)
    return tenant ?? new OperatingError('invalid_api_key', 'missing or unknown API key')
  }

  /** Names of nodes are for operators: while no key is configured, and for admin keys. */
  #seesNodes(tenant: Tenant): boolean {
    return !this.#options.access().hasKeys || tenant.isAdmin
  }

  #answerMetrics(visit: Visit, head: RequestHead): void {
    const { metricsText } = this.#options
    if (metricsText === null || this.#options.access().hasKeys) {
      const error = new OperatingError('unknown_url', 'metrics are on the admin port')
      return this.#refuse(visit, head, error, false)
    }
    const isBodyless = head.method === 'HEAD'
    void metricsText().then(body =>
      reply(visit, { status: 200, contentType: 'text/plain; version=0.0.4', body, isBodyless }),
    )
  }

  /** 426 is the one answer on which clients fall back to HTTP at once. */
  #askForUpgrade(visit: Visit, head: RequestHead): void {
    const message = this.#options.websocket.isEnabled
      ? `${head.path} takes POST, or a WebSocket`
      : 'WebSockets are switched off here: use POST'
    const error = new OperatingError('upgrade_required', message)
    this.#count(head, error)
    const answer = errorAnswer(error)
    reply(visit, { ...answer, headers: [...(answer.headers ?? []), ['Upgrade', 'websocket']] })
  }

  #refuseMethod(visit: Visitor, head: RequestHead, allowed: string): void {
    const message = `${head.method} is not allowed here; use ${allowed}`
    const error = new OperatingError('method_not_allowed', message)
    this.#count(head, error)
    const { requestId } = visit
    const answer = errorAnswer(error, { dialect: dialectOf(head.path), isClosing: true, requestId })
    answerUnread(visit, head, {
      ...answer,
      headers: [...(answer.headers ?? []), ['Allow', allowed]],
    })
  }

  #count(head: RequestHead, error: OperatingError): void {
    const { recorder } = this.#options.thread
    recorder.answered(endpointOf(head.path), error.status)
    recorder.erred(error.code)
  }

  #refuse(visit: Visitor, head: RequestHead, error: OperatingError, isClosing: boolean): void {
    this.#count(head, error)
    const { requestId } = visit
    const answer = errorAnswer(error, { dialect: dialectOf(head.path), isClosing, requestId })
    if (isClosing) answerUnread(visit, head, answer)
    else reply(visit, { ...answer, isBodyless: head.method === 'HEAD' })
  }
}

/** The node that a stored head names. */
function nodeOf({ headers }: LogHead): string | null {
  const id = headers[NODE_HEADER]
  return typeof id === 'string' ? id : null
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
