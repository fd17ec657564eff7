/**
 * What a node answers to a prompt, decided before it is generated: seeded words of the length asked
 * for, cut at a stop string if one occurs, or a tool call.
 *
 *   words      " nud" " pum" " kod"            one token each, reason `length` (or `stop`)
 *   stop "m k" " nud" " pu"                    the text ends in front of it, reason `stop`
 *   tool call  name, `{"ke` `y":"` `x"}`, end  one token for the name and one for the end
 *
 * With stop strings of at most L characters the engine holds L − 1 characters back until it knows
 * better; so does this: token and text no longer go in step.
 */

import type { JsonObject, Sampling } from './body.ts'
import { promptSeed, type SimTokenizer } from './sim_tokenizer.ts'
import { pieces, toolArguments, toolName } from './tool_call.ts'

const NATURAL_TOKENS_MIN = 16
const NATURAL_TOKENS_SPAN = 49

export interface Answer {
  readonly tokensMax: number
  readonly lastReason: 'stop' | 'length'
  /** The stop string that was found. */
  readonly stopReason: string | null
  /** Text a token, where it is not simply the token's own. */
  readonly texts: readonly string[] | null
  readonly tool: ToolAnswer | null
  readonly tokenAt: (n: number) => number
}

export interface ToolAnswer {
  readonly name: string
  readonly argumentPieces: readonly string[]
  /** `tool_calls`, or `stop` when the function was named by the client. */
  readonly reason: 'tool_calls' | 'stop'
}

export interface AnswerContext {
  readonly tokenizer: SimTokenizer
  /** Tokens that the model has room for behind the prompt. */
  readonly room: number
  /** Length of an answer that asks for none; null for one that depends on the prompt. */
  readonly naturalTokens: number | null
}

export function planAnswer(
  context: AnswerContext,
  prompt: Uint32Array,
  sampling: Sampling,
  choice: number,
): Answer {
  const { tokenizer, room, naturalTokens } = context
  const seed = promptSeed(prompt, sampling.seed, choice)
  const limit = Math.min(sampling.tokensMax ?? room, room)
  const natural = naturalTokens ?? NATURAL_TOKENS_MIN + (seed % NATURAL_TOKENS_SPAN)
  const isOpen = sampling.tokensMax === null && !sampling.ignoresEos && natural <= limit
  const plain: Answer = {
    tokensMax: isOpen ? natural : limit,
    lastReason: isOpen ? 'stop' : 'length',
    stopReason: null,
    texts: null,
    tool: null,
    tokenAt: n => tokenizer.wordAt(seed, n),
  }
  return sampling.stops.length === 0 ? plain : cutAtStop(plain, tokenizer, sampling.stops)
}

function cutAtStop(plain: Answer, tokenizer: SimTokenizer, stops: readonly string[]): Answer {
  const held = Math.max(...stops.map(stop => stop.length)) - 1
  const texts: string[] = []
  let text = ''
  let shown = 0
  for (let n = 0; n < plain.tokensMax; n++) {
    const before = text.length
    text += tokenizer.textOf([plain.tokenAt(n)])
    const found = stops.find(stop => text.indexOf(stop, Math.max(0, before - held)) >= 0)
    const isLast = found !== undefined || n === plain.tokensMax - 1
    let visible = isLast ? text.length : Math.max(shown, text.length - held)
    if (found !== undefined) visible = text.indexOf(found, Math.max(0, before - held))
    texts.push(text.slice(shown, visible))
    shown = visible
    if (found === undefined) continue
    return { ...plain, tokensMax: n + 1, lastReason: 'stop', stopReason: found, texts }
  }
  return { ...plain, texts }
}

/** The call of a tool, when the request forces one or its last message says "call tool". */
export function planToolCall(
  body: JsonObject,
  prompt: Uint32Array,
  tokenizer: SimTokenizer,
  room: number,
): Answer | null {
  const called = toolName(body)
  if (called === null) return null
  const argumentPieces = pieces(toolArguments(body, called.name))
  const tokensMax = argumentPieces.length + 2
  if (tokensMax > room) return null
  const seed = promptSeed(prompt, 0, 0)
  const reason = called.isNamed ? 'stop' : 'tool_calls'
  return {
    tokensMax,
    lastReason: 'stop',
    stopReason: null,
    texts: null,
    tool: { name: called.name, argumentPieces, reason },
    tokenAt: n => tokenizer.wordAt(seed, n),
  }
}
