/**
 * Framing: the whole table of hostile input that the front's parser lets through, each row in one
 * segment and split at every byte, with a smuggled second request behind it. Passing means that
 * the second request is never dispatched.
 */
import { createServer } from 'node:http'
import { connect } from 'node:net'
import { expect, test } from 'vitest'
import { answerPlainly, useGatewayBefore } from './plain_node.ts'

const SMUGGLED = 'GET /v1/models HTTP/1.1\r\nHost: smuggled\r\n\r\n'
const JSON_BODY = '{"model":"m","messages":[{"role":"user","content":"x"}]}'
/** Requests that a row may lead to at the node: none. */
let dispatched = 0

const node = createServer({ maxHeaderSize: 131_072 }, (request, response) => {
  if (request.method === 'POST') dispatched++
  answerPlainly(request, response)
})
const stage = useGatewayBefore(node)

function head(...headers: string[]): string {
  return ['POST /v1/chat/completions HTTP/1.1', ...headers, '', ''].join('\r\n')
}

interface Row {
  readonly name: string
  readonly bytes: string
  /** Status of the refusal; null: closed without an answer. */
  readonly status: number | null
}

const ROWS: readonly Row[] = [
  {
    name: 'two Content-Length headers',
    bytes: head('Host: a', 'Content-Length: 4', `Content-Length: ${SMUGGLED.length + 4}`) + 'xxxx',
    status: 400,
  },
  { name: 'an empty Content-Length', bytes: head('Host: a', 'Content-Length: '), status: 400 },
  { name: 'a signed Content-Length', bytes: head('Host: a', 'Content-Length: +5'), status: 400 },
  { name: 'a hexadecimal length', bytes: head('Host: a', 'Content-Length: 0x5'), status: 400 },
  { name: 'a list of lengths', bytes: head('Host: a', 'Content-Length: 5,5'), status: 400 },
  {
    name: 'Transfer-Encoding beside Content-Length',
    bytes: head('Host: a', 'Content-Length: 4', 'Transfer-Encoding: chunked') + '0\r\n\r\n',
    status: 400,
  },
  {
    name: 'gzip, chunked',
    bytes: head('Host: a', 'Transfer-Encoding: gzip, chunked') + '0\r\n\r\n',
    status: 400,
  },
  {
    name: 'two Transfer-Encoding headers',
    bytes:
      head('Host: a', 'Transfer-Encoding: chunked', 'Transfer-Encoding: chunked') + '0\r\n\r\n',
    status: 400,
  },
  {
    name: 'a well-formed chunked body',
    bytes: head('Host: a', 'Transfer-Encoding: chunked') + '0\r\n\r\n',
    status: 411,
  },
  {
    name: 'a chunk size that is no number',
    bytes: head('Host: a', 'Transfer-Encoding: chunked') + 'g\r\n',
    // The parser takes the size for 16 and what follows for data; either way it is refused.
    status: null,
  },
  { name: 'a POST without a length', bytes: head('Host: a'), status: 411 },
  {
    name: 'an empty header name, which hides the length behind it',
    bytes: head('Host: a', ': x', `Content-Length: ${SMUGGLED.length}`),
    status: 411,
  },
  {
    name: 'two Host headers',
    bytes: head('Host: a', 'Host: b', 'Content-Length: 0'),
    status: 400,
  },
]

interface Seen {
  readonly statuses: number[]
}

/** Sends the pieces one after the other and reads until the server closes. */
function send(pieces: readonly string[]): Promise<Seen> {
  return new Promise((resolve, reject) => {
    const socket = connect(stage.port, '127.0.0.1')
    let text = ''
    socket.setNoDelay(true)
    socket.setEncoding('latin1')
    socket.on('data', chunk => {
      text += String(chunk)
    })
    socket.on('error', error => ('code' in error ? undefined : reject(error)))
    socket.on('close', () => {
      const statuses = [...text.matchAll(/HTTP\/1\.1 (\d{3})/g)].map(match => Number(match[1]))
      resolve({ statuses })
    })
    const next = (at: number): void => {
      const piece = pieces[at]
      if (piece === undefined || socket.destroyed) return
      socket.write(piece, () => setImmediate(() => next(at + 1)))
    }
    socket.on('connect', () => next(0))
  })
}

test.each(ROWS)('$name: refused, and the request behind it is never dispatched', async row => {
  const before = dispatched
  const { statuses } = await send([row.bytes + SMUGGLED])
  expect(statuses.length).toBeLessThanOrEqual(1)
  if (statuses.length === 1 && row.status !== null) expect(statuses[0]).toBe(row.status)
  expect(dispatched).toBe(before)
})

test.each(ROWS)('$name, split at every byte', async row => {
  const before = dispatched
  const whole = row.bytes + SMUGGLED
  const splits = Array.from({ length: row.bytes.length }, (_, at) => at + 1)
  const seen = await Promise.all(splits.map(at => send([whole.slice(0, at), whole.slice(at)])))
  for (const { statuses } of seen) {
    expect(statuses.length).toBeLessThanOrEqual(1)
    expect(statuses.filter(status => status < 400)).toEqual([])
  }
  expect(dispatched).toBe(before)
})

test('a head of 60 KB in two segments is accepted', async () => {
  const padding = 'y'.repeat(60_000)
  const bytes = head(
    'Host: a',
    `X-Padding: ${padding}`,
    'Connection: close',
    'Content-Type: application/json',
    `Content-Length: ${JSON_BODY.length}`,
  )
  const before = dispatched
  const { statuses } = await send([bytes.slice(0, 30_000), bytes.slice(30_000) + JSON_BODY])
  expect(statuses).toEqual([200])
  expect(dispatched).toBe(before + 1)
})

const WHOLE =
  head(
    'Host: a',
    'Connection: close',
    'Content-Type: application/json',
    `Content-Length: ${JSON_BODY.length}`,
  ) + JSON_BODY

test('a body of the right length is dispatched, cut anywhere behind the first line', async () => {
  const first = WHOLE.indexOf('\n') + 1
  for (let at = first; at < WHOLE.length; at++) {
    const { statuses } = await send([WHOLE.slice(0, at), WHOLE.slice(at)])
    expect({ at, statuses }).toEqual({ at, statuses: [200] })
  }
})

test('a first line in two segments is read whole or refused, never misread', async () => {
  const before = dispatched
  let answered = 0
  for (let at = 1; at <= WHOLE.indexOf('\n'); at++) {
    const { statuses } = await send([WHOLE.slice(0, at), WHOLE.slice(at)])
    expect([[200], [505]]).toContainEqual(statuses)
    if (statuses[0] === 200) answered++
  }
  expect(dispatched).toBe(before + answered)
})
