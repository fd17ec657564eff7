/** Blocks of an adapter and of its base model never mix, in the engine and in the index. */
import { type Ask, FIXED } from './ask.ts'
import type { EngineBench } from './bench_of_engines.ts'
import { check, type Report } from './report.ts'

export async function checkAdapters(
  report: Report,
  bench: EngineBench,
  adapter: string,
): Promise<void> {
  const { gateway, prompts, model } = bench
  await report.fact('blocks of an adapter and of its base do not mix', async () => {
    await bench.reset()
    const counts: string[] = []
    for (const kind of ['chat', 'ids', 'salted']) {
      const body =
        kind === 'ids'
          ? { prompt: prompts.tokens(100) }
          : { messages: [{ role: 'user', content: prompts.text(80) }] }
      const path = kind === 'ids' ? '/v1/completions' : '/v1/chat/completions'
      const salt = kind === 'salted' ? { salt: prompts.name('salt') } : {}
      const salted = 'salt' in salt ? { cache_salt: salt.salt } : {}
      const turns = [model, adapter, adapter, model, adapter]
      for (const [turn, name] of turns.entries()) {
        const isBase = name === model
        const ask: Ask = {
          what: `${kind} of ${name}`,
          path,
          body: { model: name, ...body, ...salted, max_tokens: 3, ...FIXED },
          ...salt,
          ...(isBase ? {} : { adapter }),
        }
        const answered = await bench.ask(ask)
        await bench.settle()
        const line = await gateway.exchange(answered.clientId)
        const all = [line.index_cached, line.reported_cached, answered.cached, answered.expected]
        check(new Set(all).size === 1, `${ask.what}, turn ${turn}: ${all.join(', ')}`)
        check(turn >= 2 || answered.cached === 0, `${ask.what} found ${answered.cached}`)
        counts.push(String(answered.cached))
      }
    }
    return `cached tokens of base, adapter, adapter, base, adapter: ${counts.join(' ')}`
  })
}
