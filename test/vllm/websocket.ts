/**
 * The WebSocket endpoints in front of real engines: responses and chats in lanes, text frames and
 * msgpack, read again from every event on, over both transports, cancelled and left.
 */
import OpenAI from 'openai'
import { ResponsesWS } from 'openai/resources/responses/ws'
import type { EngineBench } from './bench_of_engines.ts'
import { looksEqual } from './equal.ts'
import { check, type Report } from './report.ts'
import { checkNumbers, LaneSocket, type Message } from './socket.ts'
import { msUntil } from './until.ts'
import { dataOf, get, post } from './wire.ts'

const RESPONSES = '/v1/responses'
const CHAT = '/v1/chat/completions'
const MSGPACK = 'warmpath.msgpack'
const SHORT = 16
/** Tokens of an answer that nobody waits for. */
const LONG = 1900
/** Events after which a client is cut off. */
const CUT = 8
/** Cancels that may come too late. */
const TRIES_MAX = 5
const LANES = ['a', 'b', 'c', 'd']

/** What an engine makes up for each reply, and what it has cached by then. */
function settled(texts: readonly string[]): string {
  return texts
    .join('\n')
    .replaceAll(/"(id|item_id|response_id)":"[^"]*"/g, '"$1"')
    .replaceAll(
      /"(created|created_at|completed_at|cached_tokens|cache_write_tokens)":[\d.]+/g,
      '"$1"',
    )
}

class SocketChecks {
  readonly #bench: EngineBench

  constructor(bench: EngineBench) {
    this.#bench = bench
  }

  #open(path: string, ...protocol: string[]): Promise<LaneSocket> {
    return LaneSocket.open(this.#bench.gateway.url, path, protocol)
  }

  #response(tokens: number, extra: object = {}): object {
    const { model, prompts } = this.#bench
    const input = `Tell me about ${prompts.name('socket')}, at length.`
    const body = { model, input, max_output_tokens: tokens, temperature: 0, ignore_eos: true }
    return { ...body, ...extra }
  }

  #chat(tokens: number): object {
    const { model, prompts } = this.#bench
    const messages = [{ role: 'user', content: prompts.name('socket') }]
    return { model, messages, max_tokens: tokens, temperature: 0, ignore_eos: true }
  }

  async #running(): Promise<number> {
    const counts = this.#bench.engines.map(one => one.metric('vllm:num_requests_running'))
    return (await Promise.all(counts)).reduce((sum, count) => sum + count, 0)
  }

  /** A request over SSE and over WebSocket: the same data, event for event. */
  async same(path: string, protocol: string[]): Promise<string> {
    const isChat = path === CHAT
    const body = isChat ? this.#chat(SHORT) : this.#response(SHORT, { store: false })
    const { gateway } = this.#bench
    const overSse = async (): Promise<string> =>
      settled(dataOf((await post(gateway.url, path, { ...body, stream: true })).text))
    const overSocket = async (): Promise<string> => {
      const socket = await this.#open(path, ...protocol)
      socket.ask(isChat ? body : { type: 'response.create', ...body })
      const texts = await socket.whole(null)
      if (!isChat) checkNumbers(texts)
      socket.close()
      return settled(texts)
    }
    const { text, tries } = await looksEqual(overSse, overSocket)
    const events = text.split('\n').length
    return `${events} events equal${tries === 1 ? '' : `, at the ${tries}. look`}`
  }

  async sdk(): Promise<string> {
    const baseURL = `${this.#bench.gateway.url}/v1`
    const ws = new ResponsesWS(new OpenAI({ baseURL, apiKey: 'none', maxRetries: 0 }))
    let deltas = 0
    let text = ''
    let last = ''
    for await (const event of ws) {
      // Fields of vLLM that the SDK does not know arrive as they are.
      if (event.type === 'open')
        ws.send({ type: 'response.create', ...this.#response(SHORT) } as never)
      if (event.type !== 'message') continue
      const { message } = event
      last = message.type
      if (message.type === 'response.output_text.delta') deltas++
      if (message.type === 'response.output_text.done') ({ text } = message)
      if (/^response\.(completed|incomplete|failed)$/.test(last) || last === 'error') ws.close()
    }
    const isEnd = last === 'response.incomplete' || last === 'response.completed'
    check(isEnd && text !== '' && deltas > 0, `${last} after "${text}"`)
    return `${deltas} deltas, ${text.length} characters`
  }

  /** Lanes of one socket, and each of them alone. */
  async lanes(): Promise<string> {
    const socket = await this.#open(CHAT)
    const bodies = LANES.map(lane => ({ lane, body: this.#chat(SHORT) }))
    for (const { lane, body } of bodies) socket.ask({ ...body, stream_id: lane })
    let events = 0
    for (const { lane, body } of bodies) {
      const together = await socket.whole(lane)
      events += together.length
      check(together.at(-1) === '[DONE]', `lane ${lane} ends with ${together.at(-1)}`)
      const alone = await post(this.#bench.gateway.url, CHAT, { ...body, stream: true })
      check(said(together) === said(dataOf(alone.text)), `lane ${lane} said something else`)
    }
    socket.close()
    return `${LANES.length} lanes, ${events} events, the text of each as when asked alone`
  }

  /** Cut off in the middle, then read again from each event on, over both transports. */
  async resumed(path: string): Promise<string> {
    const isChat = path === CHAT
    const type = isChat ? {} : { type: 'response.create' }
    const body = isChat ? this.#chat(60) : this.#response(60)
    const first = await this.#open(path)
    first.ask({ ...type, ...body, 'warmpath:resume': true })
    const id = await first.id(null)
    await first.some(null, CUT)
    // On a busy machine more may have come by now.
    const seen = first.texts(null).slice(0, CUT)
    first.close()
    const again = await this.#open(path)
    const resume = { type: 'warmpath:resume', response_id: id }
    again.ask({ ...resume, stream_id: 'a', starting_after: seen.length - 1 })
    const whole = [...seen, ...(await again.whole('a'))]
    if (!isChat) checkNumbers(whole)
    for (let after = -1; after < whole.length - 1; after++) {
      const socket = await this.#open(path, ...(after % 2 === 0 ? [MSGPACK] : []))
      socket.ask({ ...resume, starting_after: after })
      const rest = await socket.whole(null)
      check(rest.join('\n') === whole.slice(after + 1).join('\n'), `after ${after} it is another`)
      socket.close()
    }
    const target = isChat ? `${path}/${id}` : `${path}/${id}?stream=true`
    const overHttp = dataOf((await get(this.#bench.gateway.url, target)).text)
    check(overHttp.join('\n') === whole.join('\n'), 'over HTTP it is another')
    again.close()
    return `cut after ${seen.length} of ${whole.length} events, then from each of them on`
  }

  /** A conversation that only its connection remembers. */
  async remembered(): Promise<string> {
    const socket = await this.#open(RESPONSES)
    const body = this.#response(SHORT, { type: 'response.create', store: false })
    socket.ask(body)
    const id = await socket.id(null)
    const first = checkNumbers(await socket.whole(null)).at(-1)
    socket.ask({ ...body, input: 'Go on.', previous_response_id: id })
    const all = await socket.whole(null, 2)
    const next = checkNumbers(all.slice(all.findLastIndex(isCreated))).at(-1)
    const before = first?.response?.usage?.input_tokens ?? 0
    const after = next?.response?.usage?.input_tokens ?? 0
    check(after > before + SHORT, `${after} prompt tokens after ${before}`)
    socket.close()
    return `${before} prompt tokens, then ${after}`
  }

  /** Chats, because the Responses API of vLLM may end where the model does. */
  async freed(how: 'cancel' | 'close'): Promise<string> {
    for (let tries = 1; ; tries++) {
      const socket = await this.#open(CHAT)
      const wish = how === 'cancel' ? { 'warmpath:resume': true } : {}
      const lanes = LANES.slice(0, 2)
      for (const lane of lanes) socket.ask({ ...this.#chat(LONG), ...wish, stream_id: lane })
      for (const lane of lanes) await socket.some(lane, CUT)
      if (how === 'close') socket.close()
      else {
        for (const lane of lanes) {
          socket.ask({ type: 'warmpath:cancel', response_id: await socket.id(lane) })
        }
      }
      const ms = await msUntil(async () => (await this.#running()) === 0, 'the engines to stop')
      const ends: string[] = []
      if (how === 'cancel') {
        for (const lane of lanes) ends.push((await socket.whole(lane)).at(-1) ?? '')
        socket.close()
      }
      // A tiny model on a busy machine may end before the client has said so.
      if (ends.includes('[DONE]') && tries < TRIES_MAX) continue
      check(
        ends.every(end => end.includes('"code":"cancelled"')),
        `they ended with ${ends.join(' and ')}`,
      )
      return `two lanes of ${LONG} tokens, the engines stopped within ${ms.toFixed(0)} ms`
    }
  }
}

function isCreated(text: string): boolean {
  return (JSON.parse(text) as Message).type === 'response.created'
}

/** The text of a chat. */
function said(data: readonly string[]): string {
  const chunks = data
    .filter(one => one !== '[DONE]')
    .map(one => JSON.parse(one) as { choices: { delta: { content?: string | null } }[] })
  return chunks.map(({ choices }) => choices[0]?.delta.content ?? '').join('')
}

export async function checkWebSocket(report: Report, bench: EngineBench): Promise<void> {
  const checks = new SocketChecks(bench)
  for (const path of [RESPONSES, CHAT]) {
    for (const protocol of [[], [MSGPACK]]) {
      const form = protocol.length === 0 ? 'text frames' : 'msgpack'
      await report.fact(`${path} in ${form}: as over SSE`, () => checks.same(path, protocol))
    }
    await report.fact(`${path} is resumed after a cut`, () => checks.resumed(path))
  }
  await report.fact('the openai SDK over WebSocket', () => checks.sdk())
  await report.fact('chats in lanes say what they say alone', () => checks.lanes())
  await report.fact('a connection remembers what is not stored', () => checks.remembered())
  await report.fact('cancel frees the engines', () => checks.freed('cancel'))
  await report.fact('closing the socket frees the engines', () => checks.freed('close'))
}
