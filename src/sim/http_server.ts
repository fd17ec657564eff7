/**
 * The listener of a simulated node: routes, keys, idle sockets and the switch that refuses.
 *
 *   connection ──► request ──► route ──► key ──► body ──► fault? ──► handler ──► HttpCall
 *                                └─ 404 / 405 with {"detail": …}, 401 {"error":"Unauthorized"}
 *
 * An idle connection is closed after 5 s as uvicorn does, so that a gateway's pool is tested
 * against the race. `refuse` closes the listener and resets every connection; `reopen` listens on
 * the same port again.
 */
import assert from 'node:assert/strict'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { ApiError, queueFull } from './api_error.ts'
import type { RequestFault, RequestFaults } from './faults.ts'
import { HttpCall } from './http_call.ts'

/** Bytes of a body at most; above it the node hangs up (uvicorn has no limit of its own). */
const BODY_BYTES_MAX = 256 << 20
/** Paths under the key, by their first segment. */
const GUARDED = new Set(['v1', 'v2', 'inference', 'cohere'])

export interface Route {
  readonly method: 'GET' | 'POST' | 'DELETE'
  readonly handle: (call: HttpCall) => void | Promise<void>
}

export interface ServerOptions {
  readonly host: string
  readonly keepAliveMs: number
  readonly apiKey: string | null
  readonly hasRequestIdHeader: boolean
  /** Routes by path; `find` handles paths with an id in them. */
  readonly routes: ReadonlyMap<string, readonly Route[]>
  readonly find: (path: string) => readonly Route[]
  readonly faults: RequestFaults
  readonly onRequest: (call: HttpCall) => void
}

export class SimServer {
  private readonly options: ServerOptions
  private server: Server
  private readonly sockets: Set<Socket>
  private port: number

  constructor(options: ServerOptions) {
    this.options = options
    this.sockets = new Set()
    this.server = this.create()
    this.port = 0
  }

  get openSockets(): number {
    return this.sockets.size
  }

  private create(): Server {
    const { keepAliveMs } = this.options
    const server = createServer({ keepAliveTimeout: keepAliveMs, requestTimeout: 0 })
    server.headersTimeout = 0
    server.on('request', (request, response) => this.receive(request, response))
    server.on('connection', socket => {
      socket.setNoDelay(true)
      this.sockets.add(socket)
      socket.on('close', () => this.sockets.delete(socket))
    })
    return server
  }

  async listen(port: number): Promise<number> {
    const { server } = this
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(port, this.options.host, 1024, () => {
        server.off('error', reject)
        resolve()
      })
    })
    const address = server.address()
    assert(address !== null && typeof address !== 'string', 'a TCP listener has a port')
    this.port = address.port
    return this.port
  }

  /** Closes the listener and every connection, with a reset unless `isGentle`. */
  async refuse(isGentle = false): Promise<void> {
    const closed = new Promise<void>(resolve => this.server.close(() => resolve()))
    for (const socket of this.sockets) {
      if (isGentle) socket.destroy()
      else socket.resetAndDestroy()
    }
    await closed
  }

  async reopen(): Promise<void> {
    if (this.server.listening) return
    this.server = this.create()
    await this.listen(this.port)
  }

  private receive(request: IncomingMessage, response: ServerResponse): void {
    const { options } = this
    const method = request.method ?? 'GET'
    const path = (request.url ?? '/').split('?', 1)[0] ?? '/'
    const fault = options.faults.take(method, path)
    const { hasRequestIdHeader } = options
    const call = new HttpCall({ request, response, path, fault, hasRequestIdHeader })
    const chunks: Buffer[] = []
    let bytes = 0
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      if (bytes > BODY_BYTES_MAX) request.destroy()
      else chunks.push(chunk)
    })
    request.on('error', () => undefined)
    request.on('end', () => {
      const first = chunks[0]
      if (first !== undefined) call.body = chunks.length === 1 ? first : Buffer.concat(chunks)
      options.onRequest(call)
      void this.answer(call, method, fault)
    })
  }

  private async answer(call: HttpCall, method: string, fault: RequestFault | null): Promise<void> {
    const { options } = this
    const routes = options.routes.get(call.path) ?? options.find(call.path)
    const route = routes.find(candidate => candidate.method === method)
    if (!this.isAllowed(call)) {
      call.unauthorized()
    } else if (routes.length === 0) {
      call.json(404, '{"detail":"Not Found"}')
    } else if (route === undefined) {
      const allow = routes.map(candidate => candidate.method).join(', ')
      call.json(405, '{"detail":"Method Not Allowed"}', { allow })
    } else if (!refuseByFault(call, fault)) {
      await this.handle(call, route)
    }
  }

  private async handle(call: HttpCall, route: Route): Promise<void> {
    try {
      await route.handle(call)
    } catch (error) {
      if (error instanceof ApiError) {
        call.error(error)
        return
      }
      const message = error instanceof Error ? error.message : String(error)
      call.error(new ApiError(500, 'InternalServerError', message))
    }
  }

  private isAllowed(call: HttpCall): boolean {
    const { apiKey } = this.options
    if (apiKey === null || !GUARDED.has(call.path.split('/', 2)[1] ?? '')) return true
    return call.header('authorization') === `Bearer ${apiKey}`
  }
}

/** Faults that answer instead of the handler; true when they did. */
function refuseByFault(call: HttpCall, fault: RequestFault | null): boolean {
  if (fault === null) return false
  if (fault.kind === 'stall') return true
  if (fault.kind === 'queue_full') {
    call.error(queueFull())
    return true
  }
  if (fault.kind !== 'status') return false
  const { status, retryAfter } = fault
  const type = fault.type ?? 'InternalServerError'
  const error = new ApiError(status, type, fault.message ?? `simulated status ${status}`)
  const extra: Record<string, string> =
    retryAfter === undefined ? {} : { 'retry-after': String(retryAfter) }
  call.json(status, error.body(), extra)
  return true
}
