/**
 * The baseline with the response log switched on: every body passes a log of its own on its way
 * to the same writer. The difference to the baseline is what the log costs and nothing else.
 *
 *     CoalescingHandler ─► LoggedHandler ─► ResponseLog.append ─► (reader) ─► Exchange ─► client
 *
 * One reader on the same thread in window mode, as the gateway's common case is. What it does
 * badly: the writer pauses the node by itself, so the log never sees a reader that lags.
 */
import { Buffer } from 'node:buffer'
import type { Dispatcher } from 'undici'
import type { LogEnd, LogReader } from '../../src/responses/log_reader.ts'
import { ResponseLog } from '../../src/responses/response_log.ts'

const LOG_BYTES_MAX = 8 << 20
const LAG_BYTES_MAX = 1 << 20

const FLOW = { pause(): void {}, resume(): void {}, abandoned(): void {}, stopped(): void {} }

type Headers = Record<string, string | string[] | undefined>

export class LoggedHandler implements Dispatcher.DispatchHandler, LogReader {
  readonly #inner: Dispatcher.DispatchHandler
  #controller: Dispatcher.DispatchController | null = null
  #log: ResponseLog | null = null

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
    if (status < 200) return
    const type = headers['content-type']
    const isStream = typeof type === 'string' && type.startsWith('text/event-stream')
    this.#inner.onResponseStart?.(controller, status, headers, text)
    this.#log = new ResponseLog({
      kind: isStream ? 'sse' : 'json',
      mode: 'window',
      tenant: 0,
      bytesMax: LOG_BYTES_MAX,
      lagBytesMax: LAG_BYTES_MAX,
      upstream: FLOW,
    })
    this.#log.attach(this)
    this.#log.head({ status, headers })
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#log?.append(chunk)
  }

  onResponseEnd(): void {
    this.#close({ kind: 'complete' })
  }

  onResponseError(controller: Dispatcher.DispatchController, error: Error): void {
    this.#close({ kind: 'failed', reason: error.message })
    this.#inner.onResponseError?.(controller, error)
  }

  onHead(): void {}

  onBytes(chunk: Uint8Array): boolean {
    // A reader that keeps up is handed the very chunk of the node, which is a Buffer.
    if (this.#controller !== null && Buffer.isBuffer(chunk)) {
      this.#inner.onResponseData?.(this.#controller, chunk)
    }
    return true
  }

  onEnd(end: LogEnd): void {
    if (this.#controller === null || end.kind !== 'complete') return
    this.#inner.onResponseEnd?.(this.#controller, {})
  }

  #close(end: LogEnd): void {
    const log = this.#log
    this.#log = null
    log?.end(end)
    log?.close()
  }
}
