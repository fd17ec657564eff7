/** A WebSocket to the gateway under test; every message is kept, and waited for by condition. */
import { Unpackr } from 'msgpackr'
import { WebSocket } from 'ws'
import { check } from './report.ts'
import { until } from './until.ts'

const unpackr = new Unpackr({ useRecords: false })

/** A message as it was said, and whose it is. */
interface Said {
  readonly lane: string | null
  readonly text: string
}

/** What is read of a message; the rest is compared as text. */
export interface Message {
  readonly type?: string
  readonly response?: { readonly id: string; readonly status: string; readonly usage?: Usage }
  readonly response_id?: string
  readonly sequence_number?: number
  readonly error?: unknown
}

interface Usage {
  readonly input_tokens: number
  readonly input_tokens_details?: { readonly cached_tokens?: number }
}

const ENDS = ['response.completed', 'response.incomplete', 'response.failed', 'error']

function isLast(text: string): boolean {
  if (text === '[DONE]') return true
  const { type = '' } = JSON.parse(text) as Message
  return ENDS.includes(type)
}

export class LaneSocket {
  readonly ws: WebSocket
  readonly #said: Said[] = []

  private constructor(ws: WebSocket) {
    this.ws = ws
    ws.on('message', (data: Buffer, isBinary: boolean) => {
      this.#said.push(isBinary ? unpacked(data) : split(data.toString()))
    })
  }

  static async open(origin: string, path: string, protocol: string[] = []): Promise<LaneSocket> {
    const ws = new WebSocket(origin.replace(/^http/, 'ws') + path, protocol)
    const socket = new LaneSocket(ws)
    await new Promise<void>((resolve, reject) => {
      ws.once('open', resolve)
      ws.once('error', reject)
    })
    return socket
  }

  ask(frame: object): void {
    this.ws.send(JSON.stringify(frame))
  }

  /** What a lane has said so far, the gateway's own words left out. */
  texts(lane: string | null): string[] {
    const own = '{"type":"warmpath:created"'
    return this.#said
      .filter(one => one.lane === lane && !one.text.startsWith(own))
      .map(({ text }) => text)
  }

  /** The id of the response that runs in a lane. */
  id(lane: string | null): Promise<string> {
    return until(() => {
      const [first] = this.#said.filter(one => one.lane === lane)
      if (first === undefined) return null
      const { response, response_id: id } = JSON.parse(first.text) as Message
      return id ?? response?.id ?? null
    }, `the id of lane ${lane}`)
  }

  /** All that a lane says up to the `count`th end. */
  async whole(lane: string | null, count = 1): Promise<string[]> {
    await until(() => {
      return this.texts(lane).filter(isLast).length >= count ? true : null
    }, `end ${count} of lane ${lane}`)
    return this.texts(lane)
  }

  /** At least so many messages of a lane. */
  async some(lane: string | null, count: number): Promise<void> {
    await until(() => (this.texts(lane).length >= count ? true : null), `${count} messages`)
  }

  close(): void {
    this.ws.terminate()
  }
}

function unpacked(data: Buffer): Said {
  // Decode boundary: the gateway's own array of three.
  const [lane, , bytes] = unpackr.unpack(data) as [string | null, number | null, Buffer]
  return { lane, text: bytes.toString() }
}

/** The gateway's own messages say their type first, the others the lane. */
const OWN_LANE = /^\{(?:"type":"(?:warmpath:\w+|error)",)?(?:"status":\d+,)?"stream_id":"(\w+)"/

/** A text frame, without the name of its lane. */
function split(text: string): Said {
  const lane = OWN_LANE.exec(text)?.[1] ?? null
  if (text.startsWith('{"type":"warmpath:done"')) return { lane, text: '[DONE]' }
  return { lane, text: text.replace(/^\{"stream_id":"\w+",/, '{') }
}

/** The messages of a response: numbers without a gap, one beginning, one end. */
export function checkNumbers(texts: readonly string[]): Message[] {
  const messages = texts.map(text => JSON.parse(text) as Message)
  const error = messages.find(({ type }) => type === 'error')
  check(error === undefined, JSON.stringify(error))
  check(
    messages.every((message, n) => message.sequence_number === n),
    'a gap in the numbers',
  )
  check(messages[0]?.type === 'response.created', `it begins with ${messages[0]?.type}`)
  check(isLast(texts.at(-1) ?? '""'), `it ends with ${texts.at(-1)}`)
  return messages
}
