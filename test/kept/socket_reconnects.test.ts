/**
 * The same as reconnects.test.ts over WebSocket, and across: clients with one to three lanes on a
 * connection that is cut off after any byte come back over WebSocket or over HTTP, in text frames
 * or in msgpack, maybe to another thread, until they have all of it. No event is lost, repeated or
 * reordered. The first cut goes through all positions in turn, for each count of lanes and form.
 *
 * `RECONNECT_RUNS` (default 200) is the number of runs for each count of threads and each API;
 * `RECONNECT_SEED` repeats one. 10,000 runs take some minutes.
 */
import { describe, expect, test } from 'vitest'
import { until } from '../gateway/gateway.ts'
import { CHAT, FORMS, RESPONSES, ReturningClient } from './returning_client.ts'
import { useScriptedGateway } from './scripted_gateway.ts'
import { Numbers } from './scripted_node.ts'

const RUNS = Number(process.env['RECONNECT_RUNS'] ?? 200)
const SEED = Number(process.env['RECONNECT_SEED'] ?? Date.now() % 1_000_000)
/** Clients at a time. */
const CONCURRENCY = 8
const LIMIT_MS = 20_000 + RUNS * 60

const LANES = [[null], ['a'], [null, 'b', 'c']] as const
/** Each count of lanes in each form. */
const SHAPES = LANES.flatMap(lanes => FORMS.map(form => ({ lanes, form })))

describe.each([1, 2])('with %i gateway threads', threads => {
  const stage = useScriptedGateway(threads, SEED)

  /** One client from its first byte to its last; returns how often it had to come back. */
  async function follow(api: typeof CHAT, run: number, length: number[]): Promise<number> {
    const random = new Numbers(SEED + run)
    const shape = run % SHAPES.length
    const { lanes, form } = SHAPES[shape] ?? { lanes: LANES[0], form: FORMS[0] }
    const client = new ReturningClient(stage.gateway.url, api, lanes)
    const bytes = length[shape] ?? 1
    // A step that is prime to the length goes through all positions.
    const first = (Math.floor(run / SHAPES.length) * 997) % bytes
    let visits = 0
    for (let cut = first; !client.isWhole; visits++) {
      // One client in four begins over HTTP; then each visit may change the transport.
      const isHttp = visits === 0 ? random.below(4) === 0 : random.below(3) === 0
      if (isHttp) for (const one of client.all) await client.overHttp(one, cut)
      else await client.overSocket(visits === 0 ? form : (FORMS[random.below(2)] ?? ''), cut)
      // Now and then it reads to the end, so that the run has one.
      cut = random.below(3) === 0 ? Infinity : random.below(bytes)
    }
    for (const { id, seen } of client.all) expect(seen).toEqual(api.wanted(id ?? ''))
    return visits - 1
  }

  test.each([CHAT, RESPONSES])(
    '$name: cut off after any byte, a client misses nothing',
    async api => {
      process.stdout.write(`${api.name}, ${threads} threads: ${RUNS} runs, seed ${SEED}\n`)
      const lengths: number[] = []
      for (const { lanes, form } of SHAPES) {
        lengths.push(
          await new ReturningClient(stage.gateway.url, api, lanes).overSocket(form, Infinity),
        )
      }
      let next = 0
      let visits = 0
      const client = async (): Promise<void> => {
        for (let run = next++; run < RUNS; run = next++) {
          const made = await follow(api, run, lengths).catch((error: unknown) => {
            throw new Error(`run ${run} of seed ${SEED}`, { cause: error })
          })
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
      const readers = stage.gateway.lines.filter(line => line.includes('"msg":"reader"'))
      const ran = new Set(readers.map(line => /"thread":"([\w-]+)"/.exec(line)?.[1]))
      expect(ran.size).toBe(threads)
    },
    LIMIT_MS,
  )
})
