/**
 * A node whose streams are written down: the same events each time, sent in pieces and with pauses
 * that follow from a seed, so that a test knows every byte that a client must get.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { StandInNode } from '../nodes/stand_in_node.ts'

/** Numbers from a seed: equal seeds, equal numbers (a linear congruential generator). */
export class Numbers {
  #state: number

  constructor(seed: number) {
    this.#state = (seed * 2_654_435_761 + 12_345) >>> 0
  }

  below(limit: number): number {
    this.#state = (Math.imul(this.#state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((this.#state / 2 ** 32) * limit)
  }
}

/** Events of a chat: line ends of both kinds, a comment, text beyond ASCII, `[DONE]` inside text. */
export const CHAT_EVENTS: readonly string[] = [
  'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n',
  'data: {"choices":[{"delta":{"content":"blåbær 🫐"}}]}\n\n',
  ': a comment\ndata: {"choices":[{"delta":{"content":"data: [DONE]"}}]}\n\n',
  'data: {"choices":[{"delta":{"content":"x"}}]}\r\n\r\n',
  ...Array.from({ length: 12 }, (_, n) => `data: {"choices":[{"delta":{"content":"${n}"}}]}\n\n`),
  'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n',
  'data: [DONE]\n\n',
]

function delta(n: number): [string, object] {
  const place = { item_id: 'msg_1', output_index: 0, content_index: 0 }
  return ['output_text.delta', { ...place, delta: `päß${n} ` }]
}

/** Events of a response under an id, in vLLM's order. */
export function responseEvents(id: string): string[] {
  const response = (status: string): object => ({ id, object: 'response', status, output: [] })
  const item = { id: 'msg_1', type: 'message', role: 'assistant', status: 'completed' }
  const events: [string, object][] = [
    ['created', { response: response('in_progress') }],
    ['in_progress', { response: response('in_progress') }],
    ['output_item.added', { item: { ...item, content: [] }, output_index: 0 }],
    ...Array.from({ length: 9 }, (_, n) => delta(n)),
    ['output_item.done', { item, output_index: 0 }],
    ['completed', { response: { ...response('completed'), output: [item] } }],
  ]
  return events.map(([name, fields], number) => {
    const type = `response.${name}`
    const data = JSON.stringify({ ...fields, sequence_number: number, type })
    return `event: ${type}\ndata: ${data}\n\n`
  })
}

export async function bodyOf(request: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = []
  for await (const piece of request) pieces.push(piece as Buffer)
  return Buffer.concat(pieces).toString()
}

export class ScriptedNode {
  readonly stand = new StandInNode()
  /** Requests whose client, the gateway, went away before the end. */
  aborted = 0
  asked = 0
  readonly #seed: number

  constructor(seed: number) {
    this.#seed = seed
    this.stand.onData = (request, response) => void this.#answer(request, response)
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await bodyOf(request)
    const id = /"request_id":"(\w+)"/.exec(body)?.[1] ?? 'resp_own'
    const isChat = (request.url ?? '').startsWith('/v1/chat')
    const events = isChat ? CHAT_EVENTS : responseEvents(id)
    response.on('close', () => {
      if (!response.writableEnded) this.aborted++
    })
    response.setHeader('content-type', 'text/event-stream; charset=utf-8')
    const bytes = Buffer.from(events.join(''))
    this.#write(response, bytes, 0, new Numbers(this.#seed + this.asked++))
  }

  /** Sends pieces of 1 to 200 bytes, at once, in the next turn or some milliseconds later. */
  #write(response: ServerResponse, bytes: Buffer, start: number, random: Numbers): void {
    if (response.destroyed) return
    const end = start + 1 + random.below(200)
    response.write(bytes.subarray(start, end))
    if (end >= bytes.length) {
      response.end()
      return
    }
    const next = (): void => this.#write(response, bytes, end, random)
    const pause = random.below(8)
    if (pause < 4) next()
    else if (pause < 7) setImmediate(next)
    else setTimeout(next, random.below(3))
  }
}
