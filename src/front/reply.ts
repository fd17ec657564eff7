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
import { type ErrorDialect, type OperatingError, RETRY_AFTER_SECONDS } from '../errors.ts'
import { originHeaders } from './cors.ts'

/** A client's connection while its exchange runs; `isGone` guards every use of `res`. */
export interface Connection {
  readonly res: HttpResponse
  isGone: boolean
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
    const { res } = connection
    res.cork(() => {
      res.writeStatus(statusLine(answer.status))
      res.writeHeader('Content-Type', answer.contentType)
      for (const [name, value] of answer.headers ?? []) res.writeHeader(name, value)
      writeOrigin(connection)
      if (answer.isClosing) res.writeHeader('Connection', 'close')
      if (answer.isBodyless) res.endWithoutBody(Buffer.byteLength(answer.body), answer.isClosing)
      else res.end(answer.body, answer.isClosing)
    })
  })
}

/** Tells a browser that its page may read the answer; part of the head. */
export function writeOrigin({ res, origin }: Connection): void {
  if (origin === undefined || origin === null) return
  for (const [name, value] of originHeaders(origin)) res.writeHeader(name, value)
}

export function jsonAnswer(status: number, body: string): Answer {
  return { status, contentType: JSON_TYPE, body }
}

/** The answer for an operating error; passing failures ask the client to come back. */
export function errorAnswer(
  error: OperatingError,
  options: { dialect?: ErrorDialect; isClosing?: boolean; requestId?: string | undefined } = {},
): Answer {
  const headers: [string, string][] = error.isPassing
    ? [['Retry-After', String(RETRY_AFTER_SECONDS)]]
    : [['x-should-retry', 'false']]
  const { requestId, dialect } = options
  if (requestId !== undefined) headers.push(['x-request-id', requestId])
  if (requestId !== undefined && dialect === 'anthropic') headers.push(['request-id', requestId])
  return {
    status: error.status,
    contentType: JSON_TYPE,
    body: error.body(options.dialect),
    headers,
    isClosing: options.isClosing ?? false,
  }
}
