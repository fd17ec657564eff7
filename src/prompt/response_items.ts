/**
 * The items of a /v1/responses input as messages of a chat, as a vLLM node makes them: a call of
 * a function joins the assistant's message in front of it, a text joins one that has none yet.
 */

import { isRecord } from '../record.ts'
import { UnknownPrompt } from './node_messages.ts'

type Json = Readonly<Record<string, unknown>>
type Message = Record<string, unknown>

export function messagesOfItems(input: unknown): Message[] {
  if (typeof input === 'string') return [{ role: 'user', content: input }]
  if (!Array.isArray(input)) throw new UnknownPrompt('the input is neither text nor a list')
  const last: unknown = input.at(-1)
  if (isRecord(last) && (last.status === 'in_progress' || last.status === 'incomplete')) {
    throw new UnknownPrompt('the last item is to be continued')
  }
  const messages: Message[] = []
  for (const item of input) {
    if (!isRecord(item)) throw new UnknownPrompt('an item is no object')
    addItem(messages, item)
  }
  return messages
}

function addItem(messages: Message[], item: Json): void {
  const { type = 'message' } = item
  if (type === 'function_call') addCall(messages, item)
  else if (type === 'function_call_output') {
    messages.push({ role: 'tool', content: item.output, tool_call_id: item.call_id })
  } else if (type === 'message' && typeof item.role === 'string') addMessage(messages, item)
  else throw new UnknownPrompt('an item of a type that only the node knows')
}

function lastAssistant(messages: readonly Message[]): Message | null {
  const last = messages.at(-1)
  return last?.role === 'assistant' ? last : null
}

function addCall(messages: Message[], item: Json): void {
  if ('namespace' in item && item.namespace !== null) throw new UnknownPrompt('a name space')
  const call = {
    id: item.call_id,
    function: { arguments: item.arguments, name: item.name },
    type: 'function',
  }
  const before = lastAssistant(messages)
  if (before === null) messages.push({ role: 'assistant', tool_calls: [call] })
  else if (Array.isArray(before.tool_calls)) before.tool_calls.push(call)
  else before.tool_calls = [call]
}

function addMessage(messages: Message[], item: Json): void {
  const { role, content } = item
  if (role !== 'assistant') {
    messages.push({ role, content })
    return
  }
  // Of an assistant's message the node takes the first part only.
  const first: unknown = Array.isArray(content) ? content[0] : null
  const text = isRecord(first) ? first.text : content
  if (typeof text !== 'string') throw new UnknownPrompt('an answer without a text')
  const before = lastAssistant(messages)
  if (before !== null && (before.content === undefined || before.content === null)) {
    before.content = text
  } else {
    messages.push({ role, content: text })
  }
}

/** Tools of the Responses API are flat; a template sees those of the chat API. */
export function toolsOfItems(tools: readonly unknown[]): unknown[] {
  return tools.map(tool => {
    if (!isRecord(tool) || tool.type !== 'function') throw new UnknownPrompt('a built-in tool')
    return { type: 'function', function: tool }
  })
}
