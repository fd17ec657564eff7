/**
 * The WebSocket endpoints of one gateway thread: handshake, sockets, and the clock that all of
 * them share.
 *
 *     GET + Upgrade ──► framing guard ──► draining? ──► origin ──► key ──► 101 ──► Connection
 *     GET without, or switched off ──► data_app.ts answers 426
 *
 * Everything is refused before the upgrade, as plain HTTP. The upgrade itself is the one answer
 * that leaves in the handler's own turn: bytes behind the head are frames from then on, so no
 * request can hide in them, and from a later turn a cork of this version of uWebSockets.js may take
 * the new WebSocket for the old response (one socket in four then never heard its first message).
 *
 * One sweep a second pings every socket each `pingMs`, retires those past `lifetimeMs` and closes
 * those whose client has taken nothing for `blockedMs`; uWebSockets.js itself closes a socket that
 * has sent nothing, not even a pong, for `idleMs`. A timer per socket would cost more than the
 * rest of an idle one. Between two sweeps counts for one second at most: a process that stood still
 * (stopped, or its machine was) wakes with its timers first and its sockets second, and would else
 * close clients that took all they could get. What it does badly: uWebSockets.js drops a frame
 * beyond `maxPayloadLength` without a close frame, so only frames up to twice the limit are told
 * why (1009).
 */
import type { HttpRequest, HttpResponse, TemplatedApp, us_socket_context_t } from 'uWebSockets.js'
import type { Access, Tenant } from '../access/keys.ts'
import { queryHoldsKey } from '../access/query.ts'
import type { CreateFrame, Dialect, ResumeFrame } from '../api/ws_frames.ts'
import type { ErrorCode } from '../errors.ts'
import { OperatingError } from '../errors.ts'
import type { WebSocketClose } from '../observe/metrics/labels.ts'
import { Roster } from '../routing/roster.ts'
import { wireForm } from './octets.ts'
import { errorAnswer, reply } from './reply.ts'
import type { RequestHead } from './request_head.ts'
import { readHead } from './request_head.ts'
import type { ConnectionOptions, HandshakeFacts, SocketData } from './websocket_connection.ts'
import { Connection } from './websocket_connection.ts'
import { isOriginAllowed, readProtocols } from './websocket_handshake.ts'
import type { Turn } from './websocket_lane.ts'

/** Milliseconds between two looks at all sockets. */
const SWEEP_MS = 1000
/** Bytes queued in a socket beyond which uWebSockets.js would drop messages: lanes stop long before. */
const SOCKET_BYTES_MAX = 2 ** 20

/** The settings of section `websocket`. */
export interface WebSocketSettings {
  readonly isEnabled: boolean
  readonly inFlightMax: number
  readonly frameBytesMax: number
  readonly lifetimeMs: number
  readonly pingMs: number
  readonly idleMs: number
  readonly blockedMs: number
  readonly origins: readonly string[]
}

/** The paths, and what is spoken there. */
export const WEBSOCKET_PATHS: ReadonlyMap<string, Dialect> = new Map([
  ['/v1/responses', 'responses'],
  ['/v1/chat/completions', 'chat'],
])

export interface WebSocketOptions {
  readonly settings: WebSocketSettings
  readonly access: () => Access
  readonly now: () => number
  /** The id of a request, where the client gave none. */
  readonly newId: () => string
  turnOf(path: string, connection: Connection, frame: CreateFrame | ResumeFrame): Turn
  cancel(connection: Connection, responseId: string): OperatingError | null
  /** Counts an answer that refuses an upgrade, or an error on a socket. */
  refused(path: string, error: OperatingError): void
  erred(code: ErrorCode): void
  onOpen(open: number): void
  onClose(open: number, as: WebSocketClose): void
}

/** What a socket is opened with, and who asked. */
interface Handshake {
  readonly key: string
  readonly protocols: string
  readonly extensions: string
  readonly origin: string
}

export class WebSocketFront {
  readonly #options: WebSocketOptions
  readonly #open = new Roster<Connection>()
  #timer: NodeJS.Timeout | null = null
  /** When the last sweep was, and what all before it count for (ms); never 0: "not blocked". */
  #sweptMs: number
  #awakeMs = 1
  #draining: OperatingError | null = null

  constructor(app: TemplatedApp, options: WebSocketOptions) {
    this.#options = options
    this.#sweptMs = options.now()
    if (!options.settings.isEnabled) return
    for (const [path, dialect] of WEBSOCKET_PATHS) this.#register(app, path, dialect)
  }

  get size(): number {
    return this.#open.size
  }

  /** No more sockets; those that are open close once their lanes are done. */
  drain(): void {
    this.#draining = new OperatingError('draining', 'the gateway is shutting down')
    for (const connection of this.#open.members()) connection.retire('draining', this.#draining)
  }

  /** Closes what is still open, with the code that makes clients go elsewhere. */
  close(): void {
    for (const connection of this.#open.members()) connection.end('draining', 'shutting down')
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
  }

  /** The keys have changed: sockets whose key is gone are closed. */
  recheck(): void {
    const access = this.#options.access()
    for (const connection of this.#open.members()) {
      const { authorization, apiKey } = connection.facts
      const tenant = access.identify(authorization, apiKey)
      if (tenant?.id === connection.tenant.id) continue
      connection.end('policy', 'the API key is no longer valid')
    }
  }

  #register(app: TemplatedApp, path: string, dialect: Dialect): void {
    const { settings } = this.#options
    const options = this.#connectionOptions(path, dialect)
    app.ws<SocketData>(path, {
      maxPayloadLength: 2 * settings.frameBytesMax,
      maxBackpressure: SOCKET_BYTES_MAX,
      idleTimeout: Math.ceil(settings.idleMs / 1000),
      sendPingsAutomatically: false,
      upgrade: (res, req, context) => this.#upgrade(options, res, req, context),
      open: ws => {
        const { connection } = ws.getUserData()
        connection.opened(ws)
        this.#opened(connection)
      },
      message: (ws, message, isBinary) => ws.getUserData().connection.message(message, isBinary),
      drain: ws => ws.getUserData().connection.drained(),
      ping: ws => {
        // Pongs to a client that reads none would pile up.
        ws.getUserData().connection.endIfUnread()
      },
      close: ws => {
        const { connection } = ws.getUserData()
        connection.closed()
        this.#open.leave(connection)
        this.#options.onClose(this.#open.size, connection.closedAs)
      },
    })
  }

  #connectionOptions(path: string, dialect: Dialect): ConnectionOptions {
    const options = this.#options
    const { settings } = options
    return {
      dialect,
      inFlightMax: settings.inFlightMax,
      frameBytesMax: settings.frameBytesMax,
      now: () => this.#awakeNow(),
      erred: code => options.erred(code),
      turnOf: (connection, frame) => options.turnOf(path, connection, frame),
      cancel: (connection, responseId) => options.cancel(connection, responseId),
    }
  }

  #upgrade(
    options: ConnectionOptions,
    res: HttpResponse,
    req: HttpRequest,
    context: us_socket_context_t,
  ): void {
    const head = readHead(req)
    const handshake: Handshake = {
      key: req.getHeader('sec-websocket-key'),
      protocols: req.getHeader('sec-websocket-protocol'),
      extensions: req.getHeader('sec-websocket-extensions'),
      origin: req.getHeader('origin'),
    }
    const client = { res, isGone: false, requestId: head.requestId ?? this.#options.newId() }
    res.onAborted(() => {
      client.isGone = true
    })
    const protocols = readProtocols(handshake.protocols)
    const authorization = head.authorization ?? protocols.authorization
    const tenant = this.#admit(head, authorization, handshake.origin)
    if (tenant instanceof OperatingError) {
      this.#options.refused(head.path, tenant)
      return reply(client, errorAnswer(tenant, { isClosing: true }))
    }
    const facts: HandshakeFacts = {
      authorization,
      apiKey: head.apiKey,
      headers: asJson(head.forwarded),
      target: head.path + head.query,
      requestId: head.requestId,
      collapse: head.collapse,
      isMsgpack: protocols.isMsgpack,
    }
    client.isGone = true
    res.writeStatus('101 Switching Protocols')
    res.writeHeader('x-warmpath-extensions', 'resume, cancel')
    if (head.requestId !== undefined) res.writeHeader('x-request-id', wireForm(head.requestId))
    const connection = new Connection(options, facts, tenant)
    const { key, extensions } = handshake
    res.upgrade<SocketData>({ connection }, key, protocols.chosen, extensions, context)
  }

  /** Whose socket it is, or why there will be none. */
  #admit(
    head: RequestHead,
    authorization: string | undefined,
    origin: string,
  ): Tenant | OperatingError {
    if (head.fault !== null) return head.fault
    if (this.#draining !== null) return this.#draining
    if (!isOriginAllowed(origin, this.#options.settings.origins)) {
      return new OperatingError('forbidden', `pages of ${origin} may not open a WebSocket here`)
    }
    if (queryHoldsKey(head.query.slice(1))) {
      const message = 'an API key does not belong into a URL; use a header or the subprotocol'
      return new OperatingError('invalid_api_key', message)
    }
    const tenant = this.#options.access().identify(authorization, head.apiKey)
    return tenant ?? new OperatingError('invalid_api_key', 'missing or unknown API key')
  }

  #opened(connection: Connection): void {
    connection.nextPingMs = connection.openedMs + this.#options.settings.pingMs
    this.#open.join(connection)
    this.#options.onOpen(this.#open.size)
    this.#timer ??= setInterval(() => this.#sweep(), SWEEP_MS).unref()
    if (this.#draining !== null) connection.retire('draining', this.#draining)
  }

  /** Time of all sockets: as `options.now`, without the standstills. */
  #awakeNow(): number {
    return this.#awakeMs + Math.min(this.#options.now() - this.#sweptMs, SWEEP_MS)
  }

  #sweep(): void {
    const { pingMs, lifetimeMs, blockedMs } = this.#options.settings
    const now = this.#awakeNow()
    this.#awakeMs = now
    this.#sweptMs = this.#options.now()
    for (const connection of this.#open.members()) {
      if (connection.blockedMs > 0 && now - connection.blockedMs > blockedMs) {
        connection.end('overload', 'the client does not read')
        continue
      }
      if (connection.nextPingMs <= now) {
        connection.nextPingMs = now + pingMs
        connection.ping()
      }
      if (now - connection.openedMs > lifetimeMs) connection.retire('aged', AGED)
    }
  }
}

/** The headers of a handshake as those of a request whose body is JSON. */
function asJson(headers: readonly string[]): string[] {
  const own = ['content-type', 'application/json']
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at] ?? ''
    if (name.toLowerCase() !== 'content-type') own.push(name, headers[at + 1] ?? '')
  }
  return own
}

const AGED = new OperatingError(
  'websocket_connection_limit_reached',
  'the connection has reached its age limit: open a new one',
)
