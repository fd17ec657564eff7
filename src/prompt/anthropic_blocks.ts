/**
 * The body of /v1/messages as messages of a chat, as a vLLM node makes them: system texts are
 * joined, results of tools become messages of their own in front of the text beside them.
 */

import { isRecord } from '../record.ts'
import { UnknownPrompt } from './node_messages.ts'

type Json = Readonly<Record<string, unknown>>
type Message = Record<string, unknown>

const BILLING_HEADER = 'x-anthropic-billing-header'

export function messagesOfBlocks(system: unknown, list: readonly unknown[]): Message[] {
  const messages: Message[] = []
  const text = systemText(system)
  if (text !== '') messages.push({ role: 'system', content: text })
  for (const item of list) {
    // Where a system message further down ends up depends on the template.
    if (!isRecord(item) || (item.role !== 'user' && item.role !== 'assistant')) {
      throw new UnknownPrompt('a message of another role')
    }
    if (typeof item.content === 'string') {
      messages.push({ role: item.role, content: item.content })
    } else if (Array.isArray(item.content)) {
      addBlocks(messages, item.role, item.content)
    } else {
      throw new UnknownPrompt('a message without content')
    }
  }
  return messages
}

function systemText(system: unknown): string {
  if (system === null) return ''
  if (typeof system === 'string') return system
  if (!Array.isArray(system)) throw new UnknownPrompt('a system prompt of another type')
  let text = ''
  for (const block of system) {
    if (!isRecord(block)) throw new UnknownPrompt('a system block of another type')
    if (block.type !== 'text' || typeof block.text !== 'string') continue
    if (!block.text.startsWith(BILLING_HEADER)) text += block.text
  }
  return text
}

function addBlocks(messages: Message[], role: string, blocks: readonly unknown[]): void {
  const texts: Json[] = []
  const calls: Json[] = []
  let reasoning = ''
  for (const block of blocks) {
    if (!isRecord(block)) throw new UnknownPrompt('a block of another type')
    if (block.type === 'text') {
      if (typeof block.text === 'string' && block.text !== '') texts.push(textPart(block.text))
    } else if (block.type === 'thinking' && typeof block.thinking === 'string') {
      reasoning += block.thinking
    } else if (block.type === 'tool_use') {
      calls.push(toolCall(block))
    } else if (block.type === 'tool_result' && role === 'user') {
      messages.push(toolResult(block))
    } else if (block.type !== 'redacted_thinking') {
      throw new UnknownPrompt('a block that only the node knows')
    }
  }
  const message: Message = { role }
  if (reasoning !== '') message.reasoning = reasoning
  if (calls.length > 0) message.tool_calls = calls
  const [only] = texts
  if (only !== undefined) message.content = texts.length === 1 ? only.text : texts
  if (role === 'user' && only === undefined) return
  messages.push(message)
}

function textPart(text: string): Json {
  return { type: 'text', text }
}

function toolCall(block: Json): Json {
  if (typeof block.id !== 'string' || block.id === '') throw new UnknownPrompt('a call without id')
  const given = isRecord(block.input) ? block.input : {}
  return {
    id: block.id,
    type: 'function',
    function: { name: block.name ?? '', arguments: given },
  }
}

function toolResult(block: Json): Message {
  const { content, tool_use_id: id } = block
  const base = { role: 'tool', tool_call_id: id ?? '' }
  if (content === null || content === undefined) return { ...base, content: '' }
  if (typeof content === 'string') return { ...base, content }
  if (!Array.isArray(content)) throw new UnknownPrompt('a result of another type')
  const texts = content.map(part => {
    if (!isRecord(part) || part.type !== 'text') throw new UnknownPrompt('a result with a medium')
    return typeof part.text === 'string' ? part.text : ''
  })
  return { ...base, content: texts.join('\n') }
}

/** Tools with an input schema; those that the provider runs itself are not known to templates. */
export function toolsOfBlocks(tools: readonly unknown[]): unknown[] {
  return tools.map(tool => {
    if (!isRecord(tool) || !isRecord(tool.input_schema)) throw new UnknownPrompt('a built-in tool')
    const { name, description, strict, defer_loading, input_schema: schema } = tool
    const parameters = 'type' in schema ? schema : { ...schema, type: 'object' }
    return { type: 'function', function: { name, description, parameters, strict, defer_loading } }
  })
}
