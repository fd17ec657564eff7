/**
 * A peer that says it has one whole file, gives the chunks that it is told to give, and asks for
 * patience (429) about the others: so a test decides how far a load gets, without any clock.
 */
import { statSync } from 'node:fs'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { CHUNK_BYTES, digestOf, fileIdOf, generationOf } from '../../src/model-cache/digest.ts'

export interface GatedPeer {
  readonly address: string
  /** Chunks that were given, in the order in which they were asked for. */
  readonly given: number[]
  /** Gives chunks below it. */
  gate: number
  /** Drops every connection with what is under way on it, and forgets what was given. */
  cut(): void
  close(): Promise<void>
}

/** Serves `root/name` of a source that is called by its path. */
export async function gatedPeer(root: string, name: string, bytes: Buffer): Promise<GatedPeer> {
  const stats = statSync(path.join(root, name), { bigint: true })
  const { mtimeNs, ino: inode, ctimeNs } = stats
  const generation = generationOf({ size: bytes.length, mtimeNs, inode, ctimeNs })
  const holding = [fileIdOf(root, name), generation, null]
  const server = createServer((request, response) => {
    // Decode boundary: the address of a TCP server.
    const { port } = server.address() as AddressInfo
    if (request.url === '/v1/hello') {
      const hello = { id: `gated-${port}`, port, dataPort: port, sources: [root] }
      const reply = JSON.stringify({ ...hello, holdings: [holding] })
      request.resume().on('end', () => response.end(reply))
      return
    }
    const from = Number(/bytes=(\d+)/.exec(request.headers.range ?? '')?.[1])
    if (from / CHUNK_BYTES < peer.gate) give(response, from)
    else response.writeHead(429, { 'content-length': 0, 'retry-after': '1' }).end()
  })
  const give = (response: ServerResponse, from: number): void => {
    const chunk = bytes.subarray(from, from + CHUNK_BYTES)
    peer.given.push(from / CHUNK_BYTES)
    const digest = digestOf(chunk).toString('hex')
    const headers = { 'x-warmpath-xxh3-128': digest, 'content-length': chunk.length }
    response.writeHead(206, headers).end(chunk)
  }
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const peer: GatedPeer = {
    address: `127.0.0.1:${port}`,
    given: [],
    gate: 0,
    cut: () => {
      server.closeAllConnections()
      peer.given.length = 0
    },
    close: () => {
      server.closeAllConnections()
      return new Promise(resolve => server.close(() => resolve()))
    },
  }
  return peer
}
