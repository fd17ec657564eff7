/**
 * Messages and tools as the chat template of a vLLM node gets to see them: the request's JSON
 * after the node's own validation, with its defaults filled in and unknown members dropped.
 *
 *   content   null ► "" or []     "text" ► "text" or [{type, text}]     parts ► joined by "\n"
 *   arguments of tool calls: JSON text ► object        tools: {type, function: {name, …}} in order
 *
 * Rules read from vLLM 0.32 and checked against a running one (truth.ts, test/vllm). The first
 * part that is no text ends what can be known: there the text is marked, and the prompt is cut.
 */

import { isRecord } from '../record.ts'
import type { ContentFormat } from './content_format.ts'

type Json = Readonly<Record<string, unknown>>

/** Marks the place in the rendered text; private-use characters, which no prompt should have. */
export const CUT_MARK = '\ue0c7\ue0c8\ue0c9'

/** Thrown for a request that the node would refuse, or whose text only the node can know. */
export class UnknownPrompt extends Error {}

const TEXT_MEMBERS: Readonly<Record<string, string>> = {
  text: 'text',
  input_text: 'text',
  output_text: 'text',
  refusal: 'refusal',
  thinking: 'thinking',
}
/** A line of a coding client that changes with every request; nodes leave it out. */
const BILLING_HEADER = 'x-anthropic-billing-header'

export interface NodeMessages {
  readonly messages: readonly Json[]
  /** A part that is no text was met: what follows the mark is not known. */
  readonly isCut: boolean
}

export function nodeMessages(list: readonly unknown[], format: ContentFormat): NodeMessages {
  const messages: Json[] = []
  for (const item of list) {
    if (!isRecord(item) || typeof item.role !== 'string') {
      throw new UnknownPrompt('a message has no role')
    }
    const parts = textParts(item)
    // A node that joins texts leaves out the empty ones, one that lists them does not.
    const texts = format === 'string' ? parts.texts.filter(text => text !== '') : parts.texts
    messages.push(nodeMessage(item, item.role, texts, format))
    if (parts.isCut) return { messages, isCut: true }
  }
  return { messages, isCut: false }
}

/** Whether a message has a part that is no text: what follows it is not known. */
export function hasMedium(list: readonly unknown[]): boolean {
  return list.some(item => {
    const content = isRecord(item) ? item.content : null
    return Array.isArray(content) && content.some(part => partText(part) === undefined)
  })
}

/** The texts of a message's content, up to and including a mark in place of the first medium. */
function textParts(message: Json): { texts: string[]; isCut: boolean } {
  const { content } = message
  if (content === null || content === undefined) return { texts: [], isCut: false }
  const list: unknown[] = Array.isArray(content) ? content : [content]
  const texts: string[] = []
  for (const part of list) {
    const text = partText(part)
    if (text === undefined) return { texts: [...texts, CUT_MARK], isCut: true }
    if (text === null) continue
    const kept = message.role === 'system' ? withoutBilling(text) : text
    if (kept !== null) texts.push(kept)
  }
  return { texts, isCut: false }
}

/** Text of a part; null where the node skips it, undefined where it is no text. */
function partText(part: unknown): string | null | undefined {
  if (typeof part === 'string') return part
  if (!isRecord(part)) throw new UnknownPrompt('a content part is no object')
  const type = typeof part.type === 'string' ? part.type : 'text'
  const member = TEXT_MEMBERS[type]
  if (member === undefined) return undefined
  // Other members of a part reach templates that take parts; that is left to the node.
  const text = part[member]
  if (typeof text === 'string') return text
  if (text === null || text === undefined) return null
  throw new UnknownPrompt(`a content part has a ${typeof text} for its text`)
}

function withoutBilling(text: string): string | null {
  if (!text.startsWith(BILLING_HEADER)) return text
  const end = text.indexOf('\n')
  const rest = end === -1 ? '' : text.slice(end + 1)
  return rest === '' ? null : rest
}

function nodeMessage(source: Json, role: string, texts: string[], format: ContentFormat): Json {
  // Tools answer with a string even in templates that take parts.
  const isList = format === 'parts' && role !== 'tool'
  const content = isList ? texts.map(text => ({ type: 'text', text })) : texts.join('\n')
  const message: Record<string, unknown> = { role, content }
  if (role === 'assistant') {
    if (Array.isArray(source.tool_calls) && source.tool_calls.length > 0) {
      message.tool_calls = source.tool_calls.map(call => nodeToolCall(call))
    }
    const reasoning = source.reasoning ?? source.reasoning_content
    if (typeof reasoning === 'string') {
      message.reasoning = reasoning
      message.reasoning_content = reasoning
    }
  }
  if (role === 'tool' && 'tool_call_id' in source) message.tool_call_id = source.tool_call_id
  if (typeof source.name === 'string') message.name = source.name
  if (typeof source.task === 'string') message.task = source.task
  if (role === 'developer') message.tools = source.tools ?? null
  return message
}

function nodeToolCall(call: unknown): Json {
  if (!isRecord(call) || !isRecord(call.function)) throw new UnknownPrompt('a tool call is broken')
  const { id, function: called, type, ...rest } = call
  const { arguments: given, name, ...more } = called
  return {
    id,
    function: { arguments: toolArguments(given), name, ...more },
    type,
    ...rest,
  }
}

/** The arguments as an object; whatever is none becomes an empty one, as in the node. */
function toolArguments(given: unknown): Json {
  if (isRecord(given)) return given
  if (typeof given !== 'string' || given === '') return {}
  if (!isPlainJson(given)) throw new UnknownPrompt('tool arguments hold an unusual number')
  try {
    const value: unknown = JSON.parse(given)
    return isRecord(value) ? value : {}
  } catch {
    return {}
  }
}

/** Tools as the node's model of them writes them out: known members, in its order. */
export function nodeTools(tools: readonly unknown[]): Json[] {
  return tools.map(tool => {
    if (!isRecord(tool) || !isRecord(tool.function)) throw new UnknownPrompt('a tool is broken')
    const { name, description, parameters, strict, defer_loading: isLate } = tool.function
    const deferred = isLate ?? tool.defer_loading ?? null
    const wanted: Record<string, unknown> = {
      name,
      description: description ?? null,
      parameters: parameters ?? null,
    }
    if (typeof strict === 'boolean') wanted.strict = strict
    if (deferred !== null) wanted.defer_loading = deferred
    const outer: Record<string, unknown> = { type: 'function', function: wanted }
    if (typeof tool.defer_loading === 'boolean') outer.defer_loading = tool.defer_loading
    return outer
  })
}

const TOKEN = /"(?:[^"\\]|\\.)*"\s*:?|-?\d[\d.eE+-]*/g
const NUMERIC_KEY = /^"\d+"\s*:$/

/**
 * Whether JavaScript writes this JSON as Python does. It does not for floats with a whole value
 * (1.0), very small and very large ones, integers beyond 2^53, and objects whose keys are digits,
 * which JavaScript puts first.
 */
export function isPlainJson(text: string): boolean {
  for (const [token] of text.matchAll(TOKEN)) {
    if (token.startsWith('"')) {
      if (NUMERIC_KEY.test(token)) return false
    } else if (!isPlainNumber(token)) {
      return false
    }
  }
  return true
}

function isPlainNumber(token: string): boolean {
  const value = Number(token)
  if (!/[.eE]/.test(token)) return Number.isSafeInteger(value) && token !== '-0'
  const size = Math.abs(value)
  return !Number.isInteger(value) && size >= 1e-4 && size < 1e16
}
