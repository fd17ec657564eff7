/**
 * An engine's event sockets, scripted: real ZeroMQ on free ports, vLLM's frames, and the faults of
 * the failure list. It publishes what it is told; the truth about what is held lies elsewhere.
 */
import { Packr } from 'msgpackr'
import { Publisher, Router } from 'zeromq'

const packr = new Packr({ useRecords: false, variableMapSize: true })
const END = Buffer.alloc(8, 0xff)
const EMPTY = Buffer.alloc(0)
const BIND_TURNS_MAX = 20_000

interface PublisherOptions {
  /** Replies of a replay carry the topic (0.26 and later). */
  readonly hasTopicInReplay?: boolean
  readonly topic?: string
  readonly ringMax?: number
  /** Addresses to take over, as a restarted engine does. */
  readonly endpoint?: string
  readonly replayEndpoint?: string
}

interface Batch {
  readonly seq: number
  readonly payload: Buffer
}

function seqBytes(seq: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(BigInt(seq))
  return bytes
}

/** The address of an engine that has just ended is free some turns of the event loop later. */
async function bindAgain(socket: Publisher | Router, endpoint: string): Promise<void> {
  for (let turn = 0; turn < BIND_TURNS_MAX; turn++) {
    const isBound = await socket.bind(endpoint).then(
      () => true,
      () => false,
    )
    if (isBound) return
    await new Promise(resolve => setImmediate(resolve))
  }
  throw new Error(`${endpoint} stays taken`)
}

export class ScriptedPublisher {
  readonly #publisher = new Publisher({ linger: 0, sendHighWaterMark: 0 })
  readonly #router = new Router({ linger: 0, sendHighWaterMark: 0 })
  readonly #ring: Batch[] = []
  readonly #options: PublisherOptions
  #loop: Promise<void> = Promise.resolve()
  #sending: Promise<void> = Promise.resolve()
  endpoint = ''
  replayEndpoint = ''
  seq = 0
  /** Next live batches that are kept in the ring only. */
  drop = 0
  /** Replays end after this many batches, without the marker. */
  cutAfter = Number.POSITIVE_INFINITY
  readonly asked: number[] = []

  private constructor(options: PublisherOptions) {
    this.#options = options
  }

  static async open(options: PublisherOptions = {}): Promise<ScriptedPublisher> {
    const own = new ScriptedPublisher(options)
    await bindAgain(own.#publisher, options.endpoint ?? 'tcp://127.0.0.1:*')
    await bindAgain(own.#router, options.replayEndpoint ?? 'tcp://127.0.0.1:*')
    own.endpoint = own.#publisher.lastEndpoint ?? ''
    own.replayEndpoint = own.#router.lastEndpoint ?? ''
    own.#loop = own.#serve()
    return own
  }

  /** One batch, stamped with the time; the events as vLLM writes them. */
  async publish(...events: readonly unknown[]): Promise<void> {
    const seq = this.seq++
    const payload = packr.pack([Date.now() / 1000 + seq / 1e6, events, 0])
    this.#ring.push({ seq, payload })
    if (this.#ring.length > (this.#options.ringMax ?? 10_000)) this.#ring.shift()
    if (this.drop > 0) this.drop--
    else await this.#send(seq, payload)
  }

  /** Begins anew at 0 with an empty ring, as a restarted engine, but behind the same sockets. */
  forget(): void {
    this.#ring.length = 0
    this.seq = 0
  }

  /** A message that is none of an engine's. */
  async raw(...frames: readonly Buffer[]): Promise<void> {
    this.#sending = this.#sending.then(() => this.#publisher.send([...frames]))
    await this.#sending
  }

  /** The last batch once more. */
  async repeat(): Promise<void> {
    const last = this.#ring.at(-1)
    if (last !== undefined) await this.#send(last.seq, last.payload)
  }

  async close(): Promise<void> {
    await this.#sending
    this.#publisher.close()
    this.#router.close()
    // A replay that was under way fails on the closed socket, as that of an engine that dies.
    await this.#loop.catch(() => {})
  }

  async #send(seq: number, payload: Buffer): Promise<void> {
    const frames = [Buffer.from(this.#options.topic ?? ''), seqBytes(seq), payload]
    this.#sending = this.#sending.then(() => this.#publisher.send(frames))
    await this.#sending
  }

  async #serve(): Promise<void> {
    const { hasTopicInReplay = true, topic = '' } = this.#options
    for await (const [identity, empty, start] of this.#router) {
      if (identity === undefined || empty?.length !== 0 || start?.length !== 8) continue
      const from = Number(start.readBigUInt64BE())
      this.asked.push(from)
      const head = hasTopicInReplay ? [identity, EMPTY, Buffer.from(topic)] : [identity, EMPTY]
      const batches = this.#ring.filter(({ seq }) => seq >= from)
      for (const { seq, payload } of batches.slice(0, this.cutAfter)) {
        await this.#router.send([...head, seqBytes(seq), payload])
      }
      if (batches.length > this.cutAfter) continue
      const end = hasTopicInReplay ? [identity, EMPTY, EMPTY] : [identity, EMPTY]
      await this.#router.send([...end, END, EMPTY])
    }
  }
}
