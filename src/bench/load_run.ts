/**
 * One run: a closed loop that keeps `concurrency` requests on the way until so many were sent or
 * the time is over, and then waits for what is still out. `stop` ends the sending early (Ctrl-C).
 *
 * What it does badly: a closed loop slows down with the endpoint, so it shows what clients that
 * wait would see, not what a given rate of arrivals would do.
 */
import type { Answer } from './answer.ts'
import type { Endpoint } from './endpoint.ts'
import type { Settings } from './options.ts'
import type { Prompts } from './prompts.ts'

export interface Progress {
  readonly concurrency: number
  readonly finished: number
  readonly failed: number
  readonly elapsedMs: number
}

export interface LoadRun {
  readonly concurrency: number
  readonly answers: readonly Answer[]
  readonly elapsedMs: number
}

export class Load {
  readonly #settings: Settings
  readonly #model: string
  readonly #prompts: Prompts
  #number = 0
  #isStopped = false

  constructor(settings: Settings, model: string, prompts: Prompts) {
    this.#settings = settings
    this.#model = model
    this.#prompts = prompts
  }

  get isStopped(): boolean {
    return this.#isStopped
  }

  stop(): void {
    this.#isStopped = true
  }

  async run(
    endpoint: Endpoint,
    concurrency: number,
    onProgress: (progress: Progress) => void,
  ): Promise<LoadRun> {
    const { requests, durationMs, isStream, isChat } = this.#settings
    const route = isChat ? 'chat/completions' : 'completions'
    const answers: Answer[] = []
    const begin = performance.now()
    let reserved = 0
    let failed = 0
    /** Takes the right to send one more request; false: enough were sent. */
    const reserve = (): boolean => {
      if (this.#isStopped || (requests !== null && reserved >= requests)) return false
      if (durationMs !== null && performance.now() - begin >= durationMs) return false
      reserved++
      return true
    }
    await new Promise<void>(resolve => {
      const send = (): void => {
        endpoint.ask(route, this.#body(), isStream, answer => {
          answers.push(answer)
          if (answer.error !== null) failed++
          const elapsedMs = performance.now() - begin
          onProgress({ concurrency, finished: answers.length, failed, elapsedMs })
          // A refused request fails in this very turn: the next one waits for another.
          if (reserve()) setImmediate(send)
          else if (answers.length === reserved) resolve()
        })
      }
      for (let lane = 0; lane < concurrency && reserve(); lane++) send()
      if (reserved === 0) resolve()
    })
    return { concurrency, answers, elapsedMs: performance.now() - begin }
  }

  #body(): string {
    const { tokensMax, isStream, isChat, ignoresEos } = this.#settings
    const prompt = this.#prompts.prompt(this.#number++)
    return JSON.stringify({
      model: this.#model,
      ...(isChat ? { messages: [{ role: 'user', content: prompt }] } : { prompt }),
      max_tokens: tokensMax,
      ...(isStream ? { stream: true, stream_options: { include_usage: true } } : {}),
      ...(ignoresEos ? { ignore_eos: true } : {}),
    })
  }
}
