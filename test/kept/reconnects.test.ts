/**
 * Clients that are cut off after any byte and come back, on a new connection and so maybe on
 * another thread, again and again: no event is lost, repeated or reordered, and every byte is the
 * one of the uninterrupted stream. The first cut goes through all positions in turn.
 *
 * `RECONNECT_RUNS` (default 300) is the number of runs for each count of threads and each API;
 * `RECONNECT_SEED` repeats one. 10,000 runs take some minutes.
 */
import type { ResponseStreamEvent } from 'openai/resources/responses/responses'
import { describe, expect, test } from 'vitest'
import { until } from '../gateway/gateway.ts'
import { modelEvents } from '../model/event_scanner.ts'
import { type Part, readCut } from './cut_http.ts'
import { checkEvents } from './event_rules.ts'
import { useScriptedGateway } from './scripted_gateway.ts'
import { CHAT_EVENTS, Numbers, responseEvents } from './scripted_node.ts'

const RUNS = Number(process.env['RECONNECT_RUNS'] ?? 300)
const SEED = Number(process.env['RECONNECT_SEED'] ?? Date.now() % 1_000_000)
/** Clients at a time. */
const CONCURRENCY = 8
const LIMIT_MS = 20_000 + RUNS * 60

/** The data of a stream with one data line an event. */
function eventsOf(text: string): ResponseStreamEvent[] {
  const lines = text.split('\n').filter(line => line.startsWith('data: '))
  // Decode boundary: the scripted node writes them; the rules look at what they need.
  return lines.map(line => JSON.parse(line.slice(6)) as ResponseStreamEvent)
}

interface Api {
  readonly name: string
  readonly path: string
  readonly body: string
  events(id: string): readonly string[]
  /** The bytes that the client of an uninterrupted stream gets. */
  shown(events: readonly string[]): string
  resume(origin: string, id: string, events: number, cut: number): Promise<Part>
}

const APIS: readonly Api[] = [
  {
    name: 'chat',
    path: '/v1/chat/completions',
    body: '{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}',
    events: () => CHAT_EVENTS,
    shown: events => events.map((event, n) => `id: ${n}\n${event}`).join(''),
    resume: (origin, id, events, cut) =>
      readCut(`${origin}/v1/chat/completions/${id}`, cut, {
        headers: events === 0 ? {} : { 'last-event-id': String(events - 1) },
      }),
  },
  {
    name: 'responses',
    path: '/v1/responses',
    body: '{"model":"m","stream":true,"input":"x"}',
    events: responseEvents,
    shown: events => events.join(''),
    resume: (origin, id, events, cut) =>
      readCut(`${origin}/v1/responses/${id}?stream=true&starting_after=${events - 1}`, cut),
  },
]

describe.each([1, 2])('with %i gateway threads', threads => {
  const stage = useScriptedGateway(threads, SEED)

  /** One client from its first byte to its last; returns how often it had to come back. */
  async function follow(api: Api, seed: number, firstCut: number): Promise<number> {
    const random = new Numbers(seed)
    const headers = { 'content-type': 'application/json', 'x-warmpath-resume': '1' }
    const asked = { method: 'POST', headers, body: api.body }
    let part = await readCut(stage.gateway.url + api.path, firstCut, asked)
    const id = String(part.headers['x-warmpath-response-id'])
    const events = api.events(id)
    const whole = api.shown(events)
    let seen = 0
    let text = ''
    for (let visits = 0; ; visits++) {
      expect([seed, part.status]).toEqual([seed, 200])
      const got = part.bytes.toString('latin1')
      const ends = modelEvents(got, false).map(event => event.end)
      text += got.slice(0, part.isWhole ? got.length : (ends.at(-1) ?? 0))
      seen += ends.length
      if (part.isWhole) {
        expect([seed, Buffer.from(text, 'latin1').toString()]).toEqual([seed, whole])
        if (api.name === 'responses') checkEvents(eventsOf(whole))
        return visits
      }
      // Now and then it reads to the end, so that the run has one.
      const cut = random.below(3) === 0 ? Infinity : random.below(whole.length)
      part = await api.resume(stage.gateway.url, id, seen, cut)
    }
  }

  test.each(APIS)(
    '$name: cut off after any byte, a client misses nothing',
    async api => {
      process.stdout.write(`${api.name}, ${threads} threads: ${RUNS} runs, seed ${SEED}\n`)
      const length = Buffer.byteLength(api.shown(api.events('resp_'.padEnd(37, '0'))))
      let next = 0
      let visits = 0
      const client = async (): Promise<void> => {
        for (let run = next++; run < RUNS; run = next++) {
          // A step that is prime to the length goes through all positions.
          const made = await follow(api, SEED + run, (run * 997) % length)
          visits += made
        }
      }
      await Promise.all(Array.from({ length: CONCURRENCY }, client))
      expect(visits).toBeGreaterThan(RUNS / 2)
      expect(stage.node.aborted).toBe(0)
      await until(
        () => stage.gateway.exchanges().every(line => line.reason === 'complete'),
        'the ends',
      )
    },
    LIMIT_MS,
  )
})
