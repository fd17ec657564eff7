/**
 * The KV-event feed as the main thread sees it: the fleet's `KvFeed`, done by a thread of its own.
 * The thread is started with the first subscription, so a gateway in front of nodes without events
 * has none.
 *
 * What fails for a reason of operation (zeromq not installed, an endpoint that is none) is the
 * value of the promise; the node is then routed by predictions. A thread that dies is a defect:
 * `onCrash`, after which the index is no longer written. `close` must be awaited before exit.
 */
import path from 'node:path'
import { Worker } from 'node:worker_threads'
import { packageRoot } from '../../native/package_root.ts'
import type { KvFeed, KvFeedReport, KvSubscription } from '../kv_feed.ts'
import type { FeedCommand, FeedMessage, SourceReport } from './protocol.ts'

export type { FeedCounters, SourceReport } from './protocol.ts'

/**
 * The feed's youngest objects, in MiB (three semi-spaces of 1 MiB): events are decoded, applied and
 * forgotten, and what V8 takes for more at the start it keeps, 8 MB of an idle gateway.
 */
const YOUNG_MIB = 3

export interface FeedOptions {
  /** State changes and restarts, as they are seen. */
  readonly onReport: (report: KvFeedReport) => void
  readonly onCrash: (error: Error) => void
}

type Answer = Exclude<FeedMessage, { kind: 'report' }>

export class KvEventFeed implements KvFeed {
  readonly #options: FeedOptions
  readonly #answers: Map<number, (answer: Answer | null) => void>
  #worker: Worker | null
  #exited: Promise<void>
  #nextId: number
  #isClosed: boolean

  constructor(options: FeedOptions) {
    this.#options = options
    this.#answers = new Map()
    this.#worker = null
    this.#exited = Promise.resolve()
    this.#nextId = 1
    this.#isClosed = false
  }

  async subscribe(subscription: KvSubscription): Promise<string | null> {
    this.#start()
    return failureOf(await this.#ask(id => ({ kind: 'subscribe', id, subscription })))
  }

  async clear(slot: number): Promise<string | null> {
    return failureOf(await this.#ask(id => ({ kind: 'clear', id, slot })))
  }

  async unsubscribe(slot: number): Promise<string | null> {
    return failureOf(await this.#ask(id => ({ kind: 'unsubscribe', id, slot })))
  }

  /** Every subscription with the counters of its slot at this moment. */
  async reports(): Promise<readonly SourceReport[]> {
    const answer = await this.#ask(id => ({ kind: 'reports', id }))
    return answer?.kind === 'reports' ? answer.reports : []
  }

  /** Every socket is closed and the thread gone when this resolves. */
  async close(): Promise<void> {
    const isFirst = !this.#isClosed
    this.#isClosed = true
    if (isFirst) this.#worker?.postMessage({ kind: 'close', id: 0 } satisfies FeedCommand)
    await this.#exited
  }

  #start(): void {
    if (this.#worker !== null || this.#isClosed) return
    const worker = new Worker(path.join(packageRoot(), 'dist/nodes/kv_events/worker.js'), {
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_MIB },
    })
    this.#worker = worker
    this.#exited = new Promise(resolve => {
      worker.once('exit', () => {
        this.#worker = null
        for (const answer of this.#answers.values()) answer(null)
        this.#answers.clear()
        resolve()
      })
    })
    worker.on('message', (message: FeedMessage) => this.#receive(message))
    worker.on('error', (error: Error) => this.#options.onCrash(error))
  }

  /** Resolves to null when there is no thread, or none any more. */
  #ask(command: (id: number) => FeedCommand): Promise<Answer | null> {
    const worker = this.#worker
    if (worker === null || this.#isClosed) return Promise.resolve(null)
    const id = this.#nextId++
    return new Promise(resolve => {
      this.#answers.set(id, resolve)
      worker.postMessage(command(id))
    })
  }

  #receive(message: FeedMessage): void {
    if (message.kind === 'report') {
      this.#options.onReport(message.report)
      return
    }
    const answer = this.#answers.get(message.id)
    this.#answers.delete(message.id)
    answer?.(message)
  }
}

function failureOf(answer: Answer | null): string | null {
  if (answer === null) return 'the KV-event thread has ended'
  return answer.kind === 'done' ? answer.failure : null
}
