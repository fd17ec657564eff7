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
import { readRequest } from '../api/relay.ts'
import { OperatingError } from '../errors.ts'
import { Exchange } from '../exchange/exchange.ts'
import type { ExchangeThread } from '../exchange/thread.ts'
import { describeModel, listModels } from '../nodes/models.ts'
import { collectBody } from './body.ts'
import { ClientStream } from './client_stream.ts'
import type { Answer, Connection } from './reply.ts'
import { errorAnswer, jsonAnswer, reply } from './reply.ts'
import type { RequestHead } from './request_head.ts'
import { readHead } from './request_head.ts'
import { requestIds } from './request_ids.ts'
import { uWS } from './uws.ts'

export interface DataAppOptions {
  readonly thread: ExchangeThread
  readonly access: () => Access
  readonly edits: () => EditRules
  /** One counter for each of EDITS. */
  readonly editCounts: Uint32Array
  readonly bodyBytesMax: number
  /** Told of every connection: 1 when it is opened, -1 when it is gone. */
  readonly onConnection: (change: number) => void
  readonly version: string
  /** Prometheus text of the whole process; null where the data port may not show it. */
  readonly metricsText: (() => Promise<string>) | null
}

/** A client's exchange in progress, as `onAborted` sees it. */
class Visit implements Connection {
  readonly res: HttpResponse
  isGone = false
  exchange: Exchange | null = null

  constructor(res: HttpResponse) {
    this.res = res
    res.onAborted(() => {
      this.isGone = true
      this.exchange?.leave()
    })
  }
}

export class DataApp {
  readonly #options: DataAppOptions
  readonly #app: TemplatedApp
  readonly #newId = requestIds()
  #socket: us_listen_socket | null = null
  #isDraining = false

  constructor(options: DataAppOptions) {
    this.#options = options
    this.#app = uWS.App()
    this.#app.filter((_, change) => options.onConnection(Number(change)))
    this.#app.any('/*', (res, req) => this.#handle(res, req))
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
  }

  /** Closes every socket, so that the thread can end by itself. */
  close(): void {
    this.#app.close()
  }

  #handle(res: HttpResponse, req: HttpRequest): void {
    const head = readHead(req)
    const visit = new Visit(res)
    if (head.fault !== null) return this.#refuse(visit, head, head.fault, true)
    if (this.#isDraining) {
      return this.#refuse(visit, head, new OperatingError('draining', 'shutting down'), true)
    }
    const route = ROUTES.get(head.path)
    if (route?.kind === 'relay') return this.#relay(visit, head, route)
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
    const id = this.#newId()
    const read = readRequest(
      {
        id,
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
      this.#options.edits(),
      this.#options.editCounts,
    )
    if (read instanceof OperatingError) {
      return this.#refuse(visit, head, read, false)
    }
    const asker = new ClientStream(visit, {
      requestId: head.requestId ?? id,
      endpoint: route.endpoint,
      nodeId: () => (this.#seesNodes(tenant) ? exchange.nodeId : null),
    })
    const exchange = new Exchange(thread, read, asker)
    visit.exchange = exchange
    exchange.start()
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
    return this.#options.access().isOpen || tenant.isAdmin
  }

  #answerMetrics(visit: Visit, head: RequestHead): void {
    const { metricsText } = this.#options
    if (metricsText === null) {
      const error = new OperatingError('unknown_url', 'metrics are on the admin port')
      return this.#refuse(visit, head, error, false)
    }
    void metricsText().then(body =>
      reply(visit, { status: 200, contentType: 'text/plain; version=0.0.4', body }),
    )
  }

  #refuseMethod(visit: Visit, head: RequestHead, allowed: string): void {
    const message = `${head.method} is not allowed here; use ${allowed}`
    const error = new OperatingError('method_not_allowed', message)
    this.#count(head, error)
    const answer = errorAnswer(error, { dialect: dialectOf(head.path), isClosing: true })
    reply(visit, {
      ...answer,
      headers: [...(answer.headers ?? []), ['Allow', allowed]],
      isBodyless: head.method === 'HEAD',
    })
  }

  #count(head: RequestHead, error: OperatingError): void {
    const { recorder } = this.#options.thread
    recorder.answered(endpointOf(head.path), error.status)
    recorder.erred(error.code)
  }

  #refuse(visit: Visit, head: RequestHead, error: OperatingError, isClosing: boolean): void {
    this.#count(head, error)
    const answer = errorAnswer(error, {
      dialect: dialectOf(head.path),
      isClosing,
      requestId: head.requestId,
    })
    reply(visit, { ...answer, isBodyless: head.method === 'HEAD' })
  }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
