/**
 * What a relay must do right before its cost may be compared with anything. Run by
 * relay.test.ts against bench/baseline in each of its modes.
 */
import { EventEmitter, once } from 'node:events'
import {
  createServer,
  get,
  type IncomingMessage,
  type ServerResponse,
  request as send,
} from 'node:http'
import path from 'node:path'
import { expect } from 'vitest'
import { z } from 'zod'
import { Children } from '../../bench/children.ts'
import { ROOT } from '../../bench/machine.ts'

const BIG = Buffer.alloc(8 << 20, 'warm path ')
const PIECE_BYTES = 65_536
/** Times that the body of `/huge` repeats BIG: far above what sockets hold. */
const HUGE_TIMES = 5
/** What sockets and buffers between node and client may hold while the client reads nothing. */
const BUFFERED_BYTES_MAX = 20 << 20

interface Rig {
  readonly relay: string
  /** Resolves when the node's side of the next `/hang` request is closed. */
  readonly hung: Promise<unknown>
  readonly written: { bytes: number }
}

async function readAll(message: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = []
  for await (const part of message) parts.push(part)
  return Buffer.concat(parts)
}

async function fetchBody(url: string): Promise<{ message: IncomingMessage; body: Buffer }> {
  const [message]: IncomingMessage[] = await once(get(url, { agent: false }), 'response')
  if (message === undefined) throw new Error('no response')
  return { message, body: await readAll(message) }
}

/** Writes BIG in pieces, as fast as the reader's side takes them. */
async function writeBig(
  response: ServerResponse,
  times: number,
  written: { bytes: number },
): Promise<void> {
  for (let at = 0; at < BIG.length * times; at += PIECE_BYTES) {
    const piece = BIG.subarray(at % BIG.length, (at % BIG.length) + PIECE_BYTES)
    written.bytes += piece.length
    if (!response.write(piece)) await once(response, 'drain')
  }
  response.end()
}

export async function withRig(flags: readonly string[], check: (rig: Rig) => Promise<void>) {
  const children = new Children()
  const written = { bytes: 0 }
  const node = new EventEmitter()
  const hung = once(node, 'hung')
  const server = createServer((request, response) => {
    const { url = '' } = request
    if (url.startsWith('/echo')) {
      void readAll(request).then(body =>
        response.end(`${request.method} ${url} ${body.toString()}`),
      )
    } else if (url === '/sized') {
      response.end(BIG)
    } else if (url === '/chunked') {
      void writeBig(response, 1, written).catch(() => {})
    } else if (url === '/huge-sized') {
      response.writeHead(200, { 'content-length': BIG.length * HUGE_TIMES })
      void writeBig(response, HUGE_TIMES, written).catch(() => {})
    } else if (url === '/huge') {
      void writeBig(response, HUGE_TIMES, written).catch(() => {})
    } else if (url === '/dies') {
      response.write('data: 1\n\n')
      setImmediate(() => response.destroy())
    } else if (url === '/hang') {
      response.write('data: 1\n\n')
      response.once('close', () => node.emit('hung'))
    } else {
      response.writeHead(404, { 'x-node': 'yes' }).end()
    }
  })
  try {
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    if (address === null || typeof address === 'string') throw new Error('no port')
    const nodeUrl = `http://127.0.0.1:${address.port}`
    const { firstLine } = await children.start({
      command: process.execPath,
      args: [path.join(ROOT, 'dist-tools/bench/baseline/relay.js'), '--node', nodeUrl, ...flags],
      core: null,
      outputFile: null,
    })
    const { url } = z.object({ url: z.string() }).parse(JSON.parse(firstLine))
    await check({ relay: url, hung, written })
  } finally {
    await children.stopAll()
    server.closeAllConnections()
    server.close()
  }
}

export async function checkBytes({ relay }: Rig): Promise<void> {
  const request = send(`${relay}/echo?a=1&b`, { method: 'POST', agent: false })
  const replied = once(request, 'response')
  const body = 'x'.repeat(100_000)
  request.end(body)
  const [message]: IncomingMessage[] = await replied
  if (message === undefined) throw new Error('no response')
  expect((await readAll(message)).toString()).toBe(`POST /echo?a=1&b ${body}`)
  const empty = await fetchBody(`${relay}/nothing`)
  expect(empty.message.statusCode).toBe(404)
  expect(empty.message.headers['x-node']).toBe('yes')
  for (const route of ['/sized', '/chunked']) {
    const { message: head, body: big } = await fetchBody(`${relay}${route}`)
    expect(big.equals(BIG), route).toBe(true)
    expect(head.headers['content-length']).toBe(route === '/sized' ? `${BIG.length}` : undefined)
  }
}

/** A client that reads nothing stops the node; when it reads on, all arrives. */
export async function checkBackpressure(rig: Rig): Promise<void> {
  for (const route of ['/huge', '/huge-sized']) await checkSlowClient(rig, route)
}

async function checkSlowClient({ relay, written }: Rig, route: string): Promise<void> {
  written.bytes = 0
  const [message]: IncomingMessage[] = await once(
    get(`${relay}${route}`, { agent: false }),
    'response',
  )
  if (message === undefined) throw new Error('no response')
  message.pause()
  let before = -1
  await expect
    .poll(() => {
      const isStill = before === written.bytes && before > 0
      before = written.bytes
      return isStill
    })
    .toBe(true)
  expect(written.bytes).toBeLessThan(BUFFERED_BYTES_MAX)
  expect((await readAll(message)).length).toBe(BIG.length * HUGE_TIMES)
}

export async function checkAborts({ relay, hung }: Rig): Promise<void> {
  const [dying]: IncomingMessage[] = await once(get(`${relay}/dies`, { agent: false }), 'response')
  if (dying === undefined) throw new Error('no response')
  await readAll(dying).catch(() => {})
  expect(dying.complete).toBe(false)
  const request = get(`${relay}/hang`, { agent: false })
  const [message]: IncomingMessage[] = await once(request, 'response')
  message?.on('error', () => {})
  request.destroy()
  await hung
}

export async function checkRefusal(): Promise<void> {
  await withRig(['--node', 'http://127.0.0.1:1'], async ({ relay }) => {
    const replies = [await fetchBody(`${relay}/echo`), await fetchBody(`${relay}/echo`)]
    expect(new Set(replies.map(({ message }) => message.statusCode))).toEqual(new Set([200, 502]))
  })
}
