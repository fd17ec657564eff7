/**
 * The truth about a tokenizer: do we make the node's own tokens? Asked once when a node with
 * that model joins, because a template or a vocabulary may differ in ways that no file shows.
 *
 *   sample chats ──► our ids ─┐
 *                └─► POST /tokenize of the node ─┴─► equal | different | not available
 *
 * "different" means the model must be keyed by text: every exact prediction would be wrong.
 * A node that does not answer /tokenize (404, 403, old or locked) tells nothing, so its model
 * stays as it is; the comparison with `cached_tokens` in replies is then the only check.
 * Costs: a handful of short requests a node. It cannot see what the samples do not touch.
 */
import { isRecord } from '../record.ts'

export interface TruthSample {
  /** Body for /tokenize without `model`. */
  readonly body: Readonly<Record<string, unknown>>
}

export type TruthVerdict =
  | { readonly kind: 'equal'; readonly compared: number }
  | { readonly kind: 'different'; readonly message: string }
  | { readonly kind: 'unavailable'; readonly message: string }

/** Posts JSON to a node; rejects when there is no answer. */
export type PostJson = (path: string, body: unknown) => Promise<{ status: number; body: unknown }>

/** Our ids of a /tokenize body; null when we do not claim to know them. */
export type OwnTokens = (body: Readonly<Record<string, unknown>>) => Promise<Uint32Array | null>

const WEATHER_TOOL = {
  type: 'function',
  function: {
    name: 'get_weather',
    description: 'Weather of a place — temperature in °C',
    parameters: {
      type: 'object',
      properties: { city: { type: 'string', enum: ['Paris', '東京'] }, days: { type: 'integer' } },
      required: ['city'],
    },
  },
}
const SYSTEM = { role: 'system', content: 'You are a helpful assistant.\nAnswer in one line.' }
const QUESTION = {
  role: 'user',
  content: '  What is 2 + 2?\n\n```python\nprint("héllo 🌍")\n```  ',
}
const ANSWER = { role: 'assistant', content: 'It is 4 — “four”.' }
const TOOL_CALL = {
  role: 'assistant',
  content: null,
  tool_calls: [
    {
      id: 'call_1',
      type: 'function',
      function: { name: 'get_weather', arguments: '{"city": "東京", "days": [1, 2.5], "x": null}' },
    },
  ],
}
const TOOL_RESULT = { role: 'tool', tool_call_id: 'call_1', content: '{"°C": 21.5}' }
const FOLLOW_UP = { role: 'user', content: 'و الآن؟ 然后呢 ١٢٣' }

/** Texts that tell templates and vocabularies apart: roles, tools, turns, parts, scripts. */
export const TRUTH_SAMPLES: readonly TruthSample[] = [
  { body: { prompt: ' Hello,  world! 123456 naïve café 東京\t\n' } },
  { body: { messages: [QUESTION] } },
  { body: { messages: [SYSTEM, QUESTION, ANSWER, FOLLOW_UP] } },
  { body: { messages: [SYSTEM, QUESTION], tools: [WEATHER_TOOL] } },
  { body: { messages: [{ role: 'user', content: [{ type: 'text', text: 'one' }] }] } },
  { body: { messages: [QUESTION, ANSWER, FOLLOW_UP], add_generation_prompt: false } },
  { body: { messages: [QUESTION, TOOL_CALL, TOOL_RESULT], tools: [WEATHER_TOOL] } },
]

/** Compares our ids with the node's for every sample that both can tokenize. */
export async function checkTruth(
  model: string,
  own: OwnTokens,
  post: PostJson,
  samples: readonly TruthSample[] = TRUTH_SAMPLES,
): Promise<TruthVerdict> {
  let compared = 0
  for (const { body } of samples) {
    const reply = await post('/tokenize', { ...body, model }).catch(() => null)
    if (reply === null) return { kind: 'unavailable', message: 'no answer from /tokenize' }
    if (reply.status === 404 || reply.status === 403 || reply.status === 405) {
      return { kind: 'unavailable', message: `/tokenize answers ${reply.status}` }
    }
    // A template may refuse a sample (no system role, say): then it is no sample for this model.
    const theirs = isRecord(reply.body) ? reply.body.tokens : null
    if (reply.status !== 200 || !Array.isArray(theirs)) continue
    const ours = await own(body)
    if (ours === null) continue
    const at = firstDifference(ours, theirs)
    if (at !== -1) {
      const text = `token ${at} is ${ours[at]} here and ${String(theirs[at])} at the node`
      return { kind: 'different', message: `${text} for ${JSON.stringify(body).slice(0, 200)}` }
    }
    compared++
  }
  if (compared > 0) return { kind: 'equal', compared }
  return { kind: 'unavailable', message: 'no sample could be compared' }
}

function firstDifference(ours: Uint32Array, theirs: readonly unknown[]): number {
  const length = Math.max(ours.length, theirs.length)
  for (let at = 0; at < length; at++) if (ours[at] !== theirs[at]) return at
  return -1
}
