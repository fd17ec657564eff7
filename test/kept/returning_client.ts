/**
 * A client of several responses that is cut off and comes back, over WebSocket, where all of them
 * share one connection, or over HTTP, one after the other:
 *
 *     begin ──► cut after some byte ──► resume what is not whole ──► cut … ──► everything is whole
 *
 * It keeps what each whole event said. An event that was cut is not counted, so it comes again.
 */
import { Unpackr } from 'msgpackr'
import { BINARY, type RawFrame, RawSocket, TEXT } from '../gateway/raw_socket.ts'
import { modelEvents } from '../model/event_scanner.ts'
import { type Part, readCut } from './cut_http.ts'
import { CHAT_EVENTS, responseEvents } from './scripted_node.ts'

export interface Api {
  readonly name: 'chat' | 'responses'
  readonly path: string
  readonly body: object
  /** Data of the events of a response under an id. */
  wanted(id: string): string[]
}

/** The `data` of an event; every event here has one such line. */
function dataOf(event: string): string {
  const line = event.split(/\r?\n/).find(one => one.startsWith('data: '))
  return line?.slice(6) ?? ''
}

export const CHAT: Api = {
  name: 'chat',
  path: '/v1/chat/completions',
  body: { model: 'm', messages: [{ role: 'user', content: 'x' }] },
  wanted: () => CHAT_EVENTS.map(dataOf),
}

export const RESPONSES: Api = {
  name: 'responses',
  path: '/v1/responses',
  body: { model: 'm', input: 'x' },
  wanted: id => responseEvents(id).map(dataOf),
}

/** One response, and how far the client has it. */
export interface Followed {
  /** Its lane where it is read over WebSocket; null is the default one. */
  readonly lane: string | null
  id: string | null
  readonly seen: string[]
}

/** How messages look: text frames, or msgpack. */
export const FORMS = ['', 'warmpath.msgpack'] as const
export type Form = (typeof FORMS)[number]

interface Heard {
  readonly lane: string | null
  /** Number of the event, where the form has one. */
  readonly number: number | null
  readonly text: string
}

const unpackr = new Unpackr({ useRecords: false })
const CREATED = '{"type":"warmpath:created"'
const DONE = '{"type":"warmpath:done"'

/** Whether it is data: the gateway's pings come where the machine is slow. */
function isMessage({ opcode }: RawFrame): boolean {
  return opcode === TEXT || opcode === BINARY
}

/** A message: whose it is, and the data of the event without the lane's name. */
function heard({ payload }: RawFrame, form: Form): Heard {
  if (form !== '') {
    // Decode boundary: the gateway's own array of three.
    const [lane, number, data] = unpackr.unpack(payload) as [string | null, number | null, Buffer]
    return { lane, number, text: data.toString() }
  }
  const text = payload.toString()
  const lane = /"stream_id":"(\w+)"/.exec(text)?.[1] ?? null
  if (text.startsWith(DONE)) return { lane, number: null, text: '[DONE]' }
  if (text.startsWith(CREATED)) return { lane, number: null, text }
  return { lane, number: null, text: text.replace(/^\{"stream_id":"\w+",/, '{') }
}

export class ReturningClient {
  readonly #origin: string
  readonly #api: Api
  readonly all: readonly Followed[]

  constructor(origin: string, api: Api, lanes: readonly (string | null)[]) {
    this.#origin = origin
    this.#api = api
    this.all = lanes.map(lane => ({ lane, id: null, seen: [] }))
  }

  get isWhole(): boolean {
    return this.all.every(one => this.#isWhole(one))
  }

  #isWhole({ id, seen }: Followed): boolean {
    return id !== null && seen.length >= this.#api.wanted(id).length
  }

  /** What is not whole, on one connection that is cut after `cut` bytes; returns the bytes read. */
  async overSocket(form: Form, cut: number): Promise<number> {
    const raw = await RawSocket.open(this.#origin, this.#api.path, form)
    const open = this.all.filter(one => !this.#isWhole(one))
    const before = new Map(open.map(one => [one, one.seen.length]))
    const look = (): void => {
      const isOver = raw.received.length >= cut
      if (isOver) raw.received = raw.received.subarray(0, cut)
      for (const one of open) one.seen.length = before.get(one) ?? 0
      for (const one of raw.frames) if (isMessage(one)) this.#take(heard(one, form))
      if (isOver || this.isWhole) raw.socket.destroy()
    }
    const closed = new Promise<void>(resolve => {
      raw.socket.once('close', () => resolve())
    })
    raw.socket.on('data', look)
    for (const one of open) raw.say(JSON.stringify(this.#frame(one)))
    if (cut === 0) raw.socket.destroy()
    await closed
    return raw.received.length
  }

  #frame({ lane, id, seen }: Followed): object {
    const named = lane === null ? {} : { stream_id: lane }
    if (id !== null) {
      const starting_after = seen.length - 1
      return { type: 'warmpath:resume', ...named, response_id: id, starting_after }
    }
    const type = this.#api.name === 'chat' ? {} : { type: 'response.create' }
    return { ...type, ...named, ...this.#api.body, 'warmpath:resume': true }
  }

  #take({ lane, number, text }: Heard): void {
    const one = this.all.find(followed => followed.lane === lane)
    if (one === undefined) throw new Error(`a message of no lane: ${text}`)
    if (text.startsWith(CREATED)) {
      one.id = /"response_id":"(\w+)"/.exec(text)?.[1] ?? null
      return
    }
    if (number !== null && number !== one.seen.length) {
      throw new Error(`event ${number} came in the place of ${one.seen.length}`)
    }
    if (this.#api.name === 'responses') one.id ??= /"id":"(resp_\w+)"/.exec(text)?.[1] ?? null
    one.seen.push(text)
  }

  /** One response over HTTP, cut after `cut` bytes of the body. */
  async overHttp(one: Followed, cut: number): Promise<void> {
    if (this.#isWhole(one)) return
    const part = await this.#ask(one, cut)
    if (part.status !== 200) throw new Error(`${part.status} ${part.bytes.toString()}`)
    one.id ??= String(part.headers['x-warmpath-response-id'])
    const text = part.bytes.toString('latin1')
    let from = 0
    for (const { end } of modelEvents(text, false)) {
      const event = Buffer.from(text.slice(from, end), 'latin1').toString()
      from = end
      const isNumbered =
        this.#api.name === 'responses' || event.startsWith(`id: ${one.seen.length}\n`)
      if (!isNumbered) throw new Error(`not event ${one.seen.length}: ${event}`)
      one.seen.push(dataOf(event))
    }
  }

  #ask({ id, seen }: Followed, cut: number): Promise<Part> {
    const { path, body, name } = this.#api
    const last = String(seen.length - 1)
    if (id === null) {
      const headers = { 'content-type': 'application/json', 'x-warmpath-resume': '1' }
      const asked = { method: 'POST', headers, body: JSON.stringify({ ...body, stream: true }) }
      return readCut(this.#origin + path, cut, asked)
    }
    const at = `${this.#origin}${path}/${id}`
    if (name === 'responses') return readCut(`${at}?stream=true&starting_after=${last}`, cut)
    return readCut(at, cut, { headers: seen.length === 0 ? {} : { 'last-event-id': last } })
  }
}
