/**
 * The control requests between members: JSON over HTTP, a few a second.
 *
 *   POST /v1/hello   {id, host, port, dataPort, sources, sequence, holdings}
 *     ──►  the same of the other side, and `members` when it is a registry
 *     404  {"error": …}: none of our sources is served there, the message names both ids
 *   GET  /v1/digests/{fileId}/{generation}  ──►  16 bytes a chunk
 *
 * `host` is where a member listens, if that is one address: behind a balancer of TCP connections
 * the other end of the connection is not where the member can be asked.
 *
 * Holdings: [[fileId, generation, null | base64 map of chunks], …].
 */
import { Agent, type IncomingMessage, request } from 'node:http'
import { z } from 'zod'
import { PORT_MAX } from '../address.ts'
import { BODY_DIGEST_HEADER, bodyDigest, sign } from './auth.ts'
import type { Holding, PeerPlace, Statement } from './peer.ts'
import { isOwnUser, OTHER_USER } from './socket_owner.ts'

/** Bytes of a hello: 10,000 files of 100 bytes and the maps of those that are loading. */
export const HELLO_BYTES_MAX = 16 * 1024 * 1024

/** Milliseconds that a whole answer may take: one that trickles in is none. */
const ANSWER_MS_MAX = 2_000

const hex = z.string().regex(/^[0-9a-f]{32}$/)

export const helloSchema = z.object({
  id: z.string().min(1).max(64),
  host: z
    .string()
    .max(255)
    .regex(/^[0-9A-Za-z.:_-]+$/)
    .optional(),
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

/** What came with a request or an answer; null when it is longer than a hello may be. */
export async function bodyOf(message: IncomingMessage): Promise<Buffer | null> {
  const parts: Buffer[] = []
  let length = 0
  for await (const part of message) {
    // Decode boundary: a message without an encoding gives buffers.
    const bytes = part as Buffer
    length += bytes.length
    if (length > HELLO_BYTES_MAX) return null
    parts.push(bytes)
  }
  return Buffer.concat(parts)
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
  if (port < 1 || port > PORT_MAX) return null
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

/** The body of a reply, when it comes from whom we may believe. */
async function answerOf(reply: IncomingMessage, isSigned: boolean): Promise<Answer> {
  if (!isSigned && !(await isOwnUser(reply.socket))) throw new Error(OTHER_USER)
  const body = await bodyOf(reply)
  if (body === null) throw new Error('the answer is too long')
  return { status: reply.statusCode ?? 0, body }
}

type Asker = (question: Question) => Promise<Answer>

/** Sends one request and gathers its answer: HELLO_BYTES_MAX and ANSWER_MS_MAX at most. */
function asker(options: HelloClientOptions, agent: Agent): Asker {
  return question =>
    new Promise((resolve, reject) => {
      const { method, path, body } = question
      const headers: Record<string, string> = { 'content-length': String(Buffer.byteLength(body)) }
      if (options.token !== null) {
        const extra = body === '' ? '' : bodyDigest(body)
        if (body !== '') headers[BODY_DIGEST_HEADER] = extra
        headers.authorization = sign(options.token, { method, path, extra }, options.nowMs())
      }
      const asked = request({ ...question, headers, agent }, reply => {
        answerOf(reply, options.token !== null).then(resolve, error => {
          reject(error)
          asked.destroy()
        })
      })
      // Not the socket's own limit, which every byte renews.
      const limit = setTimeout(() => {
        asked.destroy(new Error('no answer in time'))
      }, ANSWER_MS_MAX)
      asked.on('close', () => clearTimeout(limit))
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
