/**
 * The index's prediction equals the engine's report in every case: sequential requests, n = 1,
 * nothing evicted, each sent after the events of the one before are in the index.
 *
 * Four counts are compared for each request: the model's (cache_model.ts), the index's
 * (`index_cached` of the log line), the engine's as the gateway read it (`reported_cached`), and
 * the engine's as the client read it.
 */
import { type Answer, type Ask, FIXED } from './ask.ts'
import type { EngineBench } from './bench_of_engines.ts'
import { check, type Report } from './report.ts'
import { until } from './until.ts'
import { Variety } from './variety.ts'

/** Requests between two emptyings of the caches, so that nothing is evicted. */
const ROUND_REQUESTS = 30
/** Blocks of an engine that a round may fill before it ends early. */
const ROUND_BLOCKS = 180

/** Looks that find nothing new before the events count as applied; a look takes 10 ms. */
const SAME_LOOKS = 12

interface Compared {
  readonly answer: Answer
  readonly expected: number
}

export async function checkExactness(
  report: Report,
  bench: EngineBench,
  requests: number,
): Promise<void> {
  const variety = new Variety(bench.prompts, bench.model, bench.blockSize, bench.engines[0])
  const compared: Compared[] = []
  let rounds = 0
  await report.fact(`${requests} varied requests in sequence`, async () => {
    while (compared.length < requests) {
      rounds++
      variety.startRound()
      await bench.reset()
      for (let i = 0; i < ROUND_REQUESTS && compared.length < requests; i++) {
        if (bench.engines.some(({ id }) => bench.cache.blocksOf(id) > ROUND_BLOCKS)) break
        const ask = await variety.next()
        const { expected, ...answer } = await bench.ask(ask)
        variety.answered(answer)
        await bench.settle()
        compared.push({ answer, expected })
      }
    }
    const tokens = compared.reduce((sum, { answer }) => sum + answer.prompt.length, 0)
    return `${rounds} rounds on emptied caches, ${tokens} prompt tokens, ${variety.kinds()}`
  })
  await report.fact('the index predicts what the engine reports, in every case', async () =>
    compareAll(bench, compared),
  )
}

async function compareAll(bench: EngineBench, compared: readonly Compared[]): Promise<string> {
  const wrong: string[] = []
  let hits = 0
  let cachedTokens = 0
  for (const { answer, expected } of compared) {
    const line = await bench.gateway.exchange(answer.clientId)
    const { index_cached: index, reported_cached: reported } = line
    const isEqual = index === answer.cached && reported === answer.cached
    if (answer.cached > 0) hits++
    cachedTokens += answer.cached
    if (isEqual && expected === answer.cached && line.node === answer.node) continue
    const { what, body } = answer.ask
    wrong.push(
      `${what} (${answer.prompt.length} tokens, ${line.node}): index ${index}, reported ` +
        `${reported}, client ${answer.cached}, model ${expected}, predicted ` +
        `${line.predicted_cached}; body ${JSON.stringify(body).slice(0, 400)}`,
    )
  }
  const equal = compared.length - wrong.length
  check(wrong.length === 0, () => `${equal} of ${compared.length} equal\n${wrong.join('\n')}`)
  check(hits > compared.length / 3, `only ${hits} of ${compared.length} found anything cached`)
  return `${equal} of ${compared.length} equal; ${hits} with a hit, ${cachedTokens} tokens cached`
}

/** The same with prompts that do not fit together: blocks are evicted, and said to be. */
export async function checkEviction(report: Report, bench: EngineBench): Promise<void> {
  const { prompts, gateway, engines } = bench
  await report.fact('predictions stay exact while the engines evict', async () => {
    await bench.reset()
    const heads = Array.from({ length: 24 }, () => prompts.tokens(prompts.pick([640, 800, 1024])))
    let equal = 0
    let hits = 0
    const asked = 72
    for (let i = 0; i < asked; i++) {
      const tokens = [...prompts.pick(heads), ...prompts.tokens(prompts.below(70) + 1)]
      const body = { model: bench.model, prompt: tokens, max_tokens: 2, ...FIXED }
      const ask: Ask = { what: 'evicting', path: '/v1/completions', body }
      const answered = await bench.ask(ask)
      await eventsApplied(bench)
      const line = await gateway.exchange(answered.clientId)
      check(
        line.index_cached === answered.cached,
        `request ${i}: index ${line.index_cached}, engine ${answered.cached}`,
      )
      equal++
      if (answered.cached > 0) hits++
    }
    const removed = bench.cache.heldBlocks - (await gateway.heldBlocks())
    check(removed > 0, 'nothing was evicted: the caches are larger than the suite expects')
    for (const engine of engines) await bench.empty(engine)
    await bench.settle()
    return `${equal} of ${asked} equal, ${hits} with a hit, at least ${removed} blocks evicted`
  })
}

/**
 * With evictions nobody can say how many blocks there must be, so the next best is awaited: the
 * engines are idle, and many looks in a row find the same counts.
 */
async function eventsApplied(bench: EngineBench): Promise<void> {
  let before = ''
  let sames = 0
  await until(async () => {
    const batches = await bench.gateway.metric('warmpath_kv_batches_total')
    const now = `${batches} ${await bench.gateway.heldBlocks()}`
    sames = now === before ? sames + 1 : 0
    before = now
    return sames >= SAME_LOOKS ? true : null
  }, 'the index to change no more')
}
