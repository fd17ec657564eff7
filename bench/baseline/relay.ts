/**
 * The baseline: what a relay of uWebSockets.js and undici costs when it does nothing but relay.
 *
 *     node dist-tools/bench/baseline/relay.js --port P --node URL --node URL [--coalesce] [--log]
 *
 * Round robin over the nodes, no log, no metrics, no routing, no retry. It keeps every rule of a
 * correct streaming relay: abort both ways, one cork a write, onWritable with an empty cork,
 * pause on backpressure, known lengths relayed as such, the end corked with the last bytes.
 *
 * Two ways to write a stream, both honest, so both are measured:
 *   default       each HTTP chunk of the node is one corked write: one send a token, always
 *   `--coalesce`  what one read brought leaves in one cork, from a microtask behind the parser
 *                 (coalesced.ts); equal when tokens are paced, several times cheaper in bulk
 *
 * `--log` sends every body through a response log on its way (logged.ts), behind `--coalesce`.
 *
 * What it does badly: everything that a gateway is for.
 */

import uWS, { type HttpRequest, type HttpResponse } from 'uWebSockets.js'
import { parseArgs } from 'node:util'
import { type Dispatcher, Pool } from 'undici'
import { CoalescingHandler } from './coalesced.ts'
import { LoggedHandler } from './logged.ts'

/** Bodies of requests above this are cut off: the baseline has no other defence of its memory. */
const BODY_BYTES_MAX = 64 << 20
/** Sockets to one node; above the 250 that a bench of 500 streams over two nodes needs. */
const CONNECTIONS_MAX = 1024
const KEEP_ALIVE_MS = 4000
/** Written anew by each side of a relay. */
const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'transfer-encoding',
  'content-length',
  'host',
  'date',
  'expect',
])

const EMPTY = Buffer.alloc(0)
const DONE = Buffer.from('data: [DONE]\n\n')

function endsStream(chunk: Buffer): boolean {
  const from = chunk.length - DONE.length
  return from >= 0 && chunk[from + 6] === 0x5b && chunk.compare(DONE, 0, DONE.length, from) === 0
}

class Exchange implements Dispatcher.DispatchHandler {
  readonly #response: HttpResponse
  #controller: Dispatcher.DispatchController | null = null
  #head: readonly [string, Record<string, string | string[] | undefined>] | null = null
  #length = -1
  #received = 0
  #rest: Buffer | null = null
  #isOver = false
  #isEnded = false
  #isStarted = false

  constructor(response: HttpResponse) {
    this.#response = response
    response.onAborted(() => {
      this.#isOver = true
      this.#controller?.abort(new Error('client left'))
    })
    response.onWritable(offset => this.#onWritable(offset))
  }

  get isOver(): boolean {
    return this.#isOver
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    if (this.#isOver) controller.abort(new Error('client left'))
  }

  onResponseStart(
    _controller: Dispatcher.DispatchController,
    status: number,
    headers: Record<string, string | string[] | undefined>,
    text = '',
  ): void {
    if (status < 200) return
    this.#head = [`${status} ${text}`, headers]
    this.#length = Number(headers['content-length'] ?? -1)
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#received += chunk.length
    // The end goes out with the last event, not in a send of its own.
    if (this.#length < 0 && endsStream(chunk)) this.#isEnded = true
    this.#send(chunk)
  }

  onResponseEnd(): void {
    this.#isEnded = true
    this.#send(EMPTY)
  }

  onResponseError(_controller: Dispatcher.DispatchController, _error: Error): void {
    if (this.#isOver) return
    this.#isOver = true
    if (this.#isStarted) this.#response.close()
    else this.#response.cork(() => this.#response.writeStatus('502 Bad Gateway').end())
  }

  #send(bytes: Buffer): void {
    if (this.#isOver) return
    this.#response.cork(() => this.#write(bytes))
  }

  #write(bytes: Buffer): void {
    const response = this.#response
    if (this.#head !== null) this.#writeHead(this.#head)
    let isTaken = true
    if (bytes.length > 0) {
      isTaken = this.#length >= 0 ? this.#writeSized(bytes) : response.write(bytes)
    }
    if (this.#isEnded && (this.#length < 0 || this.#received === 0)) {
      this.#isOver = true
      response.end()
    } else if (!isTaken) {
      this.#controller?.pause()
    }
  }

  #writeHead([status, headers]: readonly [string, Record<string, string | string[] | undefined>]) {
    this.#response.writeStatus(status)
    for (const name in headers) {
      const value = headers[name]
      if (!HOP_BY_HOP.has(name) && typeof value === 'string')
        this.#response.writeHeader(name, value)
    }
    this.#head = null
    this.#isStarted = true
  }

  /** A part of a body of known length; what the socket did not take is kept for onWritable. */
  #writeSized(chunk: Buffer): boolean {
    // A pause from a microtask comes too late for the part that undici has already read.
    const bytes = this.#rest === null ? chunk : Buffer.concat([this.#rest, chunk])
    this.#rest = null
    const before = this.#response.getWriteOffset()
    const [isTaken, isDone] = this.#response.tryEnd(bytes, this.#length)
    if (isDone) this.#isOver = true
    else if (!isTaken) this.#rest = bytes.subarray(this.#response.getWriteOffset() - before)
    return isTaken || isDone
  }

  #onWritable(_offset: number): boolean {
    let isTaken = true
    // An empty cork makes uWebSockets.js drain what it has buffered itself.
    this.#response.cork(() => {
      if (this.#rest !== null) isTaken = this.#writeSized(EMPTY)
    })
    if (isTaken && !this.#isOver) this.#controller?.resume()
    return isTaken
  }
}

function copyHeaders(request: HttpRequest): string[] {
  const headers: string[] = []
  request.forEach((name, value) => {
    if (!HOP_BY_HOP.has(name)) headers.push(name, value)
  })
  return headers
}

interface Settings {
  readonly port: number
  readonly nodes: readonly string[]
  readonly isCoalescing: boolean
  readonly isLogging: boolean
}

function serve({ port, nodes, isCoalescing, isLogging }: Settings): void {
  const pools = nodes.map(
    url =>
      new Pool(url, {
        connections: CONNECTIONS_MAX,
        pipelining: 1,
        bodyTimeout: 0,
        headersTimeout: 0,
        keepAliveTimeout: KEEP_ALIVE_MS,
      }),
  )
  let turn = 0
  uWS
    .App()
    .any('/*', (response, request) => {
      const query = request.getQuery()
      const path = query ? `${request.getUrl()}?${query}` : request.getUrl()
      const method = request.getCaseSensitiveMethod()
      const headers = copyHeaders(request)
      const exchange = new Exchange(response)
      const logged = isLogging ? new LoggedHandler(exchange) : exchange
      const handler = isCoalescing ? new CoalescingHandler(logged) : logged
      const parts: Buffer[] = []
      let bytes = 0
      response.onData((part, isLast) => {
        bytes += part.byteLength
        if (bytes > BODY_BYTES_MAX) {
          response.close()
          return
        }
        parts.push(Buffer.from(new Uint8Array(part)))
        if (!isLast || exchange.isOver) return
        const body = parts.length === 1 ? parts[0] : Buffer.concat(parts)
        const pool = pools[turn++ % pools.length]
        pool?.dispatch(
          {
            path,
            method,
            headers,
            body: body !== undefined && body.length > 0 ? body : null,
          },
          handler,
        )
      })
    })
    .listen('127.0.0.1', port, socket => {
      if (!socket) throw new Error(`port ${port} is taken`)
      const bound = uWS.us_socket_local_port(socket)
      process.stdout.write(`${JSON.stringify({ url: `http://127.0.0.1:${bound}` })}\n`)
    })
}

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: '0' },
    node: { type: 'string', multiple: true, default: [] },
    coalesce: { type: 'boolean', default: false },
    log: { type: 'boolean', default: false },
  },
})
serve({
  port: Number(values.port),
  nodes: values.node,
  isCoalescing: values.coalesce,
  isLogging: values.log,
})
