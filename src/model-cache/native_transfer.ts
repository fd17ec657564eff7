/**
 * The native sender and receiver behind the faces of shelf.ts and fetch.ts: chunks leave by
 * sendfile and arrive through a bounce buffer that is hashed before it is written, on threads of
 * their own. JavaScript only says what there is, signs, and hears how it went.
 */
import { ChunkPeer, ChunkSender, type SenderOptions } from '../native/model_transfer.ts'
import { sign } from './auth.ts'
import { CHUNK_BYTES } from './digest.ts'
import {
  blobPath,
  type ChunkFetcher,
  type ChunkRequest,
  type FetchResult,
  failureOf,
  failureOfCode,
  rangeOf,
  SILENCE_MS_MAX,
} from './fetch.ts'
import { ListenError } from './listen_error.ts'
import { PEERS_MAX } from './peers.ts'
import type { Offer, ShelfMirror } from './shelf.ts'

/** Sockets and threads to one peer. */
const STREAMS = 2

export interface NativeSender extends ShelfMirror {
  readonly port: number
  sentBytes(): number
  close(): void
}

function bytesOf(hex: string): Buffer {
  return Buffer.from(hex, 'hex')
}

function opened(options: SenderOptions): ChunkSender {
  try {
    return ChunkSender.open(options)
  } catch (error) {
    throw new ListenError(options, 'chunks', error)
  }
}

export function nativeSender(host: string, port: number, token: string | null): NativeSender {
  const offers = new Map<string, Offer>()
  const onWanted = (fileId: Buffer, generation: Buffer, chunk: number): void => {
    const offer = offers.get(fileId.toString('hex'))
    if (offer === undefined || offer.generation !== generation.toString('hex')) {
      sender.refuse(fileId, generation, chunk)
    } else if (!offer.map.has(chunk) && !offer.onWanted(chunk)) {
      sender.refuse(fileId, generation, chunk)
    }
  }
  const sender = opened({ host, port, token: token ?? '', onWanted })
  const tell = (offer: Offer, chunk: number): void => {
    const { fileId, generation, map } = offer
    sender.putChunk(bytesOf(fileId), bytesOf(generation), chunk, map.digest(chunk))
  }
  return {
    port: sender.port,
    sentBytes: () => sender.facts().bytes,
    put: offer => {
      const { fileId, generation, fd, map } = offer
      offers.set(fileId, offer)
      sender.put(bytesOf(fileId), bytesOf(generation), fd, map.size)
      for (let chunk = 0; chunk < map.count; chunk += 1) if (map.has(chunk)) tell(offer, chunk)
    },
    chunk: tell,
    drop: ({ fileId, generation }) => {
      offers.delete(fileId)
      sender.drop(bytesOf(fileId), bytesOf(generation))
    },
    close: () => sender.close(),
  }
}

export interface NativeFetcherOptions {
  readonly token: string | null
  readonly nowMs: () => number
}

function nameOf({ host, port }: Pick<ChunkRequest, 'host' | 'port'>): string {
  return `${host} ${port}`
}

export function nativeFetcher({ token, nowMs }: NativeFetcherOptions): ChunkFetcher {
  const peers = new Map<string, ChunkPeer>()
  const peerAt = ({ host, port }: ChunkRequest): ChunkPeer => {
    const name = nameOf({ host, port })
    const known = peers.get(name)
    if (known !== undefined) return known
    if (peers.size >= PEERS_MAX) {
      const [oldest, peer] = [...peers][0]!
      peer.close()
      peers.delete(oldest)
    }
    const made = ChunkPeer.open({ host, port, streams: STREAMS, isOwnUserOnly: token === null })
    peers.set(name, made)
    return made
  }

  const headOf = ({ host, port, fileId, generation, chunk, length }: ChunkRequest): string => {
    const path = blobPath(fileId, generation)
    const range = rangeOf(chunk, length)
    const lines = [`GET ${path} HTTP/1.1`, `host: ${host}:${port}`, `range: ${range}`]
    if (token !== null) {
      lines.push(`authorization: ${sign(token, { method: 'GET', path, extra: range }, nowMs())}`)
    }
    return `${lines.join('\r\n')}\r\n\r\n`
  }

  const fetch = async (wanted: ChunkRequest): Promise<FetchResult> => {
    try {
      const { status, hash } = await peerAt(wanted).fetch({
        head: headOf(wanted),
        to: wanted.storeFd,
        offset: wanted.chunk * CHUNK_BYTES,
        length: wanted.length,
        expected: wanted.expected,
        silenceMsMax: SILENCE_MS_MAX,
      })
      return status === 206 ? { kind: 'chunk', digest: hash } : { kind: failureOf(status) }
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : ''
      return { kind: code === 'EBADMSG' ? 'mismatch' : failureOfCode(code) }
    }
  }

  // Each has threads and their buffers, which an address that is gone would hold for ever.
  const keepOnly: ChunkFetcher['keepOnly'] = places => {
    const kept = new Set(places.map(nameOf))
    for (const [name, peer] of peers) {
      if (kept.has(name)) continue
      peer.close()
      peers.delete(name)
    }
  }

  return {
    fetch,
    keepOnly,
    close: () => {
      for (const peer of peers.values()) peer.close()
      peers.clear()
    },
  }
}
