import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Children } from '../../bench/children.ts'
import { executable, runInterleaved, runLoad } from '../../bench/load_client.ts'

// A measure that cannot see a fault may not report that there is none: each fault that
// load_client counts is made here, from the bytes of a real reply of mock_node.

const ROOT = path.resolve(import.meta.dirname, '../..')
const isBuilt = existsSync(path.join(ROOT, 'build/Release/mock_node'))
const NO_ID = 'r999999999999999'

type Reply = (socket: Socket, id: string) => void
const children = new Children()
let mockUrl = ''
let stream = ''
let plain = ''
let server: Server
let url = ''
let reply: Reply = () => {}

async function rawReply(fields: string, end: RegExp): Promise<string> {
  const { hostname, port } = new URL(mockUrl)
  const socket = connect(Number(port), hostname)
  const body = `{"user":"${NO_ID}","max_tokens":2${fields},"messages":[]}`
  const head = 'POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\ncontent-length: '
  socket.write(`${head}${body.length}\r\n\r\n${body}`)
  let text = ''
  for await (const part of socket) {
    text += String(part)
    if (end.test(text)) break
  }
  return text
}

function withId(text: string, id: string): string {
  return text.replaceAll(NO_ID, id)
}

beforeAll(async () => {
  if (!isBuilt) return
  const child = await children.start({
    command: executable('mock_node'),
    args: [],
    core: null,
    outputFile: null,
  })
  const line: { url: string } = JSON.parse(child.firstLine)
  mockUrl = line.url
  stream = await rawReply(',"stream":true', /\r\n0\r\n\r\n$/)
  plain = await rawReply('', /\}$/)
  server = createServer(socket => {
    socket.setNoDelay(true)
    let text = ''
    socket.on('error', () => {})
    socket.on('data', part => {
      text += String(part)
      if (!text.endsWith('}]}')) return
      const id = /"user":"(r\d{15})"/.exec(text)?.[1] ?? ''
      text = ''
      reply(socket, id)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  url = address !== null && typeof address === 'object' ? `http://127.0.0.1:${address.port}` : ''
})

afterAll(async () => {
  server?.close()
  await children.stopAll()
})

const STREAM = ['--stream', '--max-tokens', '2', '--requests', '1']
const PLAIN = ['--requests', '2']

describe.runIf(isBuilt)('load_client', () => {
  test('the mock itself is without faults, and its events are stamped', async () => {
    const words = ['--stream', '--max-tokens', '50', '--requests', '40', '--connections', '4']
    const result = await runLoad(mockUrl, null, words)
    expect(result).toMatchObject({ faults: 0, requests: 40, tokens: 2000, reconnects: 0 })
    expect(result.transit_ms.count).toBe(40 * 51)
  })

  test('a reply counts the same in whatever pieces it arrives', async () => {
    const whole = await runLoad(mockUrl, null, STREAM)
    for (let split = 1; split < stream.length; split += 7) {
      reply = (socket, id) => {
        const text = withId(stream, id)
        socket.write(text.slice(0, split))
        setImmediate(() => socket.write(text.slice(split)))
      }
      const result = await runLoad(url, null, STREAM)
      expect(result, `split at ${split}`).toMatchObject({ faults: 0, body_hash: whole.body_hash })
    }
  }, 60_000)

  test.each<[string, readonly string[], Reply, object]>([
    ['a reply to another request', PLAIN, socket => socket.write(plain), { foreign: 2 }],
    ['an event of another request', STREAM, socket => socket.write(stream), { foreign: 1 }],
    [
      'a stream without its last event',
      STREAM,
      (socket, id) => socket.write(withId(stream, id).replace('e\r\ndata: [DONE]\n\n\r\n', '')),
      { cut: 1 },
    ],
    [
      'a stream that ends in the middle',
      STREAM,
      (socket, id) => socket.end(withId(stream, id).slice(0, 400)),
      { errors: 1 },
    ],
    [
      'an error status',
      PLAIN,
      (socket, id) => socket.write(withId(plain, id).replace('200 OK', '503 Busy')),
      { non_2xx: 2 },
    ],
    ['bytes behind a reply', PLAIN, (s, id) => s.write(`${withId(plain, id)}x`), { errors: 2 }],
  ])('a fault is seen: %s', async (_name, words, wrong, counts) => {
    reply = wrong
    const result = await runLoad(url, null, words)
    expect(result).toMatchObject(counts)
    expect(result.faults).toBeGreaterThan(0)
    expect(result.first_fault).not.toBe('')
  })

  test('a changed byte is seen', async () => {
    let replies = 0
    reply = (socket, id) => {
      const text = withId(plain, id)
      socket.write(++replies === 1 ? text : text.replace('" path"', '" bath"'))
    }
    expect(await runLoad(url, null, PLAIN)).toMatchObject({ differing: 1, faults: 1 })
  })

  test('stalls of 40 ms are seen', async () => {
    reply = (socket, id) => void setTimeout(() => socket.write(withId(plain, id)), 40)
    const words = ['--requests', '64', '--connections', '32']
    const result = await runLoad(url, null, words)
    expect(result.faults).toBe(0)
    // A crowded machine may smear the heap, so only the undisturbed case must say so.
    if (result.latency_ms.p99 < 42) expect(result.stall_cluster).toBe(true)
  })

  test('a target that refuses ends the run', async () => {
    const result = await runLoad('http://127.0.0.1:1', null, ['--requests', '5'])
    expect(result).toMatchObject({ errors: 5, first_fault: 'connection refused' })
  })

  test('interleaved differences are to the first target', async () => {
    reply = (socket, id) => void setTimeout(() => socket.write(withId(plain, id)), 5)
    const [direct, slow] = await runInterleaved([mockUrl, url], null, ['--requests', '20'])
    expect(direct).toMatchObject({ faults: 0, added_p50_ms: 0 })
    expect(slow?.faults).toBe(0)
    expect(slow?.added_p50_ms).toBeGreaterThan(3)
  })
})
