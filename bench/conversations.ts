/**
 * The workload of the reuse bench: groups of conversations. All of a group start with the same
 * long instructions; each conversation then grows turn by turn, the answers included.
 *
 *     group 0   instructions ─┬─ conversation 0: user, answer, user, answer, …
 *                             └─ conversation 1: user, answer, …
 *     group 1   …
 *
 * A lane takes one conversation after the other and asks its turns in sequence. The first lanes
 * take conversations of different groups, so that a group's instructions are computed once before
 * its second conversation comes. Texts come from a seed, answers from the node, which answers equal
 * prompts equally: every policy is asked the very same.
 */
import { Pool } from 'undici'
import { z } from 'zod'

export interface Workload {
  readonly groups: number
  readonly conversationsPerGroup: number
  readonly turns: number
  readonly instructionWords: number
  readonly turnWords: number
  readonly answerTokens: number
  readonly lanes: number
  readonly seed: number
}

export interface Reuse {
  readonly requests: number
  readonly promptTokens: number
  readonly cachedTokens: number
  readonly seconds: number
}

interface Message {
  readonly role: string
  readonly content: string
}

const reply = z.object({
  choices: z.array(z.object({ message: z.object({ content: z.string().nullable() }) })),
  usage: z.object({
    prompt_tokens: z.number(),
    prompt_tokens_details: z.object({ cached_tokens: z.number() }),
  }),
})

/** Words of five letters from a linear congruential generator: equal seeds, equal texts. */
function text(words: number, seed: number): string {
  let state = (seed * 2_654_435_761) >>> 0
  const made: string[] = []
  for (let i = 0; i < words; i++) {
    let word = ''
    for (let letter = 0; letter < 5; letter++) {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
      word += String.fromCharCode(97 + ((state >>> 16) % 26))
    }
    made.push(word)
  }
  return made.join(' ')
}

async function ask(pool: Pool, model: string, messages: readonly Message[], tokens: number) {
  const body = JSON.stringify({ model, messages, max_tokens: tokens })
  const headers = { 'content-type': 'application/json' }
  const path = '/v1/chat/completions'
  const answer = await pool.request({ path, method: 'POST', headers, body })
  const json = await answer.body.text()
  if (answer.statusCode !== 200) throw new Error(`${answer.statusCode}: ${json.slice(0, 200)}`)
  return reply.parse(JSON.parse(json))
}

/** Asks the whole workload of one endpoint. */
export async function converse(url: string, model: string, load: Workload): Promise<Reuse> {
  const pool = new Pool(url, { connections: load.lanes, pipelining: 1, keepAliveTimeout: 4000 })
  const sum = { requests: 0, promptTokens: 0, cachedTokens: 0 }
  const total = load.groups * load.conversationsPerGroup
  let next = 0
  const talk = async (conversation: number): Promise<void> => {
    const group = conversation % load.groups
    const instructions = text(load.instructionWords, load.seed + group)
    const messages: Message[] = [{ role: 'system', content: instructions }]
    for (let turn = 0; turn < load.turns; turn++) {
      const seed = load.seed + 1000 + conversation * load.turns + turn
      messages.push({ role: 'user', content: text(load.turnWords, seed) })
      const { choices, usage } = await ask(pool, model, messages, load.answerTokens)
      messages.push({ role: 'assistant', content: choices[0]?.message.content ?? '' })
      sum.requests++
      sum.promptTokens += usage.prompt_tokens
      sum.cachedTokens += usage.prompt_tokens_details.cached_tokens
    }
  }
  const lane = async (): Promise<void> => {
    while (next < total) await talk(next++)
  }
  const begin = performance.now()
  await Promise.all(Array.from({ length: load.lanes }, lane))
  const seconds = (performance.now() - begin) / 1000
  await pool.close()
  return { ...sum, seconds }
}
