/** Peers that send wrong bytes, lie, break off, stall, or have another generation. */
import { randomBytes } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { CHUNK_BYTES, digestOf, fileIdOf, generationOf } from '../../src/model-cache/digest.ts'
import type { Member } from '../../src/model-cache/member.ts'
import { javascriptMover, nativeMover } from '../../src/model-cache/mover.ts'
import { bytesOf, cacheOf, Site } from './members.ts'

const MIB = 2 ** 20
const NAME = 'm/a'
let site: Site
const servers: Server[] = []

beforeEach(() => {
  site = new Site(true)
})
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections()
    await new Promise(resolve => server.close(resolve))
  }
  await site.close()
})

/** How a peer answers a request for a chunk, given what it should be. */
type Answer = (response: ServerResponse, chunk: Buffer, request: IncomingMessage) => void

function reply(response: ServerResponse, bytes: Buffer, digest: Buffer): void {
  const headers = { 'x-warmpath-xxh3-128': digest.toString('hex'), 'content-length': bytes.length }
  response.writeHead(206, headers).end(bytes)
}

function flipped(chunk: Buffer): Buffer {
  const bytes = Buffer.from(chunk)
  bytes[1000]! ^= 1
  return bytes
}

/** A peer that says it has the whole file, and answers as it likes; gives its address. */
async function badPeer(
  member: Member,
  bytes: Buffer,
  answer: Answer,
  name = NAME,
): Promise<string> {
  const fileId = fileIdOf('source', name)
  const generation = generationOf(cacheOf(member).slot(name)!.file)
  const chunks = Array.from({ length: Math.ceil(bytes.length / CHUNK_BYTES) }, (_, at) =>
    bytes.subarray(at * CHUNK_BYTES, (at + 1) * CHUNK_BYTES),
  )
  const server = createServer((request, response) => {
    // Decode boundary: the address of a TCP server.
    const { port } = server.address() as AddressInfo
    if (request.url === '/v1/hello') {
      const id = `bad-${port}`
      const holdings = [[fileId, generation, null]]
      const hello = { id, port, dataPort: port, sources: ['source'], holdings }
      request.resume().on('end', () => response.end(JSON.stringify(hello)))
    } else if (request.url?.startsWith('/v1/digests/')) {
      response.end(Buffer.concat(chunks.map(chunk => digestOf(flipped(chunk)))))
    } else {
      const from = Number(/bytes=(\d+)/.exec(request.headers.range ?? '')?.[1])
      answer(response, chunks[from / CHUNK_BYTES]!, request)
    }
  })
  servers.push(server)
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** Wrong bytes, and their own digest. */
function lie(response: ServerResponse, chunk: Buffer): void {
  reply(response, flipped(chunk), digestOf(flipped(chunk)))
}

const ANSWERS: Readonly<Record<string, Answer>> = {
  'one bit is wrong': (response, chunk) => reply(response, flipped(chunk), digestOf(chunk)),
  'another generation': response => response.writeHead(409).end(),
  'unknown file': response => response.writeHead(404).end(),
  'broken off in the body': (response, chunk) => {
    response.writeHead(206, { 'content-length': chunk.length })
    response.write(chunk.subarray(0, 1000), () => response.destroy())
  },
  'broken off in the head': (_, __, request) => {
    request.socket.end('HTTP/1.1 206 Partial Content\r\ncontent-le')
  },
  'too short': (response, chunk) => reply(response, chunk.subarray(1), digestOf(chunk)),
  'no HTTP at all': (_, __, request) => {
    request.socket.end('hello there\r\n\r\n')
  },
}

describe('a peer that has the whole file', () => {
  test.each(Object.keys(ANSWERS))('%s: the source is read, and the bytes are right', async what => {
    const bytes = randomBytes(9 * MIB)
    site.write(NAME, bytes)
    const scout = site.make()
    await scout.start()
    const address = await badPeer(scout, bytes, ANSWERS[what]!)
    const member = site.make({ peers: [address] })
    await member.start()
    await member.preload()
    expect(bytesOf(member, NAME)?.equals(bytes)).toBe(true)
    expect(site.weather.sourceBytes).toBe(bytes.length)
    expect(member.metrics.fallbacks.size).toBeGreaterThan(0)
  })

  test('that stalls is replaced within five seconds', { timeout: 60_000 }, async () => {
    const bytes = randomBytes(9 * MIB)
    const stalls: Readonly<Record<string, Answer>> = {
      silent: () => {},
      'in the head': (_, __, request) => {
        request.socket.write('HTTP/1.1 206 Partial Content\r\ncontent-le')
      },
      'in the body': (response, chunk) => {
        response.writeHead(206, { 'content-length': chunk.length })
        response.write(chunk.subarray(0, 1000))
      },
    }
    const names = Object.keys(stalls)
    for (const name of names) site.write(name, bytes)
    const scout = site.make()
    await scout.start()
    const askedMs = new Map<string, number>()
    const stalling = names.map(name => {
      const answer: Answer = (...given) => {
        if (!askedMs.has(name)) askedMs.set(name, performance.now())
        stalls[name]!(...given)
      }
      return badPeer(scout, bytes, answer, name)
    })
    const peers = await Promise.all(stalling)
    for (const mover of [nativeMover(), javascriptMover()]) {
      askedMs.clear()
      const member = site.make({ peers, mover, openMsMax: 30_000 })
      await member.start()
      const cache = cacheOf(member)
      const loading = names.map(async name => {
        await cache.want(cache.slot(name)!, 'open')
        expect(bytesOf(member, name)?.equals(bytes)).toBe(true)
        expect([name, performance.now() - askedMs.get(name)! < 5_000]).toEqual([name, true])
      })
      await Promise.all(loading)
      expect(member.metrics.fallbacks.get('timeout')).toBeGreaterThanOrEqual(names.length)
    }
  })

  test('that lies about its bytes is found out by another holder, and banned', async () => {
    const bytes = randomBytes(9 * MIB)
    site.write(NAME, bytes)
    const honest = site.make()
    await honest.start()
    await honest.preload()
    site.weather.sourceBytes = 0
    const liar = await badPeer(honest, bytes, lie)
    const member = site.make({ peers: [liar, `127.0.0.1:${honest.port}`] })
    await member.start()
    await member.preload()
    expect(bytesOf(member, NAME)?.equals(bytes)).toBe(true)
    const banned = member.peers.all().filter(peer => peer.state === 'banned')
    expect(banned.map(peer => peer.name)).toEqual([liar])
    expect(member.metrics.mismatches.get(liar)).toBeGreaterThan(0)
  })
})

describe('a peer that alone has the file, and lies about its bytes,', () => {
  test.each([1, 9, 40])('is found out by the source: %i MiB', async mib => {
    const bytes = randomBytes(mib * MIB)
    site.write(NAME, bytes)
    const scout = site.make()
    await scout.start()
    const liar = await badPeer(scout, bytes, (response, chunk) => {
      const wrong = mib === 1 ? Buffer.alloc(chunk.length, 'X') : flipped(chunk)
      reply(response, wrong, digestOf(wrong))
    })
    const member = site.make({ peers: [liar] })
    await member.start()
    await member.preload()
    expect(bytesOf(member, NAME)?.equals(bytes)).toBe(true)
    expect(member.peers.all().map(peer => [peer.name, peer.state])).toEqual([[liar, 'banned']])
    expect(member.metrics.mismatches.get(liar)).toBe(1)
  })

  test('is believed while the source cannot be read', async () => {
    const bytes = randomBytes(9 * MIB)
    site.write(NAME, bytes)
    const scout = site.make()
    await scout.start()
    const other = await badPeer(scout, bytes, (response, chunk) =>
      reply(response, chunk, digestOf(chunk)),
    )
    const member = site.make({ peers: [other] })
    await member.start()
    site.weather.failingOpens = Number.POSITIVE_INFINITY
    await member.preload()
    expect(bytesOf(member, NAME)?.equals(bytes)).toBe(true)
    expect(site.weather.sourceBytes).toBe(0)
  })
})

test('a peer whose hello comes byte by byte holds up neither the start nor a file', async () => {
  const bytes = randomBytes(MIB)
  site.write(NAME, bytes)
  const server = createServer((request, response) => {
    request.resume()
    const trickle = setInterval(() => response.write(' '), 100)
    response.on('close', () => clearInterval(trickle))
  })
  servers.push(server)
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  // Decode boundary: the address of a TCP server.
  const { port } = server.address() as AddressInfo
  const member = site.make({ warmup: `127.0.0.1:${port}` })
  await member.start()
  await member.preload()
  expect(bytesOf(member, NAME)?.equals(bytes)).toBe(true)
  await vi.waitFor(() => expect(member.peers.warmupFault).toBe('no answer in time'), 10_000)
})
