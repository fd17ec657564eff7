/** Who takes part without a token: processes of our own user, and nobody's claims uninvited. */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { fileIdOf, generationOf } from '../../src/model-cache/digest.ts'
import type { Member } from '../../src/model-cache/member.ts'
import { ChunkPeer, ChunkSender } from '../../src/native/model_transfer.ts'
import { end, tracked } from './children.ts'
import { bytesOf, cacheOf, Site } from './members.ts'

const MIB = 2 ** 20

/** A user who may do nothing. */
const NOBODY = 65_534

/** Another user can be had. */
const isRoot = process.getuid?.() === 0
if (!isRoot) {
  process.stderr.write('\n*** NOT TESTED HERE: members of other users (not root) ***\n\n')
}

let site: Site
const children: ChildProcess[] = []

beforeEach(() => {
  site = new Site(false)
})
afterEach(async () => {
  await Promise.all(children.splice(0).map(child => end(child, 'SIGKILL')))
  await site.close()
})

/** What a member says that claims to have all of a file; nobody answers at its port. */
function claim(member: Member, name: string, port = 9): string {
  const { file } = cacheOf(member).slot(name)!
  const holdings = [[fileIdOf('source', name), generationOf(file), null]]
  return JSON.stringify({ id: 'stranger', port, dataPort: port, sources: ['source'], holdings })
}

const POST = `
const [, port, method, path, body] = process.argv
require('http').request({ port, method, path, headers: { range: 'bytes=0-9' } }, reply => {
  reply.resume().on('end', () => console.log(reply.statusCode))
}).on('error', () => console.log('cut off')).end(body)`

const SERVE = `
const [, body] = process.argv
const server = require('http').createServer((request, reply) => {
  if (request.url !== '/v1/hello') {
    const digest = '8d07a3e29e4f4e5b8b8b8b8b8b8b8b8b'
    const headers = { 'content-length': 10, 'x-warmpath-xxh3-128': digest }
    return reply.writeHead(206, headers).end('XXXXXXXXXX')
  }
  const { port } = server.address()
  const hello = { ...JSON.parse(body), port, dataPort: port }
  request.resume().on('end', () => reply.end(JSON.stringify(hello)))
}).listen(0, '127.0.0.1', () => console.log(server.address().port))`

/** The first line that a program of another user prints. */
async function asNobody(script: string, ...words: string[]): Promise<string> {
  const options = { uid: NOBODY, gid: NOBODY, cwd: '/' }
  const child = tracked(spawn(process.execPath, ['-e', script, '--', ...words], options))
  children.push(child)
  const [line] = await once(child.stdout, 'data')
  return String(line).trim()
}

function greet(port: number, body: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const asked = request({ port, method: 'POST', path: '/v1/hello' }, reply => {
      reply.resume().on('end', () => resolve(reply.statusCode ?? 0))
    })
    asked.on('error', reject)
    asked.end(body)
  })
}

async function started(options: object): Promise<Member> {
  site.write('a', randomBytes(MIB))
  const member = site.make(options)
  await member.start()
  return member
}

describe.skipIf(!isRoot)('a process of another user', () => {
  test('is refused by a member without a token, and once said so', async () => {
    const member = await started({ isRegistry: true })
    const { fileId, generation } = cacheOf(member).slot('a')!.file
    const port = String(member.port)
    const asks = (method: string, path: string): Promise<string> =>
      asNobody(POST, port, method, path, method === 'POST' ? claim(member, 'a') : '')
    expect(await asks('POST', '/v1/hello')).toBe('403')
    expect(await asks('GET', `/v1/digests/${fileId}/${generation}`)).toBe('403')
    expect(await asks('GET', `/v1/blob/${fileId}/${generation}`)).toBe('403')
    expect(await asks('GET', '/v1/resident')).toBe('200')
    expect(member.registry?.addresses()).toEqual([])
    const errors = site.log.lines.filter(({ level }) => level === 'error')
    expect(errors.map(({ message }) => message)).toEqual([expect.stringMatching(/another user/)])
  })

  test('is not believed when it answers where a member should', async () => {
    const scout = await started({})
    const port = await asNobody(SERVE, claim(scout, 'a'))
    const member = await started({ warmup: `127.0.0.1:${port}` })
    await member.preload()
    expect(member.peers.all()).toEqual([])
    expect(member.peers.warmupFault).toMatch(/of one user/)
    expect(cacheOf(member).slot('a')?.state).toBe('resident')
  })
})

describe.skipIf(!isRoot)('a process of another user, and native threads', () => {
  test('gets no chunk without a token, and is cut off', async () => {
    const sender = ChunkSender.open({ host: '127.0.0.1', port: 0, token: '', onWanted: () => {} })
    const blob = `/v1/blob/${'0'.repeat(32)}/${'0'.repeat(32)}`
    expect(await asNobody(POST, String(sender.port), 'GET', blob, '')).toBe('cut off')
    expect(sender.facts().requests).toBe(0)
    sender.close()
  })

  test('has no chunk taken from it', async () => {
    const port = Number(await asNobody(SERVE, '{}'))
    const peer = ChunkPeer.open({ host: '127.0.0.1', port, streams: 1, isOwnUserOnly: true })
    const fetch = { to: 1, offset: 0, length: 10, expected: null, silenceMsMax: 5_000 }
    const head = 'GET /v1/blob HTTP/1.1\r\n\r\n'
    await expect(peer.fetch({ ...fetch, head })).rejects.toMatchObject({ code: 'EACCES' })
    peer.close()
  })
})

describe('a process of our own user', () => {
  test('is answered by a member in no service, and not believed', async () => {
    const alone = await started({})
    expect(await greet(alone.port, claim(alone, 'a'))).toBe(200)
    expect(alone.peers.all()).toEqual([])
  })

  test('is believed in a service', async () => {
    // Decode boundary: the address of a TCP server.
    const silent = createServer().listen(0, '127.0.0.1')
    await once(silent, 'listening')
    const { port } = silent.address() as AddressInfo
    silent.close()
    const member = await started({ peers: [`127.0.0.1:${port}`] })
    expect(await greet(member.port, claim(member, 'a', port))).toBe(200)
    expect(member.peers.all().map(({ id }) => id)).toEqual(['stranger'])
    await member.preload()
    expect(bytesOf(member, 'a')).not.toBeNull()
  })
})
