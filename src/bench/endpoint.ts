/**
 * One OpenAI-compatible endpoint over undici's dispatch interface: one socket a request on the
 * way, kept alive, no retries, so that what fails is counted and not hidden.
 */
import { type Dispatcher, Pool } from 'undici'
import { z } from 'zod'
import { type Answer, AnswerReader } from './answer.ts'
import type { Settings } from './options.ts'

/** Below the 5 s after which vLLM closes an idle socket. */
const KEEP_ALIVE_MS = 4000
/** A list of models above this is none. */
const MODELS_BYTES_MAX = 4 << 20

const modelsSchema = z.object({ data: z.array(z.object({ id: z.string() })) })

const ERROR_KINDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'refused',
  ENOTFOUND: 'unknown_host',
  ECONNRESET: 'reset',
  UND_ERR_SOCKET: 'reset',
  UND_ERR_HEADERS_TIMEOUT: 'timeout',
  UND_ERR_BODY_TIMEOUT: 'timeout',
  UND_ERR_CONNECT_TIMEOUT: 'timeout',
}

export function errorKind(error: Error): string {
  const code = 'code' in error && typeof error.code === 'string' ? error.code : error.name
  return ERROR_KINDS[code] ?? code.toLowerCase()
}

export class Endpoint {
  readonly #pool: Pool
  readonly #path: string
  readonly #headers: Readonly<Record<string, string>>

  constructor(settings: Settings, connections: number) {
    const url = new URL(settings.base)
    this.#path = url.pathname === '/' ? '' : url.pathname
    this.#headers = {
      'content-type': 'application/json',
      ...(settings.apiKey === null ? {} : { authorization: `Bearer ${settings.apiKey}` }),
    }
    this.#pool = new Pool(url.origin, {
      connections,
      pipelining: 1,
      keepAliveTimeout: KEEP_ALIVE_MS,
      headersTimeout: settings.timeoutMs,
      bodyTimeout: settings.timeoutMs,
      connectTimeout: Math.min(settings.timeoutMs, 10_000),
    })
  }

  /** First model that the endpoint serves. */
  async firstModel(): Promise<string> {
    const path = `${this.#path}/v1/models`
    const reply = await this.#pool.request({ path, method: 'GET', headers: this.#headers })
    const text = await reply.body.text()
    if (reply.statusCode !== 200) {
      throw new Error(`${path} answered ${reply.statusCode}: ${text.slice(0, 200)}`)
    }
    const models = text.length > MODELS_BYTES_MAX ? [] : modelsSchema.parse(JSON.parse(text)).data
    const [first] = models
    if (first === undefined) throw new Error(`${path} lists no model: name one with --model`)
    return first.id
  }

  /** Sends one request and calls back when its answer is over, right or wrong. */
  ask(route: string, body: string, isStream: boolean, onAnswer: (answer: Answer) => void): void {
    const reader = new AnswerReader(isStream, performance.now())
    const handler: Dispatcher.DispatchHandler = {
      onRequestStart() {},
      onResponseStart(_controller, status) {
        reader.onStatus(status)
      },
      onResponseData(_controller, chunk) {
        reader.onBytes(chunk, performance.now())
      },
      onResponseEnd() {
        onAnswer(reader.finish(performance.now()))
      },
      onResponseError(_controller, error) {
        onAnswer(reader.fail(errorKind(error), error.message, performance.now()))
      },
    }
    this.#pool.dispatch(
      { path: `${this.#path}/v1/${route}`, method: 'POST', headers: this.#headers, body },
      handler,
    )
  }

  /** Ends all sockets, also those that still wait for an answer. */
  async close(): Promise<void> {
    await this.#pool.destroy()
  }
}
