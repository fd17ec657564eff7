/** Answers to requests whose body, if they have one, nobody wants. */
import { dropBody } from './body.ts'
import { type Answer, type Connection, reply } from './reply.ts'
import type { RequestHead } from './request_head.ts'

/** Answers, once the body has gone by, and closes the connection. */
export function answerUnread(connection: Connection, head: RequestHead, answer: Answer): void {
  const whole = { ...answer, isBodyless: head.method === 'HEAD', isClosing: true }
  const send = (): void => reply(connection, whole)
  // Where the framing is at fault nobody knows what is body.
  if (head.fault === null) dropBody(connection.res, head.contentLength, send)
  else send()
}
