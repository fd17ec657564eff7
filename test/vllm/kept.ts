/**
 * Answers that outlive their askers in front of engines that keep nothing themselves: stored,
 * continued, resumed, cancelled and background responses through the openai SDK, resumable chats,
 * identical requests.
 */
import OpenAI, { APIError } from 'openai'
import type { Response, ResponseStreamEvent } from 'openai/resources/responses/responses'
import type { EngineBench } from './bench_of_engines.ts'
import { check, type Report } from './report.ts'
import { msUntil, until } from './until.ts'

/** A field of vLLM that the SDK does not know. */
const EXTRA: object = { ignore_eos: true }
/** Tokens of an answer that is cancelled. */
const LONG = 1500
/** Responses that may be over before they can be cancelled. */
const ATTEMPTS_MAX = 3
const SHORT = 16

async function collect<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const events: T[] = []
  for await (const event of stream) events.push(event)
  return events
}

/** Numbers without a gap, one beginning, one end. */
function checkOrder(events: readonly ResponseStreamEvent[]): void {
  check(
    events.every((event, n) => event.sequence_number === n),
    'a gap in the numbers',
  )
  check(events[0]?.type === 'response.created', `it begins with ${events[0]?.type}`)
  const last = events.at(-1)?.type ?? ''
  const isTerminal = ['response.completed', 'response.incomplete', 'response.failed'].includes(last)
  check(isTerminal, `it ends with ${last}`)
}

function idOf(events: readonly ResponseStreamEvent[]): string {
  const [first] = events
  check(first?.type === 'response.created', 'no beginning')
  return first.response.id
}

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b)

class KeptChecks {
  readonly #bench: EngineBench
  readonly #client: OpenAI

  constructor(bench: EngineBench) {
    this.#bench = bench
    const baseURL = `${bench.gateway.url}/v1`
    this.#client = new OpenAI({ baseURL, apiKey: 'none', maxRetries: 0 })
  }

  #asked(tokens: number): { model: string; input: string; max_output_tokens: number } {
    const { model, prompts } = this.#bench
    const input = `Tell me about ${prompts.name('kept')}, at length.`
    return { model, input, max_output_tokens: tokens, temperature: 0, ...EXTRA } as never
  }

  async #running(): Promise<number> {
    const counts = this.#bench.engines.map(one => one.metric('vllm:num_requests_running'))
    return (await Promise.all(counts)).reduce((sum, count) => sum + count, 0)
  }

  /** Whether the engine has a store of its own makes no difference; it is said which was tried. */
  async ownBackground(): Promise<string> {
    const [engine] = this.#bench.engines
    const direct = new OpenAI({ baseURL: `${engine?.url}/v1`, apiKey: 'none', maxRetries: 0 })
    const body = { ...this.#asked(SHORT), background: true }
    const answer: unknown = await direct.responses.create(body).catch((reason: unknown) => reason)
    if (!(answer instanceof APIError)) return 'the engine keeps responses itself'
    check(answer.status === 400 && answer.param === 'background', String(answer))
    return 'the engine keeps nothing: 400'
  }

  async plain(): Promise<string> {
    const made = await this.#client.responses.create(this.#asked(SHORT))
    const got = await this.#client.responses.retrieve(made.id)
    check(same(made.output, got.output) && made.status === got.status, 'it is another one')
    await this.#client.responses.delete(made.id)
    const gone = await this.#client.responses.retrieve(made.id).catch((error: unknown) => error)
    check(gone instanceof APIError && gone.status === 404, String(gone))
    return `${made.id}, ${made.status}`
  }

  async resumed(): Promise<string> {
    const { responses } = this.#client
    const events = await collect(await responses.create({ ...this.#asked(SHORT), stream: true }))
    checkOrder(events)
    for (let after = -1; after < events.length; after++) {
      const query = { stream: true as const, starting_after: after }
      const again = await collect(await responses.retrieve(idOf(events), query))
      check(same(again, events.slice(after + 1)), `after ${after} it is another stream`)
    }
    return `${events.length} events, from each of them on`
  }

  /** A turn by id, and the same conversation sent whole to an engine. */
  async continued(): Promise<string> {
    const { responses } = this.#client
    const asked = this.#asked(SHORT)
    const first = await responses.create(asked)
    const input = 'Go on.'
    const next = await responses.create({ ...asked, input, previous_response_id: first.id })
    const items = [
      { role: 'user' as const, content: asked.input },
      ...first.output,
      { role: 'user' as const, content: input },
    ]
    const whole = await responses.create({ ...asked, input: items as never, store: false })
    check(next.output_text === whole.output_text, `${next.output_text} | ${whole.output_text}`)
    check(next.usage?.input_tokens === whole.usage?.input_tokens, 'another prompt')
    const list = await collect(responses.inputItems.list(next.id))
    check(list.length === 3, `${list.length} input items`)
    return `${next.usage?.input_tokens} prompt tokens, as when sent whole`
  }

  async background(): Promise<string> {
    const { responses } = this.#client
    const job = await responses.create({ ...this.#asked(64), background: true })
    check(job.status === 'queued', job.status ?? '')
    const done = await this.#ended(job.id)
    check(done.status === 'incomplete' && done.background === true, JSON.stringify(done))
    const events = await collect(await responses.retrieve(job.id, { stream: true }))
    checkOrder(events)
    return `${done.usage?.output_tokens} tokens, ${events.length} events`
  }

  /**
   * The client leaves after some events and comes back. It leaves the loop: where it aborts inside
   * of it, Node 20's fetch waits for ever if the whole stream was there already (12 of 60 times
   * directly at an engine, too).
   */
  async leftAlone(): Promise<string> {
    const { responses } = this.#client
    const body = { ...this.#asked(200), background: true, stream: true as const }
    const stream = await responses.create(body)
    const seen: ResponseStreamEvent[] = []
    for await (const event of stream) {
      seen.push(event)
      if (seen.length === 8) break
    }
    const query = { stream: true as const, starting_after: seen.length - 1 }
    const rest = await collect(await responses.retrieve(idOf(seen), query))
    checkOrder([...seen, ...rest])
    return `${seen.length} events, then ${rest.length}`
  }

  /** An engine on a busy machine may have told all before its first event is here: once more. */
  async cancelled(): Promise<string> {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const ms = await this.#cancelledAfterMs()
      if (ms !== null) return `the engine stopped within ${ms.toFixed(0)} ms`
    }
    throw new Error(`${ATTEMPTS_MAX} responses of ${LONG} tokens were over at their first event`)
  }

  /** Milliseconds in which the engine stopped; null: it had made every token before. */
  async #cancelledAfterMs(): Promise<number | null> {
    const { responses } = this.#client
    const job = await responses.create({ ...this.#asked(LONG), background: true })
    const events: ResponseStreamEvent[] = []
    let ms = 0
    for await (const event of await responses.retrieve(job.id, { stream: true })) {
      events.push(event)
      if (event.type !== 'response.output_text.delta' || ms > 0) continue
      const { status, usage } = await responses.cancel(job.id)
      if (usage?.output_tokens === LONG) return null
      check(status === 'cancelled', `${status} after ${events.length} events`)
      ms = await msUntil(async () => (await this.#running()) === 0, 'the engine to stop')
    }
    checkOrder(events)
    check(events.at(-1)?.type === 'response.incomplete', 'another end')
    return ms
  }

  async chatResumed(): Promise<string> {
    const { gateway, model, prompts } = this.#bench
    const messages = [{ role: 'user', content: prompts.name('kept') }]
    const body = { model, messages, stream: true, max_tokens: SHORT, temperature: 0 }
    const url = `${gateway.url}/v1/chat/completions`
    const headers = { 'content-type': 'application/json', 'x-warmpath-resume': '1' }
    const reply = await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) })
    const id = reply.headers.get('x-warmpath-response-id') ?? ''
    const whole = await reply.text()
    const count = whole.split('\n\n').length - 1
    for (let last = 0; last < count; last++) {
      const again = await fetch(`${url}/${id}`, { headers: { 'last-event-id': String(last) } })
      const from = whole.indexOf(`id: ${last + 1}\n`)
      const wanted = from < 0 ? '' : whole.slice(from)
      check((await again.text()) === wanted, `after ${last} it is another stream`)
    }
    return `${count} events, from each of them on`
  }

  async collapsed(): Promise<string> {
    const { model, prompts } = this.#bench
    const messages = [{ role: 'user' as const, content: prompts.name('kept') }]
    const body = { model, messages, max_tokens: 64, temperature: 0, ...EXTRA }
    const asks = Array.from({ length: 6 }, () => this.#client.chat.completions.create(body))
    const ids = new Set((await Promise.all(asks)).map(({ id }) => id))
    check(ids.size < 6, 'each was computed')
    return `6 clients, ${ids.size} computed`
  }

  #ended(id: string): Promise<Response> {
    return until(async () => {
      const now = await this.#client.responses.retrieve(id)
      return now.status === 'queued' || now.status === 'in_progress' ? null : now
    }, `the end of ${id}`)
  }
}

export async function checkKept(report: Report, bench: EngineBench): Promise<void> {
  const kept = new KeptChecks(bench)
  await report.fact('the background mode of the engine itself', () => kept.ownBackground())
  await report.fact('a plain response is retrieved and deleted', () => kept.plain())
  await report.fact('a streamed response is resumed', () => kept.resumed())
  await report.fact('previous_response_id continues a conversation', () => kept.continued())
  await report.fact('a background response is polled to its end', () => kept.background())
  await report.fact('a background stream goes on without its client', () => kept.leftAlone())
  await report.fact('cancel ends a background response at the engine', () => kept.cancelled())
  await report.fact('a chat completion is resumed', () => kept.chatResumed())
  await report.fact('identical deterministic requests are one', () => kept.collapsed())
}
