/**
 * The HTTP listener of a member: hellos, digests and, where the native sender does not run, chunks;
 * for gateways and people which models are resident here, readiness and metrics.
 *
 *   POST /v1/hello                            signed    members only
 *   GET  /v1/digests/{fileId}/{generation}    signed
 *   GET  /v1/blob/{fileId}/{generation}       signed    one chunk, by Range
 *   GET  /v1/resident                         open      models that are whole in memory here
 *   GET  /v1/health, /ready, /metrics         open
 *
 * Without a token "signed" means: from a process of our own user, or of root, on this host.
 *
 * A name never travels: a file is two hashes (digest.ts), so there is no path to traverse. What is
 * asked for must be exactly one chunk; everything else is 416.
 */
import { once } from 'node:events'
import { read } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { promisify } from 'node:util'
import { BODY_DIGEST_HEADER, bodyDigest, type Gate } from './auth.ts'
import { CHUNK_BYTES } from './digest.ts'
import { bodyOf, HELLO_BYTES_MAX, type Hello, helloSchema } from './hello.ts'
import { ListenError } from './listen_error.ts'
import type { Shelf } from './shelf.ts'
import { isOwnUser, OTHER_USER } from './socket_owner.ts'

const readAt = promisify(read)

/**
 * Milliseconds for which a request is held while its chunk is being fetched: less than the silence
 * (fetch.ts) after which whoever asks takes us for stalled.
 */
export const HOLD_MS = 2_000

/** Chunks sent or held at once; more are told to come back (429). */
export const SENDS_MAX = 64

/** Milliseconds for a whole request head: a client that sends it slowly is cut off. */
const HEAD_MS_MAX = 5_000

/** Milliseconds for a whole request with its body: a hello that trickles in is cut off. */
const REQUEST_MS_MAX = 10_000

/** Milliseconds between two looks for requests that take too long. */
const LOOK_MS = 1_000

/** Connections at once: every member keeps two. */
const CONNECTIONS_MAX = 1024

/** Bytes of hellos that are being received at once; past it members are told to come back (429). */
const BODIES_BYTES_MAX = 4 * HELLO_BYTES_MAX

/** Milliseconds that a kept connection may be idle. */
const IDLE_MS_MAX = 60_000

/** Bytes of a request's head. */
const HEAD_BYTES_MAX = 8 * 1024

export type HelloAnswer =
  | { readonly kind: 'hello'; readonly hello: Hello }
  | { readonly kind: 'misfit'; readonly message: string }

export interface ListenerOptions {
  readonly host: string
  readonly port: number
  readonly gate: Gate
  readonly shelf: Shelf
  /**
   * Whether chunks leave from here. Not beside the native sender: each remembers the nonces that it
   * has seen, so a request that was sent to one could be sent again to the other.
   */
  readonly sendsChunks: boolean
  readonly nowMs: () => number
  readonly onHello: (hello: Hello, from: string) => HelloAnswer
  /** Somebody of another user asked, without a token to show. */
  readonly onOtherUser: () => void
  readonly metrics: () => string
  readonly resident: () => object
  readonly isReady: () => boolean
  readonly onSent: (bytes: number) => void
}

const BLOB = /^\/v1\/blob\/([0-9a-f]{32})\/([0-9a-f]{32})$/
const DIGESTS = /^\/v1\/digests\/([0-9a-f]{32})\/([0-9a-f]{32})$/
const RANGE = /^bytes=(\d{1,15})-(\d{1,15})$/

function answer(response: ServerResponse, status: number, body: string | Buffer, type?: string) {
  const headers: Record<string, string | number> = {
    'content-type': type ?? 'application/json',
    'content-length': Buffer.byteLength(body),
  }
  // The rest of a body that nobody wants is not read.
  if (!response.req.complete) headers['connection'] = 'close'
  if (status === 429 || status === 503) headers['retry-after'] = 1
  response.writeHead(status, headers).end(body)
}

function refuse(response: ServerResponse, status: number, message: string): void {
  answer(response, status, JSON.stringify({ error: message }))
}

export class Listener {
  readonly #options: ListenerOptions
  readonly #server: Server
  #sending = 0
  #bodiesBytes = 0

  constructor(options: ListenerOptions) {
    this.#options = options
    this.#server = createServer(
      {
        headersTimeout: HEAD_MS_MAX,
        requestTimeout: REQUEST_MS_MAX,
        connectionsCheckingInterval: LOOK_MS,
        keepAliveTimeout: IDLE_MS_MAX,
        maxHeaderSize: HEAD_BYTES_MAX,
        noDelay: true,
      },
      (request, response) => {
        this.#handle(request, response).catch(() => response.destroy())
      },
    )
    this.#server.maxConnections = CONNECTIONS_MAX
  }

  /** Binds; gives the port. */
  async listen(): Promise<number> {
    const { host, port } = this.#options
    this.#server.listen(port, host)
    await once(this.#server, 'listening').catch(error => {
      throw new ListenError({ host, port }, 'hellos', error)
    })
    // Decode boundary: the address of a TCP server.
    return (this.#server.address() as AddressInfo).port
  }

  async close(): Promise<void> {
    const closed = new Promise(resolve => this.#server.close(resolve))
    this.#server.closeAllConnections()
    await closed
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = '', url = '' } = request
    if (method === 'POST' && url === '/v1/hello') return this.#membersOnly(request, response)
    if (method !== 'GET') return refuse(response, 405, 'GET, or POST /v1/hello')
    const { isReady, metrics, resident } = this.#options
    switch (url) {
      case '/v1/health':
        return answer(response, 200, '{"status":"ok"}')
      case '/ready':
        return answer(response, isReady() ? 200 : 503, JSON.stringify({ ready: isReady() }))
      case '/metrics':
        return answer(response, 200, metrics(), 'text/plain; version=0.0.4; charset=utf-8')
      case '/v1/resident':
        return answer(response, 200, JSON.stringify(resident()))
    }
    return this.#membersOnly(request, response)
  }

  /** Signed where there is a token, and where there is none from our own user or root. */
  async #membersOnly(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { gate, onOtherUser } = this.#options
    if (!gate.isTokenGiven && !(await isOwnUser(request.socket))) {
      onOtherUser()
      return refuse(response, 403, OTHER_USER)
    }
    if (request.method === 'POST') return this.#hello(request, response)
    return this.#signed(request, response, request.url ?? '')
  }

  #admits(request: IncomingMessage, extra: string): boolean {
    const { gate, nowMs } = this.#options
    const { method = '', url = '', headers } = request
    return gate.admits(headers.authorization, { method, path: url, extra }, nowMs())
  }

  async #hello(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { headers } = request
    const digest = String(headers[BODY_DIGEST_HEADER] ?? '')
    if (!this.#admits(request, digest)) return refuse(response, 401, 'wrong token')
    const length = Number(headers['content-length'] ?? HELLO_BYTES_MAX)
    if (length > HELLO_BYTES_MAX) return refuse(response, 413, 'the hello is too long')
    if (this.#bodiesBytes + length > BODIES_BYTES_MAX) {
      return refuse(response, 429, 'too many hellos at once')
    }
    this.#bodiesBytes += length
    const body = await bodyOf(request).finally(() => {
      this.#bodiesBytes -= length
    })
    if (body === null) return refuse(response, 413, 'the hello is too long')
    const isTheOneSigned = !this.#options.gate.isTokenGiven || bodyDigest(body) === digest
    if (!isTheOneSigned) return refuse(response, 401, 'wrong token')
    return this.#greeted(request, response, body)
  }

  #greeted(request: IncomingMessage, response: ServerResponse, body: Buffer): void {
    let parsed: Hello
    try {
      parsed = helloSchema.parse(JSON.parse(body.toString()))
    } catch {
      return refuse(response, 400, 'this is no hello')
    }
    const from = (request.socket.remoteAddress ?? '').replace(/^::ffff:/, '')
    const result = this.#options.onHello(parsed, from)
    if (result.kind === 'misfit') return refuse(response, 404, result.message)
    return answer(response, 200, JSON.stringify(result.hello))
  }

  async #signed(request: IncomingMessage, response: ServerResponse, url: string): Promise<void> {
    const range = request.headers.range ?? ''
    if (!this.#admits(request, range)) return refuse(response, 401, 'wrong token')
    const [, digestsOf, digestsGeneration] = DIGESTS.exec(url) ?? []
    if (digestsOf !== undefined && digestsGeneration !== undefined) {
      const digests = this.#options.shelf.digests(digestsOf, digestsGeneration)
      if (digests === null) return refuse(response, 404, 'unknown file')
      return answer(response, 200, digests, 'application/octet-stream')
    }
    const blob = this.#options.sendsChunks ? BLOB.exec(url) : null
    const [, fileId, generation] = blob ?? []
    if (fileId === undefined || generation === undefined) {
      return refuse(response, 404, 'unknown path')
    }
    if (this.#sending >= SENDS_MAX) return refuse(response, 429, 'too many chunks at once')
    this.#sending += 1
    try {
      await this.#blob(response, fileId, generation, range)
    } finally {
      this.#sending -= 1
    }
  }

  async #blob(
    response: ServerResponse,
    fileId: string,
    generation: string,
    range: string,
  ): Promise<void> {
    const found = this.#options.shelf.find(fileId, generation)
    if (found.kind === 'unknown') return refuse(response, 404, 'unknown file')
    if (found.kind === 'generation') return refuse(response, 409, 'another generation')
    const { lease } = found
    try {
      const { map, fd } = lease.offer
      const [, from = '', to = ''] = RANGE.exec(range) ?? []
      const chunk = Number(from) / CHUNK_BYTES
      const isChunk = from !== '' && Number.isInteger(chunk) && chunk < map.count
      if (!isChunk || Number(to) !== Number(from) + map.length(chunk) - 1) {
        return refuse(response, 416, 'not exactly one chunk')
      }
      await lease.whenHere(chunk, HOLD_MS)
      if (lease.isDropped && !map.has(chunk)) return refuse(response, 404, 'unknown file')
      if (!map.has(chunk)) return refuse(response, 503, 'not here yet')
      const bytes = Buffer.allocUnsafeSlow(map.length(chunk))
      const { bytesRead } = await readAt(fd, bytes, 0, bytes.length, Number(from))
      if (bytesRead !== bytes.length) return refuse(response, 503, 'not here any more')
      response.writeHead(206, {
        'content-type': 'application/octet-stream',
        'content-length': bytes.length,
        'content-range': `bytes ${from}-${to}/${map.size}`,
        'x-warmpath-xxh3-128': map.digest(chunk).toString('hex'),
      })
      response.end(bytes)
      this.#options.onSent(bytes.length)
    } finally {
      lease.release()
    }
  }
}
