/**
 * The control requests between members: JSON over HTTP, a few a second.
 *
 *   POST /v1/hello   {id, port, dataPort, sources, sequence, holdings}
 *     ──►  the same of the other side, and `members` when it is a registry
 *     404  {"error": …}: none of our sources is served there, the message names both ids
 *   GET  /v1/digests/{fileId}/{generation}  ──►  16 bytes a chunk
 *
 * Holdings: [[fileId, generation, null | base64 map of chunks], …].
 */
import { Agent, request } from 'node:http'
import { z } from 'zod'
import { bodyDigest, sign } from './auth.ts'
import type { Holding, PeerPlace, Statement } from './peer.ts'

/** Bytes of a hello: 10,000 files of 100 bytes and the maps of those that are loading. */
export const HELLO_BYTES_MAX = 16 * 1024 * 1024

/** Milliseconds that a member may take to answer a hello. */
const HELLO_ANSWER_MS_MAX = 2_000

const hex = z.string().regex(/^[0-9a-f]{32}$/)

export const helloSchema = z.object({
  id: z.string().min(1).max(64),
  port: z.number().int().min(1).max(65_535),
  dataPort: z.number().int().min(1).max(65_535),
  sources: z.array(z.string().max(4096)).max(1024),
  // Members of an earlier version send none, and each of theirs is taken as it comes.
  sequence: z.number().int().min(0).default(0),
  holdings: z.array(z.tuple([hex, hex, z.union([z.null(), z.string()])])),
  members: z.array(z.string().max(300)).max(1024).optional(),
})

export type Hello = z.output<typeof helloSchema>

export interface HelloReply {
  readonly kind: 'hello'
  readonly place: PeerPlace
  readonly said: Statement
  readonly members: readonly string[]
}

export interface HelloFailure {
  readonly kind: 'failed'
  readonly message: string
  /** It answered, and serves none of our sources, or knows another token. */
  readonly isMisfit: boolean
}

export interface HelloClient {
  hello(address: string): Promise<HelloReply | HelloFailure>
  /** The digests that a member vouches for; null when it has none. */
  digests(host: string, port: number, fileId: string, generation: string): Promise<Buffer | null>
  close(): void
}

export function statementOf(hello: Hello): Statement {
  const holdings = new Map<string, Holding>()
  for (const [fileId, generation, map] of hello.holdings) {
    const chunks = map === null ? null : Buffer.from(map, 'base64')
    holdings.set(fileId, { generation, chunks })
  }
  return { sequence: hello.sequence, holdings }
}

export function helloHoldings(holdings: ReadonlyMap<string, Holding>): Hello['holdings'] {
  return [...holdings].map(([fileId, { generation, chunks }]) => [
    fileId,
    generation,
    chunks === null ? null : Buffer.from(chunks).toString('base64'),
  ])
}

interface Answer {
  readonly status: number
  readonly body: Buffer
}

interface Question {
  readonly method: string
  readonly host: string
  readonly port: number
  readonly path: string
  readonly body: string
}

export interface HelloClientOptions {
  readonly token: string | null
  readonly self: () => Hello
  readonly nowMs: () => number
}

/** Port of a warm-up when only its name is given. */
export const WARMUP_PORT = 8300

const ADDRESS = /^(?:http:\/\/)?(\[[0-9A-Fa-f:.]+\]|[^\s:/[\]]+)(?::(\d{1,5}))?\/?$/

/** `host:port` of an address in any of its spellings; null for what is none. */
export function placeOf(address: string): { host: string; port: number } | null {
  const match = ADDRESS.exec(address)
  if (match === null) return null
  const port = Number(match[2] ?? WARMUP_PORT)
  return { host: match[1]!.replace(/^\[|\]$/g, ''), port }
}

/** What a refusal says in its body. */
function errorText({ status, body }: Answer): string {
  try {
    const parsed = z.object({ error: z.string() }).safeParse(JSON.parse(body.toString()))
    if (parsed.success) return parsed.data.error
  } catch {
    // Some other server answers there.
  }
  return `status ${status}, which is no answer of a member`
}

type Asker = (question: Question) => Promise<Answer>

/** Sends one request and gathers its answer, up to HELLO_BYTES_MAX. */
function asker(options: HelloClientOptions, agent: Agent): Asker {
  return question =>
    new Promise((resolve, reject) => {
      const { method, path, body } = question
      const headers: Record<string, string> = { 'content-length': String(Buffer.byteLength(body)) }
      if (options.token !== null) {
        const extra = body === '' ? '' : bodyDigest(body)
        headers.authorization = sign(options.token, { method, path, extra }, options.nowMs())
      }
      const asked = request(
        { ...question, headers, agent, timeout: HELLO_ANSWER_MS_MAX },
        reply => {
          const parts: Buffer[] = []
          let length = 0
          reply.on('data', (part: Buffer) => {
            length += part.length
            if (length > HELLO_BYTES_MAX) asked.destroy(new Error('the answer is too long'))
            else parts.push(part)
          })
          reply.on('end', () => {
            resolve({ status: reply.statusCode ?? 0, body: Buffer.concat(parts) })
          })
          reply.on('error', reject)
        },
      )
      asked.on('timeout', () => asked.destroy(new Error('no answer in time')))
      asked.on('error', reject)
      asked.end(body)
    })
}

export function helloClient(options: HelloClientOptions): HelloClient {
  const agent = new Agent({ keepAlive: true, maxSockets: 2 })

  const ask = asker(options, agent)

  const hello = async (address: string): Promise<HelloReply | HelloFailure> => {
    const place = placeOf(address)
    if (place === null) {
      return { kind: 'failed', message: `"${address}" is no host:port`, isMisfit: true }
    }
    try {
      const body = JSON.stringify(options.self())
      const answer = await ask({ method: 'POST', ...place, path: '/v1/hello', body })
      if (answer.status !== 200) {
        return { kind: 'failed', message: errorText(answer), isMisfit: true }
      }
      const other = helloSchema.parse(JSON.parse(answer.body.toString()))
      return {
        kind: 'hello',
        place: { id: other.id, host: place.host, port: other.port, dataPort: other.dataPort },
        said: statementOf(other),
        members: other.members ?? [],
      }
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      return { kind: 'failed', message, isMisfit: false }
    }
  }

  const digests = async (
    host: string,
    port: number,
    fileId: string,
    generation: string,
  ): Promise<Buffer | null> => {
    try {
      const path = `/v1/digests/${fileId}/${generation}`
      const answer = await ask({ method: 'GET', host, port, path, body: '' })
      return answer.status === 200 ? answer.body : null
    } catch {
      return null
    }
  }

  return { hello, digests, close: () => agent.destroy() }
}
