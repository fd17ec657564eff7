/**
 * Frames that a well-behaved client does not send, and clients that do not read: what is malformed
 * ends its connection within a second, what is too much ends with a code, and memory stays bounded
 * throughout. Raw sockets, with one gateway thread and with two.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { StandInNode } from '../nodes/stand_in_node.ts'
import type { Gateway } from './gateway.ts'
import { healthy, metric, startGateway, until } from './gateway.ts'
import { BINARY, CLOSE, FIN, frame, PING, RawSocket, TEXT } from './raw_socket.ts'
import { openSocket } from './socket_client.ts'

const CHAT = '/v1/chat/completions'
const MIB = 2 ** 20
/** A stream of 120 MB, in events of 60 KB. */
const FLOOD_EVENTS = 2000
const FLOOD_EVENT_BYTES = 60_000
/** An event that fills more than a socket's queue by itself. */
const HUGE_EVENT_BYTES = 6 * MIB
/** The first half of a character in one fragment, and something else in the next. */
const BROKEN_TEXT = Buffer.concat([
  frame(TEXT, Buffer.from([0xc3])),
  frame(FIN, Buffer.from([0x28])),
])
/** A length of 2⁶² bytes. */
const MORE = Buffer.from([0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
/** Milliseconds without progress after which the gateway closes. */
const BLOCKED_MS = 2000
/** What the process may grow by in a test here; a fault would cost hundreds of megabytes. */
const GROWTH_BYTES_MAX = 120 * MIB

function turn(content: string, lane: string): object {
  return { model: 'm', messages: [{ role: 'user', content }], stream_id: lane }
}

function ask(content: string): Buffer {
  const messages = [{ role: 'user', content }]
  return Buffer.from(JSON.stringify({ model: 'm', messages }))
}

/** True once a value was the same in twenty looks in a row. */
function stillness(look: () => number): () => boolean {
  let last = -1
  let same = 0
  return () => {
    const value = look()
    same = value === last ? same + 1 : 0
    last = value
    return same >= 20
  }
}

function rssOf({ pid }: Gateway): number {
  const text = readFileSync(`/proc/${pid}/status`, 'utf8')
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(text)?.[1]) * 1024
}

describe.each([1, 2])('with %i gateway threads', threads => {
  const node = new StandInNode()
  const folder = mkdtempSync(path.join(os.tmpdir(), 'warmpath-frames-'))
  let gateway: Gateway
  /** Streams whose reader, the gateway, went away before their end. */
  let aborted = 0
  /** Bytes that left the node on the socket that it wrote to last. */
  let sentBytes = 0

  beforeAll(async () => {
    await node.listen()
    const file = path.join(folder, 'warmpath.yaml')
    const limits = `  idle_ms: 8s\n  ping_ms: 60s\n  blocked_ms: ${BLOCKED_MS}ms\n`
    const settings = `websocket:\n${limits}`
    writeFileSync(file, `nodes:\n  - url: ${node.url}\n${settings}`)
    gateway = await startGateway([], ['--config', file, '--threads', String(threads)])
    await healthy(gateway, 1)
    node.onData = (request, response) => {
      response.on('close', () => {
        if (!response.writableEnded) aborted++
      })
      let body = ''
      request.on('data', part => {
        body += String(part)
      })
      request.on('end', () => {
        response.setHeader('content-type', 'text/event-stream')
        const size = body.includes('"flood"') ? FLOOD_EVENT_BYTES : 10
        const big = 'x'.repeat(body.includes('"huge"') ? HUGE_EVENT_BYTES : size)
        const count = body.includes('"flood"') ? FLOOD_EVENTS : 2
        const write = (i: number): void => {
          for (; i < count; i++) {
            const isTaken = response.write(`data: {"i":${i},"text":"${big}"}\n\n`)
            sentBytes = response.socket?.bytesWritten ?? 0
            if (isTaken) continue
            response.once('drain', () => write(i + 1))
            return
          }
          response.end('data: [DONE]\n\n')
        }
        write(0)
      })
    }
  })

  afterAll(async () => {
    expect(await gateway.stop()).toBe(0)
    await node.kill()
    rmSync(folder, { recursive: true })
  })

  test('a message in fragments, with a ping between them, is one message', async () => {
    const raw = await RawSocket.open(gateway.url, CHAT)
    const body = ask('hello')
    raw.socket.write(frame(TEXT, body.subarray(0, 5)))
    raw.socket.write(frame(FIN | PING, Buffer.from('alive')))
    for (let at = 5; at < body.length; at++) {
      const isLast = at + 1 === body.length
      raw.socket.write(frame(isLast ? FIN : 0, body.subarray(at, at + 1)))
    }
    await until(() => raw.received.includes('[DONE]'), 'the answer')
    expect(raw.received.includes('alive')).toBe(true)
    raw.socket.destroy()
  })

  test.each([
    ['a reserved opcode', frame(FIN | 3, Buffer.from('x'))],
    ['text that is not UTF-8', frame(FIN | TEXT, Buffer.from([0xc0, 0xaf]))],
    ['a fragment without a beginning', frame(FIN, Buffer.from('x'))],
    ['a fragment inside of which the text breaks off', BROKEN_TEXT],
    ['a ping that is too long', frame(FIN | PING, Buffer.alloc(126))],
    ['a ping in fragments', frame(PING, Buffer.from('x'))],
    ['a close frame of one byte', frame(FIN | CLOSE, Buffer.from([3]))],
    [
      'a frame that promises more than there is',
      Buffer.concat([Buffer.from([FIN | TEXT, 0xff]), MORE]),
    ],
    ['reserved bits', frame(FIN | 0x40 | TEXT, Buffer.from('{}'))],
  ])('%s ends the connection within a second', async (_, bytes) => {
    const raw = await RawSocket.open(gateway.url, CHAT)
    const sent = performance.now()
    raw.socket.write(bytes)
    await until(() => raw.endedMs > 0, 'the end')
    expect(raw.endedMs - sent).toBeLessThan(1000)
    raw.socket.destroy()
  })

  test('16 MiB pass, 17 MiB end with 1009 and a close frame', async () => {
    const client = await openSocket(gateway.url + CHAT)
    const room = 16 * MIB - ask('').length
    client.ws.send(ask('y'.repeat(room)).toString('utf8'))
    await client.ended(null)
    client.ws.send('y'.repeat(17 * MIB))
    expect(await client.closed).toMatchObject({ code: 1009 })
  })

  test('a message in fragments has the same limit, and one without an end is cut', async () => {
    const before = rssOf(gateway)
    const piece = Buffer.alloc(MIB, 'y')
    const raw = await RawSocket.open(gateway.url, CHAT)
    raw.socket.write(frame(TEXT, piece))
    for (let n = 1; n < 17; n++) raw.socket.write(frame(n < 16 ? 0 : FIN, piece))
    await until(() => raw.closeCode === 1009, 'the close frame')
    const endless = await RawSocket.open(gateway.url, CHAT)
    endless.socket.write(frame(TEXT, piece))
    const more = (): void => {
      while (!endless.socket.destroyed && endless.socket.write(frame(0, piece))) continue
    }
    endless.socket.on('drain', more)
    more()
    await until(() => endless.endedMs > 0, 'the end')
    expect(rssOf(gateway) - before).toBeLessThan(GROWTH_BYTES_MAX)
    raw.socket.destroy()
    endless.socket.destroy()
  })

  test('no mask, or half a frame: no handler is reached, and the socket ends as idle', async () => {
    const before = node.requests.length
    const unmasked = await RawSocket.open(gateway.url, CHAT)
    unmasked.socket.write(frame(FIN | TEXT, ask('unmasked'), false))
    const half = await RawSocket.open(gateway.url, CHAT)
    half.socket.write(frame(FIN | TEXT, ask('half')).subarray(0, 20))
    for (const raw of [unmasked, half]) {
      await until(() => raw.endedMs > 0, 'the end', 25_000)
      raw.socket.destroy()
    }
    expect(node.requests.slice(before).filter(one => one.includes(CHAT))).toEqual([])
  })

  test('a client that closes its side is gone', async () => {
    const raw = await RawSocket.open(gateway.url, CHAT)
    await until(async () => (await metric(gateway, 'warmpath_websockets')) > 0, 'the socket')
    raw.socket.end()
    await until(() => raw.endedMs > 0, 'the end')
    await until(async () => (await metric(gateway, 'warmpath_websockets')) === 0, 'none open')
  })

  test('one that closes its side in the middle of a stream takes the work with it', async () => {
    const before = rssOf(gateway)
    const abortedBefore = aborted
    const asked = node.requests.length
    const raw = await RawSocket.open(gateway.url, CHAT)
    raw.socket.pause()
    raw.say(ask('flood').toString())
    await until(() => node.requests.slice(asked).some(one => one.includes(CHAT)), 'the request')
    raw.socket.end()
    await until(() => aborted > abortedBefore, 'the abort at the node')
    await until(async () => (await metric(gateway, 'warmpath_websockets')) === 0, 'none open')
    expect(rssOf(gateway) - before).toBeLessThan(GROWTH_BYTES_MAX)
    raw.socket.destroy()
  })

  test('pings, bad frames and floods that nobody reads are bounded and ended', async () => {
    const before = rssOf(gateway)
    const ping = frame(FIN | PING, Buffer.alloc(120))
    const bad = frame(FIN | BINARY, Buffer.from('x'))
    for (const one of [ping, bad]) {
      const raw = await RawSocket.open(gateway.url, CHAT)
      raw.socket.pause()
      const many = Buffer.concat(Array.from({ length: 2000 }, () => one))
      const closes = 'warmpath_websocket_closes_total{reason="overload"}'
      const closed = await metric(gateway, closes)
      const flood = (): void => {
        while (!raw.socket.destroyed && raw.socket.write(many)) continue
      }
      raw.socket.on('drain', flood)
      flood()
      await until(async () => (await metric(gateway, closes)) > closed, 'the end of the flood')
      raw.socket.destroy()
    }
    const reader = await RawSocket.open(gateway.url, CHAT)
    reader.socket.pause()
    reader.socket.write(frame(FIN | TEXT, ask('flood')))
    const slow = 'warmpath_websocket_closes_total{reason="overload"}'
    const closed = await metric(gateway, slow)
    await until(async () => (await metric(gateway, slow)) > closed, 'the blocked socket')
    expect(rssOf(gateway) - before).toBeLessThan(GROWTH_BYTES_MAX)
    reader.socket.destroy()
  })

  test('behind an event larger than the queue nothing is lost, and pings are welcome', async () => {
    const client = await openSocket(gateway.url + CHAT)
    client.ws.pause()
    client.ask(turn('huge', 'a'))
    for (const lane of ['b', 'c', 'd']) {
      client.ask(turn('x', lane))
      client.ws.ping()
    }
    client.ws.resume()
    await Promise.all(['a', 'b', 'c', 'd'].map(lane => client.ended(lane)))
    for (const lane of ['a', 'b', 'c', 'd']) expect(client.lane(lane)).toHaveLength(3)
    await client.close()
  })

  test('a huge event goes on where the one before it left room', async () => {
    const client = await openSocket(gateway.url + CHAT)
    client.ws.pause()
    client.ask(turn('huge', 'a'))
    // The second event waits in the gateway for the first to be taken.
    sentBytes = 0
    await until(() => sentBytes > 0, 'the answer')
    await until(
      stillness(() => sentBytes),
      'all that the gateway takes from the node',
    )
    client.ws.resume()
    await client.ended('a')
    expect(client.lane('a')).toHaveLength(3)
    await client.close()
  })

  test('a lane with a backlog does not hold up the others', async () => {
    const client = await openSocket(gateway.url + CHAT)
    // The backlog: 120 MB that the client is slow to take.
    client.ask({ model: 'm', messages: [{ role: 'user', content: 'flood' }], stream_id: 'big' })
    await until(() => client.texts.length > 20, 'the flood')
    client.ws.pause()
    for (const lane of ['a', 'b', 'c', 'd']) {
      client.ask({ model: 'm', messages: [{ role: 'user', content: 'x' }], stream_id: lane })
    }
    client.ws.resume()
    await Promise.all(['a', 'b', 'c', 'd'].map(lane => client.ended(lane)))
    // What stood in the kernel's buffers came first; the rest of the flood waits its turn.
    const big = client.texts.filter(text => text.startsWith('{"stream_id":"big"')).length
    expect(big).toBeLessThan(FLOOD_EVENTS - 100)
    client.ws.terminate()
  })

  test('a gateway that stood still does not hold that against its clients', async () => {
    const client = await openSocket(gateway.url + CHAT)
    client.ask(turn('flood', 'big'))
    await until(() => client.texts.length > 20, 'the flood')
    client.ws.pause()
    await until(
      stillness(() => sentBytes),
      'a gateway that takes no more from the node',
    )
    gateway.signal('SIGSTOP')
    const stopped = performance.now()
    await until(() => performance.now() - stopped > 1.2 * BLOCKED_MS, 'a long standstill')
    client.ws.resume()
    gateway.signal('SIGCONT')
    await client.ended('big')
    await client.close()
  })
})
