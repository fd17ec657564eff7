/**
 * Bytes beyond ASCII in URLs and headers: they reach the node and the client as they were, or are
 * refused to whoever sent them. No node is ever blamed for them.
 */
import { createServer, type IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import { expect, test } from 'vitest'
import { answerPlainly, useGatewayBefore } from './plain_node.ts'

const BODY = '{"model":"m","messages":[{"role":"user","content":"x"}]}'
/** UTF-8 of a header that the node sends. */
const JAPAN = Buffer.from('日本 ok')

let last: IncomingMessage | null = null

const node = createServer((request, response) => {
  if (request.method === 'POST') last = request
  response.setHeader('x-where', JAPAN.toString('latin1'))
  response.setHeader('connection', 'keep-alive, x-hop')
  response.setHeader('x-hop', 'of this connection')
  if (request.headers['x-status'] === '204') response.writeHead(204).end()
  else answerPlainly(request, response)
})
const stage = useGatewayBefore(node)

/** The answer's bytes to a chat with this target and these header lines, one character a byte. */
async function ask(target: Buffer | string, ...lines: (Buffer | string)[]): Promise<string> {
  const socket = connect(stage.port, '127.0.0.1')
  const parts = ['POST ', target, ' HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, x-mine\r\n']
  for (const line of lines) parts.push(line, '\r\n')
  parts.push(`X-Mine: 1\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`)
  socket.write(Buffer.concat(parts.map(part => Buffer.from(part as string))))
  let reply = ''
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    reply += chunk.toString('latin1')
    // All other answers are JSON.
    if (reply.endsWith('}') || reply.startsWith('HTTP/1.1 204')) break
  }
  return reply
}

const CHAT = '/v1/chat/completions'
const bytes = (...list: number[]): Buffer => Buffer.from(list)

test('UTF-8 reaches the node: in a header byte by byte, in the query percent-encoded', async () => {
  const name = Buffer.from('X-Title: My 日本 App é!')
  const reply = await ask(Buffer.from(`${CHAT}?q=日é`), name, Buffer.from('X-Request-Id: 1é1'))
  expect(reply).toMatch(/^HTTP\/1\.1 200 /)
  expect(last?.url).toBe(encodeURI(`${CHAT}?q=日é`))
  const title = last?.headers['x-title']
  expect(Buffer.from(typeof title === 'string' ? title : '', 'latin1').toString()).toBe(
    'My 日本 App é!',
  )
  // The client's id comes back as it was, and so does what the node says.
  expect(reply).toContain(`x-request-id: ${Buffer.from('1é1').toString('latin1')}\r\n`)
  expect(reply).toContain(`x-where: ${JAPAN.toString('latin1')}\r\n`)
})

test('an answer without a body has no length', async () => {
  const reply = await ask(CHAT, 'X-Status: 204')
  expect(reply).toMatch(/^HTTP\/1\.1 204 /)
  expect(reply).not.toMatch(/content-length/i)
})

test('headers that either side names in Connection stay on that connection', async () => {
  const reply = await ask(CHAT)
  expect(last?.headers['x-mine']).toBeUndefined()
  expect(reply).not.toContain('x-hop')
})

test.each([
  ['a header that is no UTF-8', CHAT, Buffer.concat([Buffer.from('X-A: a'), bytes(0xe9, 0x7a)])],
  ['DEL in a header', CHAT, Buffer.concat([Buffer.from('X-A: a'), bytes(0x7f, 0x7a)])],
  ['a query that is no UTF-8', Buffer.concat([Buffer.from(`${CHAT}?q=`), bytes(0xe9)]), 'X-A: 1'],
])('%s is refused, time after time, and the node stays healthy', async (_, target, line) => {
  for (let i = 0; i < 4; i++) expect(await ask(target, line)).toMatch(/^HTTP\/1\.1 400 /)
  expect(await ask(CHAT)).toMatch(/^HTTP\/1\.1 200 /)
})
