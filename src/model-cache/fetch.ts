/**
 * Asks a peer for one chunk over a connection that stays open, and writes it when it is what the
 * peer says it is, and what others said it should be.
 *
 *   GET /v1/blob/{fileId}/{generation}     Range: bytes=a-b     authorization: Warmpath …
 *   206, x-warmpath-xxh3-128: <32 hex>     the chunk
 *   401 token  404 unknown file  409 other generation  416 range  429 busy  503 not yet
 *
 * This one is in JavaScript: some 1 to 2 GB/s. The native receiver (native/model_cache) does the
 * same from its own threads; which of them runs is decided once at start.
 */
import { Agent, type IncomingMessage, request } from 'node:http'
import { sign } from './auth.ts'
import { CHUNK_BYTES, digestOf } from './digest.ts'
import type { ChunkMover } from './mover.ts'
import { PEER_CHUNKS_MAX } from './peer.ts'

export type FetchFailure =
  | 'refused'
  | 'reset'
  | 'timeout'
  | 'unknown'
  | 'generation'
  | 'busy'
  | 'not_yet'
  | 'mismatch'

export type FetchResult =
  | { readonly kind: 'chunk'; readonly digest: Buffer }
  | { readonly kind: FetchFailure }

/**
 * Milliseconds without a byte after which a peer counts as stalled, from the moment in which it was
 * asked: the next candidate is asked within 5 s also on a machine whose timers are late by one or
 * two. A held request is silent for less.
 */
export const SILENCE_MS_MAX = 3_000

export interface ChunkRequest {
  readonly host: string
  readonly port: number
  readonly fileId: string
  readonly generation: string
  readonly chunk: number
  readonly length: number
  readonly storeFd: number
  /** What other holders say the digest is. */
  readonly expected: Buffer | null
}

export interface ChunkFetcher {
  fetch(wanted: ChunkRequest): Promise<FetchResult>
  /** Closes what is open to any other than these. */
  keepOnly(places: readonly Pick<ChunkRequest, 'host' | 'port'>[]): void
  close(): void
}

export function blobPath(fileId: string, generation: string): string {
  return `/v1/blob/${fileId}/${generation}`
}

export function rangeOf(chunk: number, length: number): string {
  return `bytes=${chunk * CHUNK_BYTES}-${chunk * CHUNK_BYTES + length - 1}`
}

/** What a status other than 206 means. */
export function failureOf(status: number): FetchFailure {
  switch (status) {
    case 404:
      return 'unknown'
    case 409:
      return 'generation'
    case 429:
      return 'busy'
    case 503:
      return 'not_yet'
    default:
      return 'refused'
  }
}

export function failureOfCode(code: string): FetchFailure {
  if (code === 'ECONNREFUSED' || code === 'EHOSTUNREACH' || code === 'ENETUNREACH') return 'refused'
  return code === 'ETIMEDOUT' ? 'timeout' : 'reset'
}

function collect(reply: IncomingMessage, length: number): Promise<Buffer | null> {
  return new Promise(resolve => {
    const bytes = Buffer.allocUnsafeSlow(length)
    let at = 0
    reply.on('data', (part: Buffer) => {
      if (at + part.length <= length) part.copy(bytes, at)
      at += part.length
    })
    reply.on('end', () => resolve(at === length ? bytes : null))
    reply.on('error', () => resolve(null))
    reply.on('aborted', () => resolve(null))
  })
}

export interface JavascriptFetcherOptions {
  readonly token: string | null
  readonly mover: ChunkMover
  readonly nowMs: () => number
  readonly silenceMsMax?: number
}

export function javascriptFetcher(options: JavascriptFetcherOptions): ChunkFetcher {
  const agent = new Agent({ keepAlive: true, maxSockets: PEER_CHUNKS_MAX, noDelay: true })
  const timeout = options.silenceMsMax ?? SILENCE_MS_MAX

  const take = async (wanted: ChunkRequest, reply: IncomingMessage): Promise<FetchResult> => {
    if (reply.statusCode !== 206) {
      reply.resume()
      return { kind: failureOf(reply.statusCode ?? 0) }
    }
    const bytes = await collect(reply, wanted.length)
    if (bytes === null) return { kind: 'reset' }
    const digest = digestOf(bytes)
    const said = reply.headers['x-warmpath-xxh3-128']
    const isRight = digest.toString('hex') === said && (wanted.expected?.equals(digest) ?? true)
    if (!isRight) return { kind: 'mismatch' }
    await options.mover.write(wanted.storeFd, wanted.chunk * CHUNK_BYTES, bytes)
    return { kind: 'chunk', digest }
  }

  const fetch = (wanted: ChunkRequest): Promise<FetchResult> =>
    new Promise((resolve, reject) => {
      const path = blobPath(wanted.fileId, wanted.generation)
      const range = rangeOf(wanted.chunk, wanted.length)
      const headers: Record<string, string> = { range }
      if (options.token !== null) {
        const signable = { method: 'GET', path, extra: range }
        headers.authorization = sign(options.token, signable, options.nowMs())
      }
      const { host, port } = wanted
      const asked = request({ host, port, path, headers, agent, timeout }, reply => {
        take(wanted, reply).then(resolve, reject)
      })
      let isLate = false
      asked.on('timeout', () => {
        isLate = true
        asked.destroy()
      })
      asked.on('error', (error: NodeJS.ErrnoException) => {
        resolve({ kind: isLate ? 'timeout' : failureOfCode(error.code ?? '') })
      })
      asked.end()
    })

  // Sockets that nobody uses are closed by the other side, and hold nothing else meanwhile.
  return { fetch, keepOnly: () => {}, close: () => agent.destroy() }
}
