/**
 * Transport of the control plane: one small GET to a node, which always ends with a value and
 * never throws. Its sockets are its own, so that a full pool of the data path does not make a node
 * look dead.
 *
 * The deadline covers connecting, headers and body. It is declared only after the event loop has
 * polled once more: when the main thread itself was held up, the answer may already lie in the
 * socket, and a node must not be blamed for that.
 */
import { classifySocketError } from './socket_errors.ts'
import { SOCKET_IDLE_MS } from './sockets.ts'
import { Agent, request } from './undici.ts'

/** Sockets per node for checks, scrapes and discovery; a hung /metrics holds one of them. */
const PROBE_CONNECTIONS_MAX = 4
/** Largest body read from a control path, in bytes; a hundred /metrics pages of one rank. */
export const PROBE_BODY_BYTES_MAX = 8 * 1024 * 1024

export type ProbeReply =
  | { readonly kind: 'answer'; readonly status: number; readonly body: string }
  | { readonly kind: 'refused' | 'reset' | 'timeout' }

export interface ProbeOptions {
  readonly apiKey: string | null
  readonly timeoutMs: number
}

export interface Probe {
  get(url: string, options: ProbeOptions): Promise<ProbeReply>
}

/** The real transport. */
export class HttpProbe implements Probe {
  readonly #agent = new Agent({
    connections: PROBE_CONNECTIONS_MAX,
    pipelining: 1,
    keepAliveTimeout: SOCKET_IDLE_MS,
    keepAliveMaxTimeout: SOCKET_IDLE_MS,
    headersTimeout: 0,
    bodyTimeout: 0,
    maxResponseSize: PROBE_BODY_BYTES_MAX,
  })

  async get(url: string, options: ProbeOptions): Promise<ProbeReply> {
    const deadline = new AbortController()
    const timer = setTimeout(() => {
      setImmediate(() => setImmediate(() => deadline.abort()))
    }, options.timeoutMs)
    const headers: Record<string, string> = { accept: '*/*' }
    if (options.apiKey !== null) headers['authorization'] = `Bearer ${options.apiKey}`
    try {
      const { signal } = deadline
      const reply = await request(this.#agent, url, { method: 'GET', headers, signal })
      return { kind: 'answer', status: reply.statusCode, body: await reply.body.text() }
    } catch (error) {
      return { kind: deadline.signal.aborted ? 'timeout' : classifySocketError(error) }
    } finally {
      clearTimeout(timer)
    }
  }

  async close(): Promise<void> {
    await this.#agent.destroy()
  }
}
