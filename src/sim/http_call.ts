/**
 * One request to a simulated node and its answer, with uvicorn's headers and the faults that were
 * asked for applied on the way out.
 *
 *   head ──► event ──► event ──► … ──► end
 *     │        └─ counted: a fault may kill, cut or spoil the stream at event n
 *     └─ may be held back by `slow_first_byte`
 *
 * Handlers write as if nothing were wrong. Once the client is gone, or a fault has ended the
 * answer, `isOver` is true, writes are ignored and `onGone` has been called once.
 */

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { ApiError } from './api_error.ts'
import type { RequestFault } from './faults.ts'
import { hexId } from './hex_id.ts'

export interface CallOptions {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly path: string
  readonly fault: RequestFault | null
  /** `--enable-request-id-headers`. */
  readonly hasRequestIdHeader: boolean
}

export class HttpCall {
  readonly request: IncomingMessage
  readonly path: string
  readonly receivedAt: number
  body: Buffer
  /** Called once when the client leaves, or a fault ends the answer, before the answer is whole. */
  onGone: ((isByClient: boolean) => void) | null
  isOver: boolean
  status: number
  eventsSent: number
  private readonly response: ServerResponse
  private readonly fault: RequestFault | null
  private readonly hasRequestIdHeader: boolean
  private hasVary: boolean
  /** Writes that wait for the time of the first byte; null once it has come. */
  private held: (() => void)[] | null

  constructor({ request, response, path, fault, hasRequestIdHeader }: CallOptions) {
    this.request = request
    this.response = response
    this.path = path
    this.fault = fault
    this.hasRequestIdHeader = hasRequestIdHeader
    this.hasVary = true
    this.held = []
    this.receivedAt = performance.now()
    this.body = Buffer.alloc(0)
    this.onGone = null
    this.isOver = false
    this.status = 0
    this.eventsSent = 0
    response.on('close', () => this.onClose())
  }

  header(name: string): string | null {
    const value = this.request.headers[name]
    return typeof value === 'string' ? value : null
  }

  json(status: number, body: string, extra: Readonly<Record<string, string>> = {}): void {
    this.bytes(status, 'application/json', Buffer.from(body, 'utf8'), extra)
  }

  error(error: ApiError): void {
    this.json(error.status, error.body())
  }

  /** The key is asked for in front of everything that would add `vary`. */
  unauthorized(): void {
    this.hasVary = false
    this.json(401, '{"error":"Unauthorized"}')
  }

  empty(status: number): void {
    this.bytes(status, null, Buffer.alloc(0), {})
  }

  text(status: number, type: string, body: string): void {
    this.bytes(status, type, Buffer.from(body, 'utf8'), {})
  }

  private bytes(
    status: number,
    type: string | null,
    body: Buffer,
    extra: Readonly<Record<string, string>>,
  ): void {
    if (this.isOver) return
    if (this.fault?.kind === 'die') {
      this.kill(this.fault.how)
      return
    }
    const { response } = this
    this.head(status)
    for (const [name, value] of Object.entries(extra)) response.setHeader(name, value)
    response.setHeader('content-length', body.length)
    if (type !== null) response.setHeader('content-type', type)
    this.tail()
    this.isOver = true
    this.send(() => response.end(this.request.method === 'HEAD' ? undefined : body))
  }

  /** Writes now, or, while the first byte is held back, all at once when its time has come. */
  private send(write: () => void): void {
    if (this.fault?.kind !== 'slow_first_byte' || this.held === null) {
      write()
      return
    }
    this.held.push(write)
    if (this.held.length > 1) return
    const timer = setTimeout(() => {
      const writes = this.held ?? []
      this.held = null
      for (const held of writes) held()
    }, this.fault.ms)
    this.response.once('close', () => clearTimeout(timer))
  }

  private head(status: number): void {
    const { response } = this
    this.status = status
    response.statusCode = status
    response.sendDate = false
    response.setHeader('date', new Date().toUTCString())
    response.setHeader('server', 'uvicorn')
  }

  private tail(): void {
    const { response } = this
    if (this.hasVary) response.setHeader('vary', 'Origin')
    if (this.hasRequestIdHeader) {
      const id = this.header('x-request-id') ?? hexId() + hexId()
      response.setHeader('x-request-id', id)
    }
    // uvicorn says nothing about persistence; node would.
    response.removeHeader('connection')
  }

  /** The head of an event stream; it leaves before the first token is there, as vLLM's does. */
  beginStream(): void {
    if (this.isOver) return
    const { response } = this
    this.head(200)
    response.setHeader('content-type', 'text/event-stream; charset=utf-8')
    this.tail()
    response.setHeader('transfer-encoding', 'chunked')
    this.send(() => response.flushHeaders())
    if (this.fault?.kind === 'empty_done') this.finish('data: [DONE]\n\n')
    else this.spoil()
  }

  /** One event with its framing: `data: …\n\n`. */
  event(text: string): void {
    if (this.isOver) return
    if (this.fault === null) this.response.write(text)
    else this.send(() => this.response.write(text))
    this.eventsSent++
    if (this.fault !== null) this.spoil()
  }

  endStream(last = ''): void {
    if (this.isOver) return
    this.isOver = true
    this.send(() => (last === '' ? this.response.end() : this.response.end(last)))
  }

  /** Applies the fault whose event number is reached. */
  private spoil(): void {
    const { fault } = this
    if (fault === null || !('events' in fault) || this.eventsSent < fault.events) return
    if (fault.kind === 'die') this.kill(fault.how)
    else if (fault.kind === 'cut') this.finish('')
    else this.finish(`data: ${STREAM_ERROR}\n\ndata: [DONE]\n\n`)
  }

  private finish(last: string): void {
    this.isOver = true
    this.gone(false)
    this.response.end(last)
  }

  /** Closes the socket under the answer, after what was written has left. */
  private kill(how: 'rst' | 'fin'): void {
    this.isOver = true
    this.gone(false)
    const { socket } = this.response
    if (socket === null) return
    // An empty write is called back once everything before it is in the kernel's hands.
    socket.write('', () => {
      if (how === 'rst') socket.resetAndDestroy()
      else socket.destroy()
    })
  }

  private gone(isByClient: boolean): void {
    const { onGone } = this
    this.onGone = null
    onGone?.(isByClient)
  }

  private onClose(): void {
    if (this.isOver) return
    this.isOver = true
    this.gone(true)
  }
}

const STREAM_ERROR = JSON.stringify({
  error: {
    message: 'EngineCore encountered an issue. See stack trace (above) for the root cause.',
    type: 'InternalServerError',
    param: null,
    code: 500,
  },
})
