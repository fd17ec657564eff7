/** What the control port takes and gives, asked with bare sockets and signed requests. */
import { once } from 'node:events'
import net, { type AddressInfo } from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { BODY_DIGEST_HEADER, bodyDigest, sign } from '../../src/model-cache/auth.ts'
import { HELLO_BYTES_MAX } from '../../src/model-cache/hello.ts'
import { bytesOf, cacheOf, Site } from './members.ts'

const TOKEN = 'the token of this service'
let site: Site
const ends: (() => void)[] = []

beforeEach(() => {
  site = new Site(true)
})
afterEach(async () => {
  for (const end of ends.splice(0)) end()
  await site.close()
})

function connected(port: number): net.Socket {
  const socket = net.connect(port, '127.0.0.1')
  ends.push(() => socket.destroy())
  return socket.on('error', () => {})
}

/** The status of the first answer to these heads; the body that they speak of is not sent. */
async function statusOf(socket: net.Socket, head: readonly string[]): Promise<number> {
  socket.write(`${head.join('\r\n')}\r\n\r\n`)
  const [part] = await once(socket, 'data')
  return Number(/^HTTP\/1.1 (\d+)/.exec(String(part))?.[1])
}

const HELLO = ['POST /v1/hello HTTP/1.1', 'host: x', `content-length: ${HELLO_BYTES_MAX}`]

function signed(method: string, path: string, extra: string): string {
  return `authorization: ${sign(TOKEN, { method, path, extra }, Date.now())}`
}

describe('a hello', () => {
  test('that is not signed is refused before its body is taken', async () => {
    const member = site.make({ token: TOKEN })
    await member.start()
    expect(await statusOf(connected(member.port), HELLO)).toBe(401)
  })

  test('has room for its body, or is told to come back', async () => {
    const member = site.make({ token: TOKEN })
    await member.start()
    const digest = bodyDigest('whatever')
    const head = (): string[] => [
      ...HELLO,
      `${BODY_DIGEST_HEADER}: ${digest}`,
      signed('POST', '/v1/hello', digest),
    ]
    // For four there is room, and they are waited for; whichever is the fifth hears of it.
    const sockets = Array.from({ length: 5 }, () => connected(member.port))
    const first = Promise.race(sockets.map(socket => statusOf(socket, head())))
    expect(await first).toBe(429)
  })

  test('with another body than the one that was signed is refused', async () => {
    const member = site.make({ token: TOKEN })
    await member.start()
    const digest = bodyDigest('{"id":"a"}')
    const head = ['POST /v1/hello HTTP/1.1', 'host: x', 'content-length: 10']
    const socket = connected(member.port)
    const lines = [`${BODY_DIGEST_HEADER}: ${digest}`, signed('POST', '/v1/hello', digest)]
    expect(await statusOf(socket, [...head, ...lines, '', '{"id":"b"}'])).toBe(401)
  })
})

test('a request for a chunk, sent again to the other port, gets nothing', async () => {
  site.write('a', Buffer.alloc(10, 'a'))
  const member = site.make({ token: TOKEN })
  await member.start()
  await member.preload()
  expect(bytesOf(member, 'a')).not.toBeNull()
  const { fileId, generation } = cacheOf(member).slot('a')!.file
  const path = `/v1/blob/${fileId}/${generation}`
  const head = [`GET ${path} HTTP/1.1`, 'host: x', 'range: bytes=0-9']
  const request = [...head, signed('GET', path, 'bytes=0-9')]
  expect(await statusOf(connected(member.port), request)).toBe(404)
})

test('members behind a balancer of connections find each other where they listen', async () => {
  const warmup = site.make({ isRegistry: true })
  await warmup.start()
  // To the warm-up everybody comes from the address of the balancer.
  const balancer = net.createServer(one => {
    const localAddress = '127.0.0.9'
    const other = net.connect({ port: warmup.port, host: '127.0.0.1', localAddress })
    one.on('error', () => other.destroy()).pipe(other)
    other.on('error', () => one.destroy()).pipe(one)
    ends.push(() => other.destroy())
  })
  balancer.listen(0, '127.0.0.1')
  await once(balancer, 'listening')
  ends.push(() => balancer.close())
  // Decode boundary: the address of a TCP server.
  const { port } = balancer.address() as AddressInfo
  const members = [0, 1].map(() => site.make({ warmup: `127.0.0.1:${port}` }))
  for (const member of members) await member.start()
  const places = members.map(member => `127.0.0.1:${member.port}`)
  expect(warmup.registry?.addresses()).toEqual(places)
  expect(members[1]!.peers.all().map(peer => peer.name)).toContain(places[0])
})
