/**
 * The admin port: metrics, health and the fleet, on the main thread.
 *
 *     GET    /metrics                  Prometheus text of all threads
 *     GET    /health                   200 while the process lives
 *     GET    /admin/nodes              the fleet as the gateway sees it
 *     POST   /admin/nodes              {"url": …, "kv_events": …}: adds a node
 *     DELETE /admin/nodes/{id}         removes it; what runs there finishes
 *     POST   /admin/nodes/{id}/drain   takes no new work
 *
 * With admin keys configured every path asks for one; without them the listener is on loopback
 * only (the configuration refuses to start otherwise). Changes are logged with the key's name.
 */
import type { HttpRequest, HttpResponse, TemplatedApp, us_listen_socket } from 'uWebSockets.js'
import type { Access, Tenant } from '../access/keys.ts'
import { OperatingError } from '../errors.ts'
import type { Log } from '../observe/log.ts'
import { collectBody } from './body.ts'
import type { Answer, Connection } from './reply.ts'
import { errorAnswer, jsonAnswer, reply } from './reply.ts'
import type { RequestHead } from './request_head.ts'
import { readHead } from './request_head.ts'
import { answerUnread } from './unread.ts'
import { uWS } from './uws.ts'

/** Bytes of an admin request: one node's entry. */
const ADMIN_BODY_BYTES_MAX = 65_536
const NODE_PATH = /^\/admin\/nodes\/([^/]+)(\/drain)?$/

/** What the admin port may do; each call throws an OperatingError with the remedy. */
export interface AdminActions {
  metricsText(): Promise<string>
  listNodes(): unknown
  addNode(entry: unknown): unknown
  removeNode(id: string): void
  drainNode(id: string): void
}

class WrongMethod extends OperatingError {
  readonly allowed: readonly string[]

  constructor(what: string, allowed: readonly string[]) {
    super('method_not_allowed', `${what}; use ${allowed.join(' or ')}`)
    this.allowed = allowed
  }
}

export class AdminApp {
  readonly #actions: AdminActions
  readonly #access: () => Access
  readonly #log: Log
  readonly #app: TemplatedApp
  #socket: us_listen_socket | null = null

  constructor(actions: AdminActions, access: () => Access, log: Log) {
    this.#actions = actions
    this.#access = access
    this.#log = log
    this.#app = uWS.App()
    this.#app.any('/*', (res, req) => this.#handle(res, req))
  }

  listen(host: string, port: number): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#app.listen(host, port, socket => {
        if (!socket) return reject(new Error(`cannot listen on ${host}:${port} (admin)`))
        this.#socket = socket
        resolve(uWS.us_socket_local_port(socket))
      })
    })
  }

  close(): void {
    if (this.#socket !== null) uWS.us_listen_socket_close(this.#socket)
    this.#socket = null
    this.#app.close()
  }

  #handle(res: HttpResponse, req: HttpRequest): void {
    const head = readHead(req)
    const connection: Connection = { res, isGone: false, isLast: head.isLengthMissing }
    res.onAborted(() => {
      connection.isGone = true
    })
    const isBodyless = head.method === 'HEAD'
    const refuse = (error: OperatingError): void =>
      answerUnread(connection, head, errorAnswer(error))
    if (head.fault !== null) return refuse(head.fault)
    if (head.contentLength > ADMIN_BODY_BYTES_MAX) {
      return refuse(new OperatingError('request_too_large', 'an admin request is small'))
    }
    const access = this.#access()
    const admin = access.identifyAdmin(head.authorization, head.apiKey)
    if (admin === null && access.hasAdminKeys) {
      return refuse(new OperatingError('invalid_api_key', 'missing or unknown admin key'))
    }
    collectBody(res, Math.max(0, head.contentLength), body => {
      void this.#answer(head, body, admin).then(answer =>
        reply(connection, { ...answer, isBodyless }),
      )
    })
  }

  async #answer(head: RequestHead, body: Buffer, admin: Tenant | null): Promise<Answer> {
    try {
      return await this.#route(head, body, admin)
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error
      const answer = errorAnswer(error)
      if (!(error instanceof WrongMethod)) return answer
      const allowed = error.allowed.join(', ')
      return { ...answer, headers: [...(answer.headers ?? []), ['Allow', allowed]] }
    }
  }

  async #route(head: RequestHead, body: Buffer, admin: Tenant | null): Promise<Answer> {
    switch (head.path) {
      case '/metrics':
        allow(head, 'GET')
        return {
          status: 200,
          contentType: 'text/plain; version=0.0.4',
          body: await this.#actions.metricsText(),
        }
      case '/health':
        allow(head, 'GET')
        return { status: 200, contentType: 'text/plain', body: '' }
      case '/admin/nodes':
        return allow(head, 'GET', 'POST') === 'POST'
          ? this.#addNode(body, admin)
          : ok(200, this.#actions.listNodes())
      default:
        return this.#routeNode(head, admin)
    }
  }

  #addNode(body: Buffer, admin: Tenant | null): Answer {
    const node = this.#actions.addNode(decoded(body))
    this.#logAction('node added', node, admin)
    return ok(202, node)
  }

  #routeNode(head: RequestHead, admin: Tenant | null): Answer {
    const [, encoded, drain] = NODE_PATH.exec(head.path) ?? []
    if (encoded === undefined) {
      throw new OperatingError('unknown_url', `unknown URL: ${head.method} ${head.path}`)
    }
    allow(head, drain === undefined ? 'DELETE' : 'POST')
    const id = named(encoded)
    if (drain === undefined) this.#actions.removeNode(id)
    else this.#actions.drainNode(id)
    this.#logAction(drain === undefined ? 'node removed' : 'node drained', { id }, admin)
    return ok(202, { id })
  }

  #logAction(what: string, node: unknown, admin: Tenant | null): void {
    this.#log.info({ node, admin: admin?.name ?? null }, what)
  }
}

/** The method, where it is one of those allowed; GET allows HEAD. */
function allow({ method, path }: RequestHead, ...methods: readonly string[]): string {
  const asked = method === 'HEAD' ? 'GET' : method
  if (methods.includes(asked)) return asked
  throw new WrongMethod(`${method} ${path} is not allowed`, methods)
}

/** The id in a path, which is percent-encoded. */
function named(encoded: string): string {
  try {
    return decodeURIComponent(encoded)
  } catch {
    throw new OperatingError('invalid_request', `${encoded} is not percent-encoded as a URL is`)
  }
}

function ok(status: number, body: unknown): Answer {
  return jsonAnswer(status, JSON.stringify(body))
}

function decoded(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'))
  } catch {
    throw new OperatingError('invalid_request', 'the body is not JSON; send {"url": "http://…"}')
  }
}
