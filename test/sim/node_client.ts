/** A client of simulated nodes for the tests of this folder. */
import { Subscriber } from 'zeromq'
import type { SimNode } from '../../src/sim/sim_node.ts'
import { type DecodedBatch, decodeBatch } from './event_client.ts'

export interface Answer {
  readonly choices: readonly {
    readonly message: { readonly content: string }
    readonly finish_reason: string
    readonly stop_reason: string | null
  }[]
  readonly usage: {
    readonly prompt_tokens: number
    readonly completion_tokens: number
    readonly prompt_tokens_details: { readonly cached_tokens: number }
  }
}

/** What of a request may differ from the usual. */
export interface Sent {
  readonly headers?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal
}

export function post(
  node: SimNode,
  path: string,
  body: object,
  init: Sent = {},
): Promise<Response> {
  return fetch(node.url + path, {
    method: 'POST',
    body: JSON.stringify(body),
    ...init,
    headers: { 'content-type': 'application/json', ...init.headers },
  })
}

export function chat(node: SimNode, extra: object = {}, init: Sent = {}): Promise<Response> {
  const content = 'one two three four five six seven eight nine ten'
  const messages = [{ role: 'user', content }]
  const body = { model: node.config.model, messages, max_tokens: 4, ...extra }
  return post(node, '/v1/chat/completions', body, init)
}

export async function answer(node: SimNode, extra: object = {}, init: Sent = {}): Promise<Answer> {
  const body: Answer = JSON.parse(await (await chat(node, extra, init)).text())
  return body
}

export async function cachedTokens(
  node: SimNode,
  extra: object = {},
  init: Sent = {},
): Promise<number> {
  return (await answer(node, extra, init)).usage.prompt_tokens_details.cached_tokens
}

/** A completion of token ids: the cheapest way to fill exact blocks. */
export async function complete(node: SimNode, prompt: readonly number[]): Promise<void> {
  const { model } = node.config
  await (await post(node, '/v1/completions', { model, prompt, max_tokens: 1 })).arrayBuffer()
}

export const tokenIds = (first: number, count: number): number[] =>
  Array.from({ length: count }, (_, n) => first + n)

export async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await new Promise(resolve => setImmediate(resolve))
}

/** Text of a body up to its end or to the failure of its socket. */
export async function readToEnd(
  reply: Response,
): Promise<{ readonly text: string; readonly isBroken: boolean }> {
  const decoder = new TextDecoder()
  let text = ''
  try {
    for await (const chunk of reply.body ?? []) text += decoder.decode(chunk, { stream: true })
  } catch {
    return { text, isBroken: true }
  }
  return { text, isBroken: false }
}

/** Live batches of one rank, as they come. */
export class LiveEvents {
  readonly batches: DecodedBatch[]
  private readonly socket: Subscriber
  private isClosed: boolean

  constructor(endpoint: string) {
    this.batches = []
    this.socket = new Subscriber({ linger: 0, receiveHighWaterMark: 0, reconnectInterval: 5 })
    this.socket.connect(endpoint)
    this.socket.subscribe()
    this.isClosed = false
    void this.read()
  }

  private async read(): Promise<void> {
    try {
      for await (const [, seq, payload] of this.socket) {
        if (seq === undefined || payload === undefined) continue
        this.batches.push(decodeBatch(Number(seq.readBigUInt64BE()), payload))
      }
    } catch (error) {
      if (!this.isClosed) throw error
    }
  }

  /** Resolves once the subscription has arrived: a node says nothing to those who are not there. */
  async join(node: SimNode, first: number): Promise<void> {
    const before = this.batches.length
    for (let n = 0; this.batches.length === before; n++) {
      await complete(node, tokenIds(first + n * 100, node.config.blockSize + 1))
      await new Promise(resolve => setImmediate(resolve))
    }
    const last = node.batchesPublished() - 1
    await until(() => this.batches.at(-1)?.seq === last)
  }

  close(): void {
    this.isClosed = true
    this.socket.close()
  }
}
