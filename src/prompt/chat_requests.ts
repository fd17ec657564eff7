/**
 * From the body of a request to the chat that the node renders: chat completions as they are,
 * /v1/responses and /v1/messages turned into messages as the node turns them.
 *
 *   responses  instructions, input: text | items        ┐
 *   messages   system, messages: text | blocks, tools   ├─► messages, tools, template arguments
 *   chat       messages, tools, documents, …            ┘
 *
 * What is not known for certain throws `UnknownPrompt`, and the prompt is then keyed by its text:
 * a wrong guess would predict blocks that are not there.
 */
import {
  type KeyName,
  keyId,
  type PromptKind,
  VALUE_FALSE,
  VALUE_TRUE,
} from '../native/json_scan.ts'
import { isRecord } from '../record.ts'
import { messagesOfBlocks, toolsOfBlocks } from './anthropic_blocks.ts'
import type { RequestBody } from './body.ts'
import { isPlainJson, UnknownPrompt } from './node_messages.ts'
import { messagesOfItems, toolsOfItems } from './response_items.ts'
import { type ChatInput } from './tokenizer.ts'

const ID = {
  messages: keyId('messages'),
  tools: keyId('tools'),
  documents: keyId('documents'),
  system: keyId('system'),
  instructions: keyId('instructions'),
  input: keyId('input'),
  thinking: keyId('thinking'),
  reasoning: keyId('reasoning'),
  reasoningEffort: keyId('reasoning_effort'),
  templateArguments: keyId('chat_template_kwargs'),
  addGenerationPrompt: keyId('add_generation_prompt'),
  continueFinalMessage: keyId('continue_final_message'),
} as const

/** Members that templates print as JSON, so that the spelling of a number matters. */
const PRINTED_NAMES: readonly KeyName[] = ['tools', 'documents', 'chat_template_kwargs']
const PRINTED = PRINTED_NAMES.map(name => keyId(name))

export function chatOf(body: RequestBody, kind: PromptKind): ChatInput {
  for (const id of PRINTED) {
    if (body.has(id) && !isPlainJson(body.text(id) ?? '')) {
      throw new UnknownPrompt('a number is written differently by the node')
    }
  }
  if (kind === 'chat') return plainChatOf(body)
  if (kind === 'responses') return responsesChatOf(body)
  if (kind === 'messages') return messagesChatOf(body)
  throw new UnknownPrompt(`${kind} is no chat`)
}

function plainChatOf(body: RequestBody): ChatInput {
  const isContinued = body.typeOf(ID.continueFinalMessage) === VALUE_TRUE
  return {
    messages: list(body.value(ID.messages)) ?? [],
    tools: list(body.value(ID.tools)),
    documents: list(body.value(ID.documents)),
    addGenerationPrompt: body.typeOf(ID.addGenerationPrompt) !== VALUE_FALSE,
    continueFinalMessage: isContinued,
    templateArguments: templateArguments(body, body.value(ID.reasoningEffort)),
  }
}

function responsesChatOf(body: RequestBody): ChatInput {
  const reasoning = body.value(ID.reasoning)
  const instructions = body.value(ID.instructions)
  const messages = messagesOfItems(body.value(ID.input))
  if (typeof instructions === 'string' && instructions !== '') {
    messages.unshift({ role: 'system', content: instructions })
  }
  const tools = list(body.value(ID.tools))
  return {
    messages,
    tools: tools === null || tools.length === 0 ? null : toolsOfItems(tools),
    documents: null,
    addGenerationPrompt: true,
    continueFinalMessage: false,
    templateArguments: templateArguments(body, isRecord(reasoning) ? reasoning.effort : null),
  }
}

function messagesChatOf(body: RequestBody): ChatInput {
  const thinking = body.value(ID.thinking)
  // How a node says "do not think" depends on how it was started.
  if (isRecord(thinking) && thinking.type === 'disabled') {
    throw new UnknownPrompt('thinking is disabled')
  }
  const text = body.text(ID.messages) ?? ''
  if (text.includes('"tool_use"') && !isPlainJson(text)) {
    throw new UnknownPrompt('a number is written differently by the node')
  }
  const tools = list(body.value(ID.tools))
  return {
    messages: messagesOfBlocks(body.value(ID.system), list(body.value(ID.messages)) ?? []),
    tools: tools === null ? null : toolsOfBlocks(tools),
    documents: null,
    addGenerationPrompt: true,
    continueFinalMessage: false,
    templateArguments: templateArguments(body, null),
  }
}

/** The client's arguments, and what an effort of reasoning adds to them. */
function templateArguments(body: RequestBody, effort: unknown): Record<string, unknown> {
  const given = body.value(ID.templateArguments)
  const merged: Record<string, unknown> = isRecord(given) ? { ...given } : {}
  if (typeof effort === 'string') {
    merged.reasoning_effort = effort
    merged.enable_thinking ??= effort !== 'none'
  }
  return merged
}

function list(value: unknown): unknown[] | null {
  return Array.isArray(value) ? value : null
}
