/**
 * What a request allows: whether the gateway can make the node's own tokens of it, and whether
 * the node will look into its prefix cache at all. Answered from the spans, without decoding.
 */
import {
  type KeyName,
  keyId,
  type PromptKind,
  VALUE_ARRAY,
  VALUE_NULL,
  VALUE_STRING,
  VALUE_TRUE,
} from '../native/json_scan.ts'
import type { RequestBody } from './body.ts'

const MESSAGES = keyId('messages')
const PROMPT = keyId('prompt')
const INPUT = keyId('input')
const ECHO = keyId('echo')
const LOGPROBS = keyId('logprobs')
const PROMPT_LOGPROBS = keyId('prompt_logprobs')
const TRUNCATION = keyId('truncation')
/** Fields that change the tokens in ways that only the node can know. */
const OPAQUE_NAMES: readonly KeyName[] = [
  'truncate_prompt_tokens',
  'chat_template',
  'prompt_embeds',
  'previous_response_id',
  'previous_input_messages',
  'conversation',
  'output_config',
]
const OPAQUE: readonly number[] = OPAQUE_NAMES.map(name => keyId(name))

/** Id of the member that holds the prompt of each kind. */
export const GROWING: Readonly<Record<PromptKind, number>> = {
  chat: MESSAGES,
  completion: PROMPT,
  embedding: INPUT,
  responses: INPUT,
  messages: MESSAGES,
}

/** Whether the tokens of the node can be made from this request at all. */
export function isTokenizable(body: RequestBody, kind: PromptKind): boolean {
  for (const id of OPAQUE) if (body.has(id)) return false
  if (body.has(TRUNCATION) && body.text(TRUNCATION) !== '"disabled"') return false
  const type = body.typeOf(GROWING[kind])
  if (type === VALUE_ARRAY) return true
  return type === VALUE_STRING && kind !== 'chat' && kind !== 'messages'
}

/**
 * Whether the node computes the whole prompt although it may hold it: it must, to tell the
 * probabilities of prompt tokens. Such a request gains nothing from a match.
 */
export function skipsPrefixCache(body: RequestBody | null, kind: PromptKind | null): boolean {
  if (body === null) return false
  if (body.typeOf(PROMPT_LOGPROBS) !== VALUE_NULL) return true
  if (body.typeOf(ECHO) !== VALUE_TRUE) return false
  return kind === 'chat' || body.typeOf(LOGPROBS) !== VALUE_NULL
}
