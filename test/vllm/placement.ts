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
/** Least share of the endless cache's tokens that the default policy must find without load. */
const SHARE_MIN = 0.95

interface Reuse {
  prompt: number
  cached: number
  possible: number
  /** Later turns, and those that went where the turn before was. */
  later: number
  stayed: number
}

interface Talk {
  messages: { role: string; content: string }[]
  node: string
  turns: number
}

/** Conversations, two sharing each system prompt; one request at a time, or all of them at once. */
async function converse(bench: EngineBench, gateway: Gateway, isAtOnce: boolean): Promise<Reuse> {
  const { prompts, model, blockSize } = bench
  const endless = new CacheModel(blockSize)
  const reuse: Reuse = { prompt: 0, cached: 0, possible: 0, later: 0, stayed: 0 }
  const systems = Array.from({ length: CONVERSATIONS / 2 }, () => prompts.text(80))
  const talks = Array.from({ length: CONVERSATIONS }, (_, index): Talk => {
    const content = systems[index % systems.length] ?? ''
    return { messages: [{ role: 'system', content }], node: '', turns: 0 }
  })
  const turn = async (talk: Talk): Promise<void> => {
    const messages = [...talk.messages, { role: 'user', content: prompts.text(12) }]
    const body = { model, messages, max_tokens: 16, ...FIXED }
    const ask: Ask = { what: 'turn', path: '/v1/chat/completions', body }
    const answered = await answer(gateway.url, ask)
    const { prompt, cached, node } = answered
    reuse.prompt += prompt.length
    reuse.cached += cached
    reuse.possible += endless.cachedTokens(ENDLESS, { tokens: prompt })
    endless.add(ENDLESS, { tokens: computed(answered) })
    if (talk.turns++ > 0) reuse.later++
    if (node === talk.node) reuse.stayed++
    talk.node = node
    talk.messages = [...messages, { role: 'assistant', content: answered.text }]
  }
  if (isAtOnce) {
    const all = async (talk: Talk): Promise<void> => {
      while (talk.turns < TURNS) await turn(talk)
    }
    await Promise.all(talks.map(all))
    return reuse
  }
  for (let left = talks; left.length > 0; left = talks.filter(one => one.turns < TURNS)) {
    await turn(prompts.pick(left))
  }
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
  const title = `${CONVERSATIONS} conversations of ${TURNS} turns`
  await report.fact(`${title}, in turns: to their holders`, async () => {
    await bench.reset()
    const reuse = await converse(bench, gateway, false)
    best = reuse.cached / reuse.possible
    check(best >= SHARE_MIN, figures(reuse))
    return figures(reuse)
  })
  await report.fact(`${title}, all at once: spilled where the holder is busy`, async () => {
    for (const engine of bench.engines) await bench.empty(engine)
    const reuse = await converse(bench, gateway, true)
    check(reuse.stayed > reuse.later / 2, figures(reuse))
    return figures(reuse)
  })
  await report.fact(`${title}, in turns and all at once, by round robin`, async () => {
    const other = await roundRobin()
    try {
      for (const engine of bench.engines) await bench.empty(engine)
      const reuse = await converse(bench, other, false)
      check(reuse.cached / reuse.possible < best, `no worse than the default: ${figures(reuse)}`)
      for (const engine of bench.engines) await bench.empty(engine)
      return `${figures(reuse)}; at once ${figures(await converse(bench, other, true))}`
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
