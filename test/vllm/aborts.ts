/** A client that leaves frees the engine: in decode, in prefill, and in the engine's own queue. */
import type { EngineBench } from './bench_of_engines.ts'
import { check, type Report } from './report.ts'
import { unlessStill } from './standstill.ts'
import { median, msUntil, until } from './until.ts'
import { dataOf, get, post, sumOf } from './wire.ts'

/** Aborts that a median is taken of. */
const TRIES = 7
/** An engine shows an abort in its metrics within 0.3 s; the machine may be busy with others. */
const FREED_MS_MAX = 2000
/** Sequences that an engine of the suite runs at once; what is more waits in its queue. */
const SEQUENCES_MAX = 16
/** Requests beyond that. */
const QUEUED = 10

type State = 'running' | 'waiting'

/** Requests of the engines in some states, by their own metrics. */
async function load(bench: EngineBench, ...states: readonly State[]): Promise<number> {
  // One page for all states: between two of them a request may go from one state to the other.
  const pages = await Promise.all(bench.engines.map(({ url }) => get(url, '/metrics')))
  const sums = pages.flatMap(({ text }) =>
    states.map(state => sumOf(text, `vllm:num_requests_${state}`)),
  )
  return sums.reduce((sum, one) => sum + one, 0)
}

async function isIdle(bench: EngineBench): Promise<boolean> {
  return (await load(bench, 'running', 'waiting')) === 0
}

interface Started {
  readonly controller: AbortController
  readonly ended: Promise<unknown>
  events(): number
  /** What it ended with, if it has. */
  outcome(): string | null
}

function start(
  bench: EngineBench,
  isStream: boolean,
  words: number,
  max: number,
  origin = bench.gateway.url,
): Started {
  const controller = new AbortController()
  let text = ''
  const body = {
    model: bench.model,
    prompt: bench.prompts.text(words),
    max_tokens: max,
    ignore_eos: true,
    stream: isStream,
  }
  let outcome: string | null = null
  const ended = post(origin, '/v1/completions', body, {
    signal: controller.signal,
    onText: now => {
      text = now
    },
  })
    .then(reply => `${reply.status} ${reply.text.slice(0, 300)} … ${reply.text.slice(-40)}`)
    .catch((error: unknown) =>
      error instanceof Error ? `${error} ${String(error.cause)}` : String(error),
    )
    .then(said => {
      outcome = said
    })
  return { controller, ended, events: () => dataOf(text).length, outcome: () => outcome }
}

/**
 * Aborts one request at the moment that `isReached` names; milliseconds until all is free. Null: an
 * engine that keeps both cores busy has answered it whole before anybody could look.
 */
async function msUntilFree(
  bench: EngineBench,
  started: Started,
  isReached: () => boolean | Promise<boolean>,
): Promise<number | null> {
  const isRunning = await until(async () => {
    if (await isReached()) return true
    return started.outcome() === null ? null : false
  }, 'the request to run')
  if (!isRunning) {
    const outcome = started.outcome() ?? ''
    check(outcome.startsWith('200'), `it failed before it ran: ${outcome}`)
    return null
  }
  started.controller.abort()
  const ms = await msUntil(() => isIdle(bench), 'idle engines')
  await started.ended
  return ms
}

function figures(times: readonly number[]): string {
  const worst = Math.max(...times)
  check(worst <= FREED_MS_MAX, `an engine was freed after ${Math.round(worst)} ms only`)
  return (
    `engine idle after ${Math.round(median(times))} ms at the median, ` +
    `${Math.round(worst)} ms at worst, of ${times.length}`
  )
}

export async function checkAborts(report: Report, bench: EngineBench): Promise<void> {
  const measure = async (run: () => Promise<number | null>): Promise<string> => {
    const times: number[] = []
    for (let i = 0; times.length < TRIES; i++) {
      check(i < 5 * TRIES, `only ${times.length} of ${i} tries could be measured`)
      await msUntil(() => isIdle(bench), 'idle engines')
      const ms = await unlessStill(run)
      if (ms !== null) times.push(ms)
    }
    return figures(times)
  }
  await report.fact('an aborted stream frees its engine (decode)', () =>
    measure(() => {
      const started = start(bench, true, 20, 1200)
      return msUntilFree(bench, started, () => started.events() >= 5)
    }),
  )
  await report.fact('an aborted plain request frees its engine (decode)', () =>
    measure(() => {
      const started = start(bench, false, 20, 1200)
      return msUntilFree(bench, started, async () => (await load(bench, 'running')) > 0)
    }),
  )
  await report.fact('a request aborted before its first token frees its engine (prefill)', () =>
    measure(async () => {
      const started = start(bench, true, 600, 1200)
      return msUntilFree(bench, started, async () => (await bench.gateway.leases()) > 0)
    }),
  )
  await report.fact('requests aborted in the queues of the engines leave them', async () => {
    const engines = bench.engines.map(({ url }) => url)
    const direct = await leaveFullQueue(bench, engines)
    const through = await leaveFullQueue(bench, [bench.gateway.url])
    const worst = Math.max(direct.leftMs, FREED_MS_MAX) * 3
    check(through.leftMs <= worst && through.freedMs <= worst, `${textOf(through)} through it`)
    return `${textOf(through)}; direct to the engines ${textOf(direct)}`
  })
  await report.fact('every lease is given back', async () => {
    await msUntil(async () => (await bench.gateway.leases()) === 0, 'empty leases')
    const decode = await bench.gateway.metric('warmpath_aborts_total', 'phase="decode"')
    const prefill = await bench.gateway.metric('warmpath_aborts_total', 'phase="prefill"')
    return `${decode} aborts after the first byte, ${prefill} before it`
  })
}

interface Left {
  readonly queued: number
  readonly leftMs: number
  readonly stayed: number
  readonly freedMs: number
}

function textOf({ queued, leftMs, stayed, freedMs }: Left): string {
  return (
    `${queued} left after ${Math.round(leftMs)} ms while ${stayed} went on or came to their end, ` +
    `and those after ${Math.round(freedMs)} ms`
  )
}

/**
 * Tries again where the engines were so fast, or so busy, that there was nothing to leave. Unlike
 * above, a try counts even if the machine stood still in it: with all places of the engines taken a
 * busy one always does for a moment, and the limit here is seconds.
 */
async function leaveFullQueue(bench: EngineBench, origins: readonly string[]): Promise<Left> {
  for (let i = 0; i < TRIES; i++) {
    await msUntil(() => isIdle(bench), 'idle engines')
    const all = startOverfull(bench, origins)
    try {
      const full = await whenFull(bench, all)
      if (full !== null) return await leaveQueue(bench, full)
    } finally {
      for (const { controller } of all) controller.abort()
      await Promise.all(all.map(({ ended }) => ended))
    }
  }
  throw new Error(`in ${TRIES} tries there was never a queue with requests to leave`)
}

/** More streams than the engines run at once: those without an event are in their queues. */
function startOverfull(bench: EngineBench, origins: readonly string[]): readonly Started[] {
  const count = SEQUENCES_MAX * bench.engines.length + QUEUED
  return Array.from({ length: count }, (_, index) =>
    start(bench, true, 10, 1900, origins[index % origins.length]),
  )
}

interface Full {
  readonly all: readonly Started[]
  readonly queued: readonly Started[]
}

/** Null: one had been answered before all were there, none was in a queue, or few had begun. */
async function whenFull(bench: EngineBench, all: readonly Started[]): Promise<Full | null> {
  const isFull = await until(async () => {
    if (all.some(one => one.outcome() !== null)) return false
    const sum = await load(bench, 'running', 'waiting')
    return sum === all.length && (await load(bench, 'waiting')) >= QUEUED ? true : null
  }, 'full engines with requests in their queues')
  const queued = all.filter(one => one.events() === 0)
  const begun = all.length - queued.length
  if (isFull && queued.length > 0 && begun > (all.length - QUEUED) / 2) return { all, queued }
  for (const one of all) check(isFine(one), `one failed: ${one.outcome()}`)
  return null
}

/** The queued ones leave, then all others. */
async function leaveQueue(bench: EngineBench, { all, queued }: Full): Promise<Left> {
  for (const { controller } of queued) controller.abort()
  const isLeft = async (): Promise<boolean> =>
    (await load(bench, 'running', 'waiting')) <= all.length - queued.length
  const leftMs = await msUntil(isLeft, 'the queued requests to leave')
  const others = all.filter(one => !queued.includes(one))
  for (const one of others) check(isFine(one), `one that had begun ended: ${one.outcome()}`)
  const stayed = others.length
  for (const { controller } of all) controller.abort()
  const freedMs = await msUntil(() => isIdle(bench), 'idle engines')
  return { queued: queued.length, leftMs, stayed, freedMs }
}

/** It goes on, or was answered whole. */
function isFine(one: Started): boolean {
  const outcome = one.outcome()
  return outcome === null || (outcome.startsWith('200') && outcome.trimEnd().endsWith('[DONE]'))
}
