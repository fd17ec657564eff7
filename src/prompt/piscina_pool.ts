/**
 * The prompt pool of one gateway thread: piscina threads that hold the tokenizers.
 *
 *   submit ──► room for one more? ──► queue ──► thread (started with the first task, ended when
 *     │ no: false, keyed by text                 idle) ──► chain, or the reason why not
 *
 * Two limits keep the queue short, items and bytes: a queue that is long answers late, and a
 * prompt that is routed by its text now is better than one routed exactly in two seconds.
 *
 * Every failure is said once per model and reason in the log and counted by the keyer; a thread
 * that dies takes its task with it and is replaced by the next one. Costs: no thread and no
 * memory until the first prompt needs one; the package is loaded then.
 */
import path from 'node:path'
import type { Piscina } from 'piscina'
import { packageRoot } from '../native/package_root.ts'
import type {
  QueuedTask,
  TokenIdsTask,
  TokenOutcome,
  TokenPool,
  TokenTask,
  WorkerOutcome,
} from './token_pool.ts'

export interface PiscinaPoolOptions {
  readonly threadsMax: number
  /** A thread that has had nothing to do for so long gives its memory back. */
  readonly idleMsMax: number
  readonly queueItemsMax: number
  /** Bytes of bodies that wait or are worked on. */
  readonly queueBytesMax: number
  /** Bytes of token ids that a thread remembers for each model. */
  readonly memoBytesMax: number
  readonly log: (message: string) => void
}

type Threads = Piscina<QueuedTask | TokenIdsTask, WorkerOutcome | Uint32Array | null>

/** Different failures said in the log; past it they are counted only. */
const FAILURES_SAID_MAX = 64

export class PiscinaPool implements TokenPool {
  readonly #options: PiscinaPoolOptions
  readonly #said: Set<string>
  #threads: Promise<Threads> | null
  #items: number
  #bytes: number
  #isClosed: boolean

  constructor(options: PiscinaPoolOptions) {
    this.#options = options
    this.#said = new Set()
    this.#threads = null
    this.#items = 0
    this.#bytes = 0
    this.#isClosed = false
  }

  /** Tasks that wait or are worked on. */
  get items(): number {
    return this.#items
  }

  submit(task: TokenTask, done: (outcome: TokenOutcome) => void): (() => void) | null {
    const { queueItemsMax, queueBytesMax } = this.#options
    const size = task.bytes.length
    if (this.#isClosed || this.#items >= queueItemsMax) return null
    if (this.#items > 0 && this.#bytes + size > queueBytesMax) return null
    this.#items++
    this.#bytes += size
    // Not an AbortSignal: of a task that has begun piscina ends the thread, tokenizers and all.
    const givenUp = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT))
    // The only promise of a prompt; it never rejects.
    void this.#run({ ...task, givenUp }).then(outcome => {
      this.#items--
      this.#bytes -= size
      done(outcome)
    })
    return () => Atomics.store(givenUp, 0, 1)
  }

  /** Our token ids of a body of /tokenize; null where they cannot be known. */
  async tokenIds(tokenizer: string, body: object): Promise<Uint32Array | null> {
    try {
      this.#threads ??= this.#start()
      const threads = await this.#threads
      const task = { tokenizer, json: JSON.stringify(body) }
      const ids = await threads.run(task, { name: 'tokenIds' })
      return ids instanceof Uint32Array ? ids : null
    } catch {
      return null
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true
    const threads = await this.#threads?.catch(() => null)
    await threads?.destroy()
  }

  async #run(task: QueuedTask): Promise<TokenOutcome> {
    try {
      this.#threads ??= this.#start()
      const threads = await this.#threads
      const outcome = await threads.run(task, { transferList: [task.bytes.buffer] })
      if (outcome === null || outcome instanceof Uint32Array) return 'error'
      if (!('reason' in outcome)) return outcome
      // A request that no template can render says nothing about the tokenizer.
      if (outcome.reason !== 'template') {
        this.#say(task.tokenizer, outcome.reason, outcome.message)
      }
      return outcome.reason
    } catch (error) {
      if (!this.#isClosed) this.#say(task.tokenizer, 'error', String(error))
      return 'error'
    }
  }

  async #start(): Promise<Threads> {
    const { Piscina: Pool } = await import('piscina')
    const { threadsMax, idleMsMax, memoBytesMax } = this.#options
    return new Pool({
      // Threads run compiled code wherever this file is run from: Node 20 loads no .ts there.
      filename: path.join(packageRoot(), 'dist/prompt/prompt_worker.js'),
      minThreads: 0,
      maxThreads: threadsMax,
      idleTimeout: idleMsMax,
      maxQueue: this.#options.queueItemsMax,
      workerData: { memoBytesMax },
      recordTiming: false,
    })
  }

  #say(tokenizer: string, reason: string, message: string): void {
    const name = `${tokenizer}\0${reason}`
    if (this.#said.has(name) || this.#said.size >= FAILURES_SAID_MAX) return
    this.#said.add(name)
    this.#options.log(`prompts of tokenizer ${tokenizer} are keyed by text: ${message}`)
  }
}
