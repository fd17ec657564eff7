import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer as createHttpsServer } from 'node:https'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { createServer as createTlsServer } from 'node:tls'
import type { Dispatcher } from 'undici'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Attempt, type AttemptListener } from '../../src/exchange/attempt.ts'
import { afterRead } from '../../src/nodes/node_socket.ts'
import { classifySocketError } from '../../src/nodes/socket_errors.ts'
import { NodeSockets, type SocketTarget } from '../../src/nodes/sockets.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
})

function openSockets(connectTimeoutMs = 1000): NodeSockets {
  const sockets = new NodeSockets({ connectTimeoutMs })
  cleanups.push(() => sockets.close())
  return sockets
}

function targetOf(server: Server, protocol = 'http'): SocketTarget {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  const { port } = server.address() as AddressInfo
  return { id: `127.0.0.1:${port}`, url: `${protocol}://127.0.0.1:${port}` }
}

/** A server that says whatever `answer` writes once it has got a request. */
async function rawNode(answer: (socket: Socket) => void, protocol = 'http'): Promise<SocketTarget> {
  const serve = (socket: Socket): void => {
    socket.on('error', () => {})
    socket.on('data', () => answer(socket))
    cleanups.push(() => socket.destroy())
  }
  const server = protocol === 'http' ? createServer(serve) : createTlsServer(identity(), serve)
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  cleanups.push(() => server.close())
  return targetOf(server, protocol)
}

interface CutNode {
  readonly node: SocketTarget
  readonly cutAt: (cut: number) => void
}

/** A node that says `reply` in two pieces. */
async function cutNode(reply: string, protocol: string): Promise<CutNode> {
  let cut = 0
  const node = await rawNode(socket => {
    socket.write(reply.slice(0, cut), () => setImmediate(() => socket.write(reply.slice(cut))))
  }, protocol)
  const cutAt = (next: number): void => {
    cut = next
  }
  return { node, cutAt }
}

const hasOpenssl = spawnSync('openssl', ['version']).status === 0

/** A key of 127.0.0.1 and a certificate that only itself vouches for. */
function identity(): { key: Buffer; cert: Buffer } {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'warmpath-tls-'))
  const [key, cert] = [path.join(folder, 'key.pem'), path.join(folder, 'cert.pem')]
  const subject = ['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1']
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  const files = ['-keyout', key, '-out', cert]
  try {
    execFileSync('openssl', ['req', '-x509', ...curve, ...subject, ...files], { stdio: 'ignore' })
    return { key: readFileSync(key), cert: readFileSync(cert) }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** Until the end of the test every certificate is believed. */
function trustAll(): void {
  const name = 'NODE_TLS_REJECT_UNAUTHORIZED'
  const before = process.env[name]
  cleanups.push(() => {
    if (before === undefined) delete process.env[name]
    else process.env[name] = before
  })
  process.env[name] = '0'
}

/** Collects a reply; `onPiece` may pause it. */
class Collect implements Dispatcher.DispatchHandler {
  readonly ended: Promise<void>
  controller: Dispatcher.DispatchController | null = null
  headers: object = {}
  body = ''
  pieces = 0
  error: Error | null = null
  #end: () => void = () => {}
  readonly #onPiece: (collect: Collect) => void
  constructor(onPiece: (collect: Collect) => void = () => {}) {
    this.#onPiece = onPiece
    this.ended = new Promise(resolve => {
      this.#end = resolve
    })
  }
  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.controller = controller
  }
  onResponseStart(_: Dispatcher.DispatchController, __: number, headers: object): void {
    this.headers = headers
  }
  onResponseData(_: Dispatcher.DispatchController, chunk: Buffer): void {
    // The parser says a piece of no bytes when it goes on.
    if (chunk.length === 0) return
    this.body += chunk.toString('latin1')
    this.pieces++
    this.#onPiece(this)
  }
  onResponseEnd(): void {
    this.#end()
  }
  onResponseError(_: Dispatcher.DispatchController, error: Error): void {
    this.error = error
    this.#end()
  }
}

const GET = { path: '/', method: 'GET' } as const

function chunked(...parts: string[]): string {
  const body = parts.map(part => `${part.length.toString(16)}\r\n${part}\r\n`).join('')
  return `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${body}0\r\n\r\n`
}

describe.each(hasOpenssl ? ['http', 'https'] : ['http'])('a socket to a node, %s', protocol => {
  beforeEach(() => {
    if (protocol === 'https') trustAll()
  })

  test('a reply that is cut at any byte, and paused at every piece, arrives whole', async () => {
    const reply = chunked('one', 'two and a half', 'three')
    const { node, cutAt } = await cutNode(reply, protocol)
    const sockets = openSockets()
    for (let cut = 1; cut < reply.length; cut++) {
      cutAt(cut)
      const got = new Collect(({ controller }) => {
        controller?.pause()
        setImmediate(() => controller?.resume())
      })
      sockets.dispatch(node, GET, got)
      await got.ended
      expect([cut, got.error, got.body]).toEqual([cut, null, 'onetwo and a halfthree'])
    }
    expect(sockets.stats(node).connected).toBeLessThanOrEqual(2)
  })

  test('a head that is cut at any byte keeps its fields', async () => {
    const fields = { 'x-first': 'a'.repeat(200), 'x-second': 'b'.repeat(300), 'x-third': 'c' }
    const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`)
    const reply = `HTTP/1.1 200 OK\r\n${lines.join('')}content-length: 2\r\n\r\nok`
    const { node, cutAt } = await cutNode(reply, protocol)
    const sockets = openSockets()
    for (let cut = 1; cut < reply.length; cut++) {
      cutAt(cut)
      const got = new Collect()
      sockets.dispatch(node, GET, got)
      await got.ended
      expect([cut, got.error, got.body]).toEqual([cut, null, 'ok'])
      expect([cut, got.headers]).toEqual([cut, { ...fields, 'content-length': '2' }])
    }
  })

  test('a pause that is lifted within the same read goes on with it', async () => {
    const parts = Array.from({ length: 50 }, (_, i) => `part ${i};`)
    const node = await rawNode(socket => socket.write(chunked(...parts)), protocol)
    const got = new Collect(({ controller }) => {
      controller?.pause()
      queueMicrotask(() => controller?.resume())
    })
    openSockets().dispatch(node, GET, got)
    await got.ended
    expect(got.body).toBe(parts.join(''))
  })

  test('a paused reply is not read on, and nothing of it is lost', async () => {
    const size = 64 << 20
    const piece = Buffer.alloc(1 << 20, 'x')
    let sent: Socket | null = null
    const node = await rawNode(socket => {
      sent = socket
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`)
      for (let i = 0; i < size / piece.length; i++) socket.write(piece)
    }, protocol)
    let bytes = 0
    const got = new Collect(({ controller, body, pieces }) => {
      bytes += body.length
      got.body = ''
      if (pieces === 1) controller?.pause()
    })
    openSockets().dispatch(node, GET, got)
    await expect.poll(() => got.pieces).toBe(1)
    // What the system's buffers of both ends hold has left; the rest stays with the node.
    let waiting = -1
    await expect
      .poll(() => {
        const before = waiting
        waiting = sent?.writableLength ?? 0
        return waiting === before
      })
      .toBe(true)
    expect(waiting).toBeGreaterThan(size / 2)
    expect(got.pieces).toBe(1)
    got.controller?.resume()
    await got.ended
    expect([got.error, bytes]).toEqual([null, size])
  })

  test('an end while the reply is paused is heard behind its bytes', async () => {
    const node = await rawNode(socket => socket.end('HTTP/1.1 200 OK\r\n\r\nall of it'), protocol)
    const cut = await rawNode(
      socket => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na'),
      protocol,
    )
    const sockets = openSockets()
    for (const [target, body, isCut] of [
      [node, 'all of it', false],
      [cut, 'a', true],
    ] as const) {
      const got = new Collect(({ controller }) => {
        controller?.pause()
        setTimeout(() => controller?.resume(), 20)
      })
      sockets.dispatch(target, GET, got)
      await got.ended
      expect([got.body, got.error !== null]).toEqual([body, isCut])
    }
  })

  test('what an attempt is handed is right while it is, whatever is read beside it', async () => {
    const count = 40
    const node = await rawNode(socket => {
      socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
      const letter = String.fromCodePoint(65 + ((socket.remotePort ?? 0) % 26))
      let left = count
      const more = (): void => {
        socket.write(`64\r\n${letter.repeat(100)}\r\n`)
        if (--left > 0) setImmediate(more)
        else socket.write('0\r\n\r\n')
      }
      more()
    }, protocol)
    const sockets = openSockets()
    await Promise.all(
      Array.from({ length: 20 }, async () => {
        let body = ''
        await new Promise<void>(resolve => {
          const listener: AttemptListener = {
            onHead: () => {},
            onData: (_, piece) => {
              body += piece.toString()
            },
            onDone: () => resolve(),
            onBroken: () => resolve(),
          }
          // The placement is not looked at by an attempt.
          // oxlint-disable-next-line typescript/no-unsafe-type-assertion
          sockets.dispatch(node, GET, new Attempt(null as never, listener))
        })
        expect(body).toBe((body[0] ?? '').repeat(count * 100))
      }),
    )
  })

  test('a task behind a read runs in the same callback, without one as a microtask', async () => {
    const order: string[] = []
    const node = await rawNode(socket => socket.write(chunked('a', 'b')), protocol)
    const got = new Collect(({ pieces }) => {
      order.push(`piece ${pieces}`)
      queueMicrotask(() => order.push(`microtask of ${pieces}`))
      afterRead(() => order.push(`task of ${pieces}`))
    })
    openSockets().dispatch(node, GET, got)
    await got.ended
    await new Promise(setImmediate)
    expect(order.slice(0, 3)).toEqual(['piece 1', 'piece 2', 'task of 1'])
    expect(order.slice(3).sort()).toEqual(['microtask of 1', 'microtask of 2', 'task of 2'])
    await new Promise<void>(resolve => afterRead(resolve))
  })
})

describe('connecting to a node', () => {
  test('a node that does not accept is "refused" after the timeout', async () => {
    const script = `const s = require('node:net').createServer()
      s.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => console.log(s.address().port))`
    const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
    const exited = new Promise(resolve => child.once('exit', resolve))
    cleanups.push(() => {
      child.kill('SIGKILL')
      return exited
    })
    const port = Number(await new Promise(resolve => child.stdout.once('data', resolve)))
    child.kill('SIGSTOP')
    // The system accepts for the stopped process until its queue is full.
    const waiting = Array.from({ length: 8 }, () => connect(port, '127.0.0.1'))
    cleanups.push(() => waiting.forEach(socket => socket.on('error', () => {}).destroy()))
    await expect.poll(() => waiting.filter(socket => !socket.connecting).length).toBeGreaterThan(0)
    const got = new Collect()
    const node = { id: 'full', url: `http://127.0.0.1:${port}` }
    openSockets(200).dispatch(node, GET, got)
    await got.ended
    expect(got.error?.message).toBe(`127.0.0.1:${port} did not accept within 200 ms`)
    expect(classifySocketError(got.error)).toBe('refused')
  })

  test.skipIf(!hasOpenssl)('a node behind TLS: a bad certificate is "refused"', async () => {
    const server = createHttpsServer(identity(), (_, response) => response.end('over TLS'))
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    cleanups.push(() => {
      server.closeAllConnections()
      server.close()
    })
    const node = targetOf(server, 'https')
    const refused = new Collect()
    openSockets().dispatch(node, GET, refused)
    await refused.ended
    expect(classifySocketError(refused.error)).toBe('refused')

    trustAll()
    const trusted = new Collect()
    openSockets().dispatch(node, GET, trusted)
    await trusted.ended
    expect([trusted.error, trusted.body]).toEqual([null, 'over TLS'])
  })
})
