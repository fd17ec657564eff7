/**
 * Answers that Warmpath gives itself: health, models, errors.
 *
 * **No answer leaves in the handler's own turn.** The front's parser goes on with the bytes that
 * follow in the same read; were the connection free again by then, a request smuggled behind a
 * hidden length would be parsed and answered. Answering from `setImmediate` makes such bytes meet
 * a pending exchange, and uWS then drops the socket. So every answer goes through `reply`, which
 * a caller may use at once.
 */

import type { HttpResponse } from 'uWebSockets.js'
import { STATUS_CODES } from 'node:http'
import type { ErrorDialect, OperatingError } from '../errors.ts'
import { originHeaders } from './cors.ts'
import { wireForm } from './octets.ts'

/** A client's connection while its exchange runs; `isGone` guards every use of `res`. */
export interface Connection {
  readonly res: HttpResponse
  isGone: boolean
  /** What the client, or else the gateway, calls this request; left out on the admin port. */
  readonly requestId?: string
  /** The connection is closed with the answer, whatever that is. */
  readonly isLast?: boolean
  /** The page that asks, where pages of other origins may. */
  readonly origin?: string | null
}

export interface Answer {
  readonly status: number
  readonly contentType: string
  readonly body: string
  readonly headers?: readonly (readonly [string, string])[]
  readonly isClosing?: boolean
  /** HEAD: the head alone, with the body's length. */
  readonly isBodyless?: boolean
}

const JSON_TYPE = 'application/json'

/** `200 OK`, as uWS wants a status line. */
export function statusLine(status: number): string {
  return `${status} ${STATUS_CODES[status] ?? 'Unknown'}`
}

/** Sends `answer` in a later turn of the loop, unless the client has gone by then. */
export function reply(connection: Connection, answer: Answer): void {
  setImmediate(() => {
    if (connection.isGone) return
    connection.isGone = true
    const { res, requestId } = connection
    const isClosing = answer.isClosing === true || connection.isLast === true
    res.cork(() => {
      res.writeStatus(statusLine(answer.status))
      res.writeHeader('Content-Type', answer.contentType)
      if (requestId !== undefined) res.writeHeader('x-request-id', wireForm(requestId))
      for (const [name, value] of answer.headers ?? []) res.writeHeader(name, value)
      writeOrigin(connection)
      // uWS says `Connection: close` itself where it is to close.
      if (answer.isBodyless) endWithLength(res, Buffer.byteLength(answer.body), isClosing)
      else res.end(answer.body, isClosing)
    })
  })
}

/**
 * Ends a head that names the length of a body which does not follow. Told the length, uWS waits for
 * that many bytes before it takes another request on the connection.
 */
function endWithLength(res: HttpResponse, length: number, isClosing: boolean): void {
  if (isClosing) return void res.endWithoutBody(length, true)
  res.writeHeader('Content-Length', String(length))
  res.endWithoutBody()
}

/** Tells a browser that its page may read the answer; part of the head. */
export function writeOrigin({ res, origin }: Connection): void {
  if (origin === undefined || origin === null) return
  for (const [name, value] of originHeaders(origin)) res.writeHeader(name, value)
}

export function jsonAnswer(status: number, body: string): Answer {
  return { status, contentType: JSON_TYPE, body }
}

/** The answer for an operating error, with what it says of trying again. */
export function errorAnswer(
  error: OperatingError,
  options: { dialect?: ErrorDialect; isClosing?: boolean; requestId?: string | undefined } = {},
): Answer {
  const { requestId, dialect } = options
  const headers = Object.entries(error.retryAdvice)
  if (requestId !== undefined && dialect === 'anthropic') headers.push(['request-id', requestId])
  return {
    status: error.status,
    contentType: JSON_TYPE,
    body: error.body(dialect, requestId),
    headers,
    isClosing: options.isClosing ?? error.code === 'draining',
  }
}
