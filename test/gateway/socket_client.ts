/** A WebSocket client for tests: every message is kept, and waited for by condition. */
import { once } from 'node:events'
import { Unpackr } from 'msgpackr'
import type { ClientOptions } from 'ws'
import { WebSocket } from 'ws'
import { until } from './gateway.ts'

const unpackr = new Unpackr({ useRecords: false })

/** A text message, parsed; `[DONE]` is the string itself. */
export type Message = Record<string, unknown> & { readonly type?: string }

export interface Closing {
  readonly code: number
  readonly reason: string
}

export class SocketClient {
  readonly ws: WebSocket
  /** Texts as they came; of binary messages the bytes. */
  readonly texts: string[] = []
  readonly binary: [string | null, number | null, Buffer][] = []
  readonly closed: Promise<Closing>
  #closing: Closing | null = null
  readonly #messages: Message[] = []
  /** Texts that have been parsed: a test that waits looks at them all, time after time. */
  #seen = 0

  constructor(ws: WebSocket) {
    this.ws = ws
    ws.on('message', (data: Buffer, isBinary: boolean) => {
      if (isBinary) this.binary.push(unpackr.unpack(data) as [string | null, number | null, Buffer])
      else this.texts.push(data.toString('utf8'))
    })
    ws.on('error', () => {})
    this.closed = once(ws, 'close').then(([code, reason]) => {
      this.#closing = { code: Number(code), reason: String(reason) }
      return this.#closing
    })
  }

  get messages(): readonly Message[] {
    for (const text of this.texts.slice(this.#seen)) {
      if (text !== '[DONE]') this.#messages.push(JSON.parse(text) as Message)
    }
    this.#seen = this.texts.length
    return this.#messages
  }

  /** As if no text had come yet. */
  forget(): void {
    this.texts.length = 0
    this.#messages.length = 0
    this.#seen = 0
  }

  /** Messages of one lane; null is the default one. */
  lane(name: string | null): Message[] {
    return this.messages.filter(message => (message['stream_id'] ?? null) === name)
  }

  ask(frame: object): void {
    this.ws.send(JSON.stringify(frame))
  }

  /** Waits for a message. */
  until(look: (message: Message) => boolean, what: string): Promise<Message> {
    return until(() => this.messages.find(look), what)
  }

  /** Waits for the `count`th terminal message of a lane. */
  async ended(lane: string | null, count = 1): Promise<void> {
    const what = `end ${count} of lane ${lane}`
    await until(() => this.#hasEnded(lane, count) || this.#closing !== null, what)
    if (this.#hasEnded(lane, count)) return
    throw new Error(`closed before ${what}: ${this.#closing?.code} ${this.#closing?.reason}`)
  }

  #hasEnded(lane: string | null, count: number): boolean {
    const ends = this.lane(lane).filter(({ type }) => TERMINAL.has(type ?? ''))
    const done = lane === null ? this.texts.filter(text => text === '[DONE]').length : 0
    return ends.length + done >= count
  }

  async close(): Promise<Closing> {
    this.ws.close()
    return this.closed
  }
}

const TERMINAL = new Set([
  'response.completed',
  'response.incomplete',
  'response.failed',
  'warmpath:done',
  'error',
])

/** Opens a WebSocket; rejects with the status when the handshake is refused. */
export async function openSocket(
  url: string,
  protocols: readonly string[] = [],
  options: ClientOptions = {},
): Promise<SocketClient> {
  const ws = new WebSocket(url.replace(/^http/, 'ws'), [...protocols], options)
  const client = new SocketClient(ws)
  await new Promise<void>((resolve, reject) => {
    ws.once('open', () => resolve())
    ws.once('error', reject)
    ws.once('unexpected-response', (_, reply) => {
      let body = ''
      reply.on('data', part => {
        body += String(part)
      })
      reply.on('end', () => reject(new Refused(reply.statusCode ?? 0, reply.headers, body)))
    })
  })
  return client
}

export class Refused extends Error {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: string

  constructor(status: number, headers: Refused['headers'], body: string) {
    super(`the handshake was refused: ${status}`)
    this.status = status
    this.headers = headers
    this.body = body
  }
}

/** Data of the events of an SSE text. */
export function eventData(text: string): string[] {
  return text
    .split('\n\n')
    .filter(event => event !== '')
    .map(event => event.replace(/^event: .*\n/, '').replace(/^data: /, ''))
}
