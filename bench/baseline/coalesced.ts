/**
 * Hands on what one read of a node's socket brought as one piece, from a microtask behind it.
 *
 *     undici ─► CoalescingHandler ─► (LoggedHandler ─►) Exchange ─► client
 *
 * The log's cost is the difference between two relays that both have this in front: without it the
 * one with the log would be called for each HTTP chunk, or gather where the other does not.
 */
import { Buffer } from 'node:buffer'
import type { Dispatcher } from 'undici'

type Headers = Record<string, string | string[] | undefined>

export class CoalescingHandler implements Dispatcher.DispatchHandler {
  readonly #inner: Dispatcher.DispatchHandler
  #controller: Dispatcher.DispatchController | null = null
  readonly #chunks: Buffer[] = []
  #isScheduled = false

  constructor(inner: Dispatcher.DispatchHandler) {
    this.#inner = inner
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    this.#inner.onRequestStart?.(controller, null)
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    headers: Headers,
    text?: string,
  ): void {
    this.#inner.onResponseStart?.(controller, status, headers, text)
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#chunks.push(chunk)
    if (this.#isScheduled) return
    this.#isScheduled = true
    queueMicrotask(() => {
      this.#isScheduled = false
      this.#flush()
    })
  }

  onResponseEnd(controller: Dispatcher.DispatchController, trailers: Headers): void {
    this.#flush()
    this.#inner.onResponseEnd?.(controller, trailers)
  }

  onResponseError(controller: Dispatcher.DispatchController, error: Error): void {
    this.#flush()
    this.#inner.onResponseError?.(controller, error)
  }

  #flush(): void {
    const [first] = this.#chunks
    if (first === undefined || this.#controller === null) return
    // One piece, not many: past its 16 KB cork uWebSockets.js sends each by itself.
    const piece = this.#chunks.length === 1 ? first : Buffer.concat(this.#chunks)
    this.#chunks.length = 0
    this.#inner.onResponseData?.(this.#controller, piece)
  }
}
