/**
 * Where conversations and shared prefixes go, and what that saves: the share of the tokens which
 * one cache without an end would have found that the engines did find. Round robin is beside it.
 */
import { type Ask, answer, computed, FIXED } from './ask.ts'
import type { EngineBench } from './bench_of_engines.ts'
import { CacheModel } from './cache_model.ts'
import type { Gateway } from './gateway_process.ts'
import { check, type Report } from './report.ts'

const CONVERSATIONS = 6
const TURNS = 10
/** Everything is "held" under one name: the cache without an end. */
const ENDLESS = 'endless'
/**
 * Least share of the endless cache's tokens that the default policy must find. What it misses are
 * conversations with one system prompt that begin at the same moment on two nodes.
 */
const SHARE_MIN = 0.9

interface Reuse {
  prompt: number
  cached: number
  possible: number
  /** Later turns, and those that went where the turn before was. */
  later: number
  stayed: number
}

/** Conversations side by side, two sharing each system prompt, each turn after its answer. */
async function converse(bench: EngineBench, gateway: Gateway): Promise<Reuse> {
  const { prompts, model, blockSize } = bench
  const endless = new CacheModel(blockSize)
  const reuse: Reuse = { prompt: 0, cached: 0, possible: 0, later: 0, stayed: 0 }
  const systems = Array.from({ length: CONVERSATIONS / 2 }, () => prompts.text(80))
  const talk = async (index: number): Promise<void> => {
    let messages = [{ role: 'system', content: systems[index % systems.length] ?? '' }]
    let before = ''
    for (let turn = 0; turn < TURNS; turn++) {
      messages = [...messages, { role: 'user', content: prompts.text(12) }]
      const body = { model, messages, max_tokens: 16, ...FIXED }
      const ask: Ask = { what: 'turn', path: '/v1/chat/completions', body }
      const answered = await answer(gateway.url, ask)
      const { prompt, cached, node } = answered
      reuse.prompt += prompt.length
      reuse.cached += cached
      reuse.possible += endless.cachedTokens(ENDLESS, { tokens: prompt })
      endless.add(ENDLESS, { tokens: computed(answered) })
      if (turn > 0) reuse.later++
      if (turn > 0 && node === before) reuse.stayed++
      before = node
      messages = [...messages, { role: 'assistant', content: answered.text }]
    }
  }
  await Promise.all(Array.from({ length: CONVERSATIONS }, (_, index) => talk(index)))
  return reuse
}

function percent(part: number, whole: number): string {
  return `${((100 * part) / whole).toFixed(1)} %`
}

function figures({ prompt, cached, possible, later, stayed }: Reuse): string {
  return (
    `${percent(cached, possible)} of what an endless cache finds (${cached} of ${possible}; ` +
    `${prompt} prompt tokens), ${stayed} of ${later} turns where the one before was`
  )
}

export async function checkPlacement(
  report: Report,
  bench: EngineBench,
  roundRobin: () => Promise<Gateway>,
): Promise<void> {
  const { gateway, prompts, model } = bench
  let best = 0
  const title = `${CONVERSATIONS} conversations of ${TURNS} turns at once`
  await report.fact(`${title} go to their holders`, async () => {
    await bench.reset()
    const reuse = await converse(bench, gateway)
    best = reuse.cached / reuse.possible
    check(best >= SHARE_MIN, figures(reuse))
    return figures(reuse)
  })
  await report.fact(`${title}, by round robin`, async () => {
    const other = await roundRobin()
    try {
      for (const engine of bench.engines) await bench.empty(engine)
      const reuse = await converse(bench, other)
      check(reuse.cached / reuse.possible < best, `no worse than the default: ${figures(reuse)}`)
      return figures(reuse)
    } finally {
      await other.stop()
    }
  })
  await report.fact('a shared system prompt draws its requests to the holder', async () => {
    await bench.reset()
    const system = prompts.text(150)
    const asked = 8
    const nodes = new Set<string>()
    let cached = 0
    for (let i = 0; i < asked; i++) {
      const messages = [
        { role: 'system', content: system },
        { role: 'user', content: prompts.text(6) },
      ]
      const body = { model, messages, max_tokens: 2, ...FIXED }
      const ask: Ask = { what: 'shared', path: '/v1/chat/completions', body }
      const answered = await bench.ask(ask)
      await bench.settle()
      nodes.add(answered.node)
      check(i === 0 || answered.cached >= 4 * bench.blockSize, `request ${i} found nothing`)
      cached += answered.cached
    }
    check(nodes.size === 1, `they went to ${[...nodes].join(' and ')}`)
    return `${asked} requests, all to ${[...nodes].join()}, ${cached} tokens found`
  })
}
