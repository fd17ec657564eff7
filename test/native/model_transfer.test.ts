/** Sender and receiver over real sockets: bytes, statuses, signatures, and peers that misbehave. */
import { createHmac, randomBytes } from 'node:crypto'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import net, { type AddressInfo } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { array, assert, asyncProperty, constantFrom, nat, record } from 'fast-check'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { XXHash128 } from 'xxhash-addon'
import { CHUNK_BYTES_MAX } from '../../src/native/model_chunks.ts'
import {
  ChunkPeer,
  ChunkSender,
  type FetchResult,
  PEER_STREAMS_MAX,
} from '../../src/native/model_transfer.ts'
import { PlainShelf } from '../model/chunk_shelf.ts'

const TOKEN = 'a token that both know'
const FILE = Buffer.alloc(16, 1)
const GENERATION = Buffer.alloc(16, 2)
const folder = mkdtempSync(path.join(os.tmpdir(), 'warmpath-transfer-'))
const ends: (() => void)[] = []

afterEach(() => {
  for (const end of ends.splice(0)) end()
})

process.on('exit', () => rmSync(folder, { recursive: true, force: true }))

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

function opened(name: string, bytes?: Uint8Array): number {
  const file = path.join(folder, name)
  if (bytes !== undefined) writeFileSync(file, bytes)
  const fd = openSync(file, bytes === undefined ? 'w+' : 'r')
  ends.push(() => closeSync(fd))
  return fd
}

function sender(token = '', onWanted: (chunk: number) => void = () => undefined): ChunkSender {
  const one = ChunkSender.open({
    host: '127.0.0.1',
    port: 0,
    token,
    onWanted: (_file, _generation, chunk) => onWanted(chunk),
  })
  ends.push(() => one.close())
  return one
}

function peer(port: number, streams = 2): ChunkPeer {
  const one = ChunkPeer.open({ host: '127.0.0.1', port, streams, isOwnUserOnly: false })
  ends.push(() => one.close())
  return one
}

interface Head {
  readonly file?: Uint8Array
  readonly generation?: Uint8Array
  readonly range?: string
  readonly token?: string
  readonly seconds?: number
  readonly nonce?: string
}

function headOf(head: Head = {}): string {
  const { file = FILE, generation = GENERATION, range = 'bytes=0-9', token = '' } = head
  const target = `/v1/blob/${hex(file)}/${hex(generation)}`
  const ts = head.seconds ?? Math.floor(Date.now() / 1000)
  const nonce = head.nonce ?? randomBytes(16).toString('hex')
  const mac = createHmac('sha256', token)
    .update(`GET\n${target}\n${range}\n${ts}\n${nonce}`)
    .digest('hex')
  const signature = `authorization: Warmpath ts=${ts},nonce=${nonce},mac=${mac}\r\n`
  const lines = `GET ${target} HTTP/1.1\r\nHost: x\r\nRange: ${range}\r\n`
  return `${lines}${token === '' ? '' : signature}\r\n`
}

function rangeOf(chunk: number, size: number): string {
  const first = chunk * CHUNK_BYTES_MAX
  return `bytes=${first}-${Math.min(first + CHUNK_BYTES_MAX, size) - 1}`
}

const FETCH = { offset: 0, length: 10, expected: null, silenceMsMax: 5000 } as const

/** A sender with a file of 10 bytes, whole. */
function smallSender(token = ''): ChunkSender {
  const one = sender(token)
  const bytes = Buffer.from('0123456789')
  one.put(FILE, GENERATION, opened('small', bytes), 10)
  one.putChunk(FILE, GENERATION, 0, XXHash128.hash(bytes))
  return one
}

/** What a raw connection is answered until it has `count` heads, or ends. */
async function raw(port: number, parts: readonly (string | Buffer)[], count = 1): Promise<string> {
  const socket = net.connect(port, '127.0.0.1').setNoDelay()
  ends.push(() => socket.destroy())
  let text = ''
  const done = new Promise<void>(resolve => {
    socket.on('data', chunk => {
      text += chunk.toString('latin1')
      if (text.split('HTTP/1.1 ').length > count && text.endsWith('\r\n\r\n')) resolve()
      if (text.endsWith('0123456789') && text.split('HTTP/1.1 ').length > count) resolve()
    })
    socket.on('close', () => resolve())
    socket.on('error', () => resolve())
  })
  for (const part of parts) {
    await new Promise<void>(resolve => {
      socket.write(part, () => resolve())
    })
  }
  await done
  return text
}

const statusesOf = (text: string): string[] =>
  [...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(match => match[1] ?? '')

describe('a chunk between hosts', () => {
  test('arrives whole and verified, many at once over few sockets', async () => {
    const size = 5 * CHUNK_BYTES_MAX + 4321
    const bytes = Buffer.allocUnsafe(size)
    for (let i = 0; i < size; i += 1) bytes[i] = Math.imul(i, 2654435761) >>> 24
    const from = sender(TOKEN)
    from.put(FILE, GENERATION, opened('big', bytes), size)
    const chunks = Array.from({ length: 6 }, (_, chunk) => {
      const offset = chunk * CHUNK_BYTES_MAX
      const part = bytes.subarray(offset, offset + CHUNK_BYTES_MAX)
      return { chunk, offset, length: part.length, hash: XXHash128.hash(part) }
    })
    for (const { chunk, hash } of chunks) from.putChunk(FILE, GENERATION, chunk, hash)
    const to = opened('copy')
    const other = peer(from.port)
    const results = await Promise.all(
      chunks.map(({ chunk, offset, length, hash }) => {
        const head = headOf({ range: rangeOf(chunk, size), token: TOKEN })
        return other.fetch({ ...FETCH, head, to, offset, length, expected: hash })
      }),
    )
    expect(results.map(({ status }) => status)).toEqual(Array(6).fill(206))
    expect(results.map(({ hash }) => hex(hash))).toEqual(chunks.map(({ hash }) => hex(hash)))
    expect(readFileSync(path.join(folder, 'copy')).equals(bytes)).toBe(true)
    expect(from.facts()).toMatchObject({ bytes: size, requests: 6, refused: 0 })
  })

  test('is refused without the token, with an old time, or with a nonce seen before', async () => {
    const from = smallSender(TOKEN)
    const other = peer(from.port, 1)
    const to = opened('copy')
    const now = Math.floor(Date.now() / 1000)
    const nonce = 'a'.repeat(32)
    const good = { token: TOKEN, nonce }
    const tries: readonly [Head, number][] = [
      [good, 206],
      [good, 401],
      [{ token: '' }, 401],
      [{ token: 'another' }, 401],
      [{ token: TOKEN, seconds: now - 60 }, 401],
      [{ token: TOKEN, seconds: now + 60 }, 401],
      [{ token: TOKEN, nonce: 'short' }, 401],
      [{ token: TOKEN }, 206],
    ]
    for (const [head, status] of tries) {
      expect((await other.fetch({ ...FETCH, head: headOf(head), to })).status).toBe(status)
    }
    // A signature for one chunk opens no other.
    const moved = headOf({ token: TOKEN }).replace('bytes=0-9', 'bytes=0-8')
    expect((await other.fetch({ ...FETCH, head: moved, to })).status).toBe(401)
  })

  test('that is not there as asked gets the status that says why', async () => {
    const from = smallSender()
    const other = Buffer.alloc(16, 9)
    const at = (head: Head): Promise<string> => raw(from.port, [headOf(head)])
    expect(statusesOf(await at({ file: other }))).toEqual(['404'])
    expect(statusesOf(await at({ generation: other }))).toEqual(['409'])
    for (const range of ['bytes=0-8', 'bytes=1-9', 'bytes=0-99', 'bytes=-9', 'bytes=0-', 'x', '']) {
      expect(statusesOf(await at({ range }))).toEqual(['416'])
    }
    const paths = ['/', '/v1/blob/..', `/v1/blob/${'g'.repeat(32)}/${'0'.repeat(32)}`]
    for (const target of paths) {
      expect(statusesOf(await raw(from.port, [`GET ${target} HTTP/1.1\r\n\r\n`]))).toEqual(['404'])
    }
    expect(statusesOf(await raw(from.port, ['POST / HTTP/1.1\r\n\r\n']))).toEqual(['405'])
    expect(statusesOf(await raw(from.port, ['nonsense\r\n\r\n']))).toEqual(['400'])
    const body = 'GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n'
    expect(statusesOf(await raw(from.port, [body]))).toEqual(['400'])
    expect(statusesOf(await raw(from.port, ['x'.repeat(9000)]))).toEqual(['431'])
  })

  test('whose head comes too slowly is cut off, however steadily it comes', async () => {
    const from = smallSender(TOKEN)
    const socket = net.connect(from.port, '127.0.0.1').setNoDelay()
    ends.push(() => socket.destroy())
    const trickle = setInterval(() => socket.write('x'), 50)
    await new Promise<void>(resolve => {
      socket.on('error', () => undefined).on('close', () => resolve())
    })
    clearInterval(trickle)
    await vi.waitFor(() => expect(from.facts().connections).toBe(0))
  })

  test('a request is read however it is cut, and requests may follow each other', async () => {
    const from = smallSender()
    const head = Buffer.from(headOf())
    for (let cut = 1; cut < head.length; cut += 7) {
      const text = await raw(from.port, [head.subarray(0, cut), head.subarray(cut)])
      expect(text.endsWith('\r\n\r\n0123456789')).toBe(true)
    }
    const three = await raw(from.port, [Buffer.concat([head, head, head])], 3)
    expect(statusesOf(three)).toEqual(['206', '206', '206'])
  })

  test('that is on its way is waited for, and JavaScript hears of it once', async () => {
    const wanted: number[] = []
    const from = sender('', chunk => wanted.push(chunk))
    const bytes = Buffer.from('0123456789')
    from.put(FILE, GENERATION, opened('small', bytes), 10)
    const to = opened('copy')
    // Two connections: one peer's first stream may take both requests, which are held in turn then.
    const fetch = (): Promise<FetchResult> =>
      peer(from.port, 1).fetch({ ...FETCH, head: headOf(), to })
    const both = Promise.all([fetch(), fetch()])
    await vi.waitFor(() => expect(from.facts().held).toBe(2))
    await vi.waitFor(() => expect(wanted).toEqual([0]))
    from.putChunk(FILE, GENERATION, 0, XXHash128.hash(bytes))
    expect((await both).map(({ status }) => status)).toEqual([206, 206])
  })

  test('that will not come is refused at once, and again when nobody answers', async () => {
    const from = sender('', chunk => from.refuse(FILE, GENERATION, chunk))
    from.put(FILE, GENERATION, opened('small', Buffer.alloc(10)), 10)
    const other = peer(from.port, 1)
    const to = opened('copy')
    for (let i = 0; i < 3; i++) {
      expect((await other.fetch({ ...FETCH, head: headOf(), to })).status).toBe(503)
    }
  })

  test('answers as the plain model does, whatever is put, dropped and asked', async () => {
    const one = record({
      what: constantFrom('put', 'chunk', 'drop', 'get', 'get'),
      file: nat({ max: 2 }),
      generation: nat({ max: 1 }),
      chunk: nat({ max: 2 }),
    })
    const size = 2 * CHUNK_BYTES_MAX + 10
    const fd = opened('three', Buffer.alloc(size, 7))
    await assert(
      asyncProperty(array(one, { maxLength: 30 }), async commands => {
        const model = new PlainShelf()
        const from = ChunkSender.open({
          host: '127.0.0.1',
          port: 0,
          token: '',
          onWanted: (file, generation, chunk) => from.refuse(file, generation, chunk),
        })
        const other = peer(from.port, 1)
        const to = openSync(path.join(folder, 'copy'), 'w+')
        for (const { what, file, generation, chunk } of commands) {
          const ids = [Buffer.alloc(16, file), Buffer.alloc(16, generation)] as const
          const names = [hex(ids[0]), hex(ids[1])] as const
          const length = chunk === 2 ? 10 : CHUNK_BYTES_MAX
          const hash = XXHash128.hash(Buffer.alloc(length, 7))
          if (what === 'put') {
            from.put(...ids, fd, size)
            model.put(...names)
          } else if (what === 'drop') {
            from.drop(...ids)
            model.drop(...names)
          } else if (what === 'chunk') {
            const known = from.putChunk(...ids, chunk, hash)
            expect(known).toBe(model.putChunk(...names, chunk, hex(hash)))
          } else {
            const head = headOf({ file: ids[0], generation: ids[1], range: rangeOf(chunk, size) })
            const got = await other.fetch({ ...FETCH, head, to, length })
            const { status, hash: said } = model.get(...names, chunk)
            expect(got.status).toBe(status)
            if (status === 206) expect(hex(got.hash)).toBe(said)
          }
        }
        from.close()
        closeSync(to)
      }),
      { numRuns: 25 },
    )
  })
})

/** A server that sends these bytes to whoever asks, then ends the connection or is silent. */
async function liar(bytes: Buffer, isSilent = false): Promise<number> {
  const server = net.createServer(socket => {
    socket.on('error', () => undefined)
    socket.once('data', () => {
      if (isSilent) socket.write(bytes)
      else socket.end(bytes)
    })
  })
  ends.push(() => server.close())
  await new Promise<void>(resolve => {
    server.listen(0, '127.0.0.1', resolve)
  })
  return (server.address() as AddressInfo).port
}

/** A fetch that fails with this code and leaves the file as it was. */
async function fails(
  port: number,
  code: string,
  expected: Uint8Array | null = null,
): Promise<void> {
  writeFileSync(path.join(folder, 'copy'), 'untouched!')
  const to = openSync(path.join(folder, 'copy'), 'r+')
  const fetch = { ...FETCH, head: headOf(), to, expected, silenceMsMax: 300 }
  await expect(peer(port, 1).fetch(fetch)).rejects.toMatchObject({ code })
  closeSync(to)
  expect(readFileSync(path.join(folder, 'copy'), 'utf8')).toBe('untouched!')
}

describe('a peer that misbehaves', () => {
  const body = Buffer.from('0123456789')
  const reply = (hash: Uint8Array, length = body.length, status = '206 Partial Content'): Buffer =>
    Buffer.concat([
      Buffer.from(`HTTP/1.1 ${status}\r\nContent-Length: ${length}\r\n`),
      Buffer.from(`X-Warmpath-XXH3-128: ${hex(hash)}\r\n\r\n`),
      body,
    ])

  test('whose bytes are not what it says, or not what is expected, changes nothing', async () => {
    await fails(await liar(reply(Buffer.alloc(16, 5))), 'EBADMSG')
    await fails(await liar(reply(XXHash128.hash(body))), 'EBADMSG', Buffer.alloc(16, 5))
  })

  test('that answers with another length, or without a hash, is refused', async () => {
    await fails(await liar(reply(XXHash128.hash(body), 9)), 'EPROTO')
    await fails(await liar(reply(XXHash128.hash(body), 2 ** 40)), 'EPROTO')
    await fails(await liar(Buffer.from('HTTP/1.1 206 x\r\nContent-Length: 10\r\n\r\n')), 'EPROTO')
    await fails(await liar(Buffer.from('SSH-2.0-x\r\n\r\n')), 'EPROTO')
    await fails(await liar(Buffer.alloc(40_000, 'x')), 'EPROTO')
  })

  test('that ends at any byte of its reply is an error of that fetch', async () => {
    const whole = reply(XXHash128.hash(body))
    for (let cut = 0; cut < whole.length; cut += 5) {
      await fails(await liar(whole.subarray(0, cut)), 'ECONNRESET')
    }
  })

  test('that falls silent, or is not there at all, is given up in time', async () => {
    await fails(await liar(reply(XXHash128.hash(body)).subarray(0, 60), true), 'ETIMEDOUT')
    const server = net.createServer().listen(0, '127.0.0.1')
    await new Promise(resolve => {
      server.once('listening', resolve)
    })
    const { port } = server.address() as AddressInfo
    await new Promise(resolve => {
      server.close(resolve)
    })
    await fails(port, 'ECONNREFUSED')
  })

  test('that is silent is not asked for what waits behind', async () => {
    let connections = 0
    const server = net.createServer(socket => {
      connections += 1
      socket.on('error', () => undefined).resume()
    })
    ends.push(() => server.close())
    await new Promise<void>(resolve => {
      server.listen(0, '127.0.0.1', resolve)
    })
    writeFileSync(path.join(folder, 'copy'), 'untouched!')
    const to = openSync(path.join(folder, 'copy'), 'r+')
    const asked = peer((server.address() as AddressInfo).port, 1)
    const fetch = { ...FETCH, head: headOf(), to, silenceMsMax: 300 }
    const fetches = Array.from({ length: 8 }, () => asked.fetch(fetch))
    for (const one of await Promise.allSettled(fetches)) {
      expect(one).toMatchObject({ status: 'rejected', reason: { code: 'ETIMEDOUT' } })
    }
    closeSync(to)
    expect(connections).toBe(1)
  })

  test('arguments out of their domain are TypeErrors', async () => {
    const streams = PEER_STREAMS_MAX + 1
    const options = { host: '127.0.0.1', port: 1, streams, isOwnUserOnly: true }
    expect(() => ChunkPeer.open(options)).toThrow(TypeError)
    expect(() => ChunkPeer.open({ ...options, streams: 1, port: 70_000 })).toThrow(TypeError)
    const from = sender()
    expect(() => from.put(Buffer.alloc(3), GENERATION, 0, 1)).toThrow(TypeError)
    const bad = { ...FETCH, head: 'GET / HTTP/1.1', to: 0 }
    await expect(peer(1).fetch(bad)).rejects.toThrow(TypeError)
  })
})
