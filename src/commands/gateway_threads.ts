/**
 * The gateway threads as the main thread sees them: started, told, and waited for.
 *
 * A thread that fails takes the process down: uWebSockets.js leaves no other way, and one crash
 * unit with a fast restart is simpler to reason about than half a gateway.
 */
import path from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { Worker } from 'node:worker_threads'
import type { ThreadStart } from '../front/gateway_thread.ts'
import { allowLargeHeads } from '../front/head_limit.ts'
import type { ToMain, ToThread } from '../front/thread_mail.ts'
import { packageRoot } from '../native/package_root.ts'
import type { NodeOutcome } from '../nodes/fleet_view.ts'
import type { ThreadBuffer } from '../observe/metrics/thread_metrics.ts'
import { createThreadBuffer } from '../observe/metrics/thread_metrics.ts'
import { reservePort } from './reserve_port.ts'

/**
 * V8 allocates objects of a site directly in the old generation once many of that site have
 * survived a scavenge. The objects of an exchange do, while requests are in flight; but a dead
 * object of the old generation keeps all that it points to until the next full collection, so a
 * third of all garbage was copied by scavenges (28 µs a short request against 10 without).
 */
const EXCHANGE_HEAP_FLAG = '--no-allocation-site-pretenuring'

/**
 * A thread collects its own garbage, and nearly no other helps it: there is a gateway thread for
 * every core, so a helper takes the core from one of them, and the collecting thread waits for the
 * last one. 500 paced streams on two cores, two processes in turn: 35.4 µs of processor time a
 * token with helpers and 33.3 without (1.10 and 1.04 of the bare relay's, whose helpers have a
 * third of the work), p99 of the transit 8.5 and 6.4 ms. A full collection is marked by one helper
 * beside the thread, where V8 has four, which together leave a shared core's thread a fifth of it
 * for tens of milliseconds: one thread and its helpers on one core, 34.5 µs and 11.9 ms with four,
 * 33.7 and 8.9 with one. That one stays: V8 dies of concurrent marking being switched off once the
 * process runs.
 */
const LONE_COLLECTOR_FLAGS = [
  '--no-parallel-scavenge',
  '--no-concurrent-sweeping',
  '--no-concurrent-array-buffer-sweeping',
  '--no-parallel-compaction',
  '--no-parallel-pointer-update',
  '--concurrent-marking-max-worker-num=1',
]

/**
 * Full collections come when a heap has tripled, not each time it has grown by the 8 MiB that V8
 * grants a heap whose old generation fills slowly: the objects of 500 streams that begin are about
 * as much, so each such burst was followed by a collection which held its tokens up. Nor does V8
 * collect a thread's heap three times over, eight seconds after a collection, to give memory back:
 * other threads' took a gateway thread's core for up to 33 ms a time. (The main thread's heap is
 * there before the flags are, and goes on doing so.) 500 paced streams on one core, two builds in
 * turn, 11 rounds: p99 of the transit 6.4 ms before and 1.3 after, 2.2 and 0.8 of the bare
 * relay's; either flag by itself does not do it. An idle gateway keeps some 10 MB more.
 */
const RARE_COLLECTION_FLAGS = ['--heap-growing-percent=200', '--no-memory-reducer']

/**
 * Bytes of bytecode that a function runs through before V8 looks whether to optimise it, a quarter
 * of V8's own. An exchange is some hundred functions, and at 500 paced streams it took 16 s until
 * the optimised ones relayed the tokens; with this it takes 6 (docs/benchmarks.md), and their code
 * is as good. The price: p99 of the transit 40 ms where it was 20, in the first 3 s of that load on
 * one core. It is set when the threads listen: with it from the process's start on, code that only
 * a start runs was compiled as well, and the start took 505 ms where it had taken 413.
 */
const EARLY_OPTIMISATION_FLAG = '--interrupt-budget=16384'

/** What every thread gets alike. */
export type CommonStart = Omit<ThreadStart, 'index' | 'metrics' | 'waiting' | 'mailboxes' | 'port'>

export interface ThreadsStart extends ThreadEvents {
  readonly count: number
  readonly port: number
  readonly common: CommonStart
  readonly first: PreparedThread
}

export interface ThreadEvents {
  onOutcome(outcome: NodeOutcome): void
  metricsText(): Promise<string>
  onFailure(error: Error): void
}

/** A gateway thread that loads its modules, or waits to be told how to start. */
export interface PreparedThread {
  readonly worker: Worker
}

/** Starts a gateway thread, which listens once `GatewayThreads.start` tells it where. */
export function prepareThread(): PreparedThread {
  allowLargeHeads()
  // Read when an isolate starts, so they are set before the first thread does.
  const flags = [EXCHANGE_HEAP_FLAG, ...LONE_COLLECTOR_FLAGS, ...RARE_COLLECTION_FLAGS]
  for (const flag of flags) setFlagsFromString(flag)
  return { worker: new Worker(path.join(packageRoot(), 'dist/front/gateway_thread.js')) }
}

export class GatewayThreads {
  readonly buffers: readonly ThreadBuffer[]
  readonly #workers: readonly Worker[]
  readonly #ended: Promise<unknown>
  #isEnding = false

  private constructor(workers: readonly Worker[], buffers: readonly ThreadBuffer[]) {
    this.#workers = workers
    this.buffers = buffers
    this.#ended = Promise.all(
      workers.map(worker => new Promise(resolve => worker.once('exit', resolve))),
    )
  }

  /** Starts `count` threads on one port and resolves with them once all are listening. */
  static async start(start: ThreadsStart): Promise<{ threads: GatewayThreads; port: number }> {
    const { count, common, first } = start
    const port = await reservePort(common.host, start.port)
    const waiting = new SharedArrayBuffer(count * Int32Array.BYTES_PER_ELEMENT)
    const mailboxes = new SharedArrayBuffer(count * Int32Array.BYTES_PER_ELEMENT)
    const indexes = Array.from({ length: count }, (_, index) => index)
    const buffers = indexes.map(index => createThreadBuffer(`gateway-${index}`))
    const workers = buffers.map(({ buffer: metrics }, index) => {
      const { worker } = index === 0 ? first : prepareThread()
      const told: ThreadStart = { ...common, index, port, waiting, mailboxes, metrics }
      worker.postMessage(told)
      return worker
    })
    const threads = new GatewayThreads(workers, buffers)
    await Promise.all(workers.map(worker => threads.#listening(worker, start)))
    setFlagsFromString(EARLY_OPTIMISATION_FLAG)
    return { threads, port }
  }

  tell(message: ToThread): void {
    for (const worker of this.#workers) worker.postMessage(message)
  }

  /** Resolves when every thread has finished its work and ended. */
  async drain(graceMs: number): Promise<void> {
    this.#isEnding = true
    this.tell({ kind: 'drain', graceMs })
    await this.#ended
  }

  #listening(worker: Worker, events: ThreadEvents): Promise<void> {
    return new Promise((resolve, reject) => {
      worker.once('error', error => {
        reject(error)
        events.onFailure(error)
      })
      worker.once('exit', code => {
        const error = new Error(`a gateway thread ended with code ${code}`)
        reject(error)
        if (!this.#isEnding) events.onFailure(error)
      })
      worker.on('message', (message: ToMain) => {
        if (message.kind === 'listening') resolve()
        else if (message.kind === 'outcome') events.onOutcome(message.outcome)
        else void events.metricsText().then(text => worker.postMessage({ kind: 'metrics', text }))
      })
    })
  }
}
