/**
 * One try of an exchange at one node: the undici handler of a dispatch.
 *
 *     dispatched ──► head ──► data … ──► end        each step is told to the exchange,
 *          └──────────┴─────────┴──► broken         until `abandon` makes the attempt mute
 *
 * A retry makes a new attempt, so a late callback of the old one can never reach the new state.
 * Data is told once for each read of the node's socket, whatever number of chunks that held.
 */
import type { Dispatcher } from 'undici'
import { ReadGatherer } from '../nodes/read_gatherer.ts'
import { classifySocketError } from '../nodes/socket_errors.ts'
import type { Placement } from '../routing/router.ts'

/** How an attempt broke, as far as retries and the node's health are concerned. */
export type Breakage = ReturnType<typeof classifySocketError>

export type NodeHeaders = Record<string, string | string[] | undefined>

/** What an exchange hears of its current attempt. */
export interface AttemptListener {
  onHead(attempt: Attempt, status: number, headers: NodeHeaders): void
  onData(attempt: Attempt, chunk: Buffer): void
  onDone(attempt: Attempt): void
  onBroken(attempt: Attempt, breakage: Breakage): void
}

export class Attempt implements Dispatcher.DispatchHandler {
  readonly placement: Placement
  #listener: AttemptListener | null
  #controller: Dispatcher.DispatchController | null = null
  #isAborted = false
  readonly #gatherer = new ReadGatherer(piece => this.#listener?.onData(this, piece))
  hasHead = false

  constructor(placement: Placement, listener: AttemptListener) {
    this.placement = placement
    this.#listener = listener
  }

  /** Says nothing more to the exchange; the reply's rest is read and dropped. */
  mute(): void {
    this.#listener = null
  }

  /** Gives the attempt up and closes its socket, which makes the engine abort. */
  abandon(): void {
    this.#listener = null
    this.#isAborted = true
    this.#controller?.abort(new Error('exchange abandoned'))
  }

  pause(): void {
    this.#controller?.pause()
  }

  resume(): void {
    this.#controller?.resume()
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    if (this.#isAborted) controller.abort(new Error('exchange abandoned'))
  }

  onResponseStart(
    _controller: Dispatcher.DispatchController,
    status: number,
    headers: NodeHeaders,
  ): void {
    if (status < 200) return
    this.hasHead = true
    this.#listener?.onHead(this, status, headers)
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#gatherer.push(chunk)
  }

  onResponseEnd(): void {
    this.#gatherer.flush()
    this.#listener?.onDone(this)
  }

  onResponseError(_controller: Dispatcher.DispatchController | undefined, error: Error): void {
    this.#gatherer.flush()
    this.#listener?.onBroken(this, classifySocketError(error))
  }
}
