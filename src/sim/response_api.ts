/**
 * POST /v1/responses, streamed and plain, and GET of a finished one. A stream has `event:` lines,
 * numbered events and no `[DONE]`.
 *
 *   created ─ in_progress ─ output_item.added ─ content_part.added ─ output_text.delta …
 *   ─ output_text.done ─ content_part.done ─ output_item.done ─ completed
 *
 * As an engine without its response store, a node keeps nothing and refuses the background mode.
 * With `responseStore` finished responses are kept for a while: a `previous_response_id` continues
 * the conversation.
 */

import { planAnswer } from './answer.ts'
import { ApiError, pythonFloat } from './api_error.ts'
import {
  BodyReader,
  blockText,
  checkSampling,
  isObject,
  type JsonObject,
  parseBody,
  readSampling,
  type Sampling,
} from './body.ts'
import { chatPrompt } from './chat_api.ts'
import type { EngineSequence, FinishReason } from './engine.ts'
import { hexId } from './hex_id.ts'
import type { HttpCall } from './http_call.ts'
import type { NodeCore } from './node_core.ts'
import { type Asked, Reply } from './reply.ts'

interface ResponseAsked extends Asked {
  readonly body: JsonObject
  readonly messages: readonly unknown[]
}

/** Input items and instructions as chat messages. */
function inputMessages(core: NodeCore, body: JsonObject): unknown[] {
  const { input, instructions, previous_response_id: previous } = body
  const found: unknown[] = []
  if (typeof instructions === 'string') found.push({ role: 'system', content: instructions })
  if (typeof previous === 'string') {
    const kept = core.responses.get(previous)
    if (kept === undefined) throw notFound(previous)
    found.push(...kept.messages)
  }
  if (typeof input === 'string') found.push({ role: 'user', content: input })
  for (const item of Array.isArray(input) ? input : []) {
    if (!isObject(item)) continue
    found.push({ role: item['role'] ?? 'user', content: blockText(item['content']) })
  }
  return found
}

/**
 * What of the body changes the rendering, in the chat API's form: tools are flat here. Unlike
 * there, the engine adds the tokens that open a text (BOS) to what the template made.
 */
function templateBody({ tools }: JsonObject): JsonObject {
  const list: unknown[] = Array.isArray(tools) ? tools : []
  return {
    tools: list.map(tool => ({ type: 'function', function: tool })),
    add_special_tokens: true,
  }
}

function notFound(id: string): ApiError {
  const message = `Response with id '${id}' not found.`
  return new ApiError(404, 'invalid_request_error', message, 'response_id')
}

function noStore(): ApiError {
  const message =
    'This vLLM engine does not support `store=True` and therefore does not support the ' +
    'background mode. To enable these features, set the environment variable ' +
    '`VLLM_ENABLE_RESPONSES_API_STORE=1` when launching the vLLM server.'
  return new ApiError(400, 'invalid_request_error', message, 'background')
}

export async function responses(core: NodeCore, call: HttpCall): Promise<void> {
  const body = parseBody(call.header('content-type'), call.body)
  // The engine's own validator has added a field before it looks what is missing.
  const reader = new BodyReader({ ...body, request_id: body['request_id'] ?? null })
  reader.requires('input')
  const sampling = readSampling(reader, ['max_output_tokens'])
  reader.done()
  const model = core.modelOf(body)
  if (body['background'] === true && !core.config.responseStore) throw noStore()
  checkSampling(reader, sampling, core.modelTokensMax)
  const messages = inputMessages(core, body)
  const prompt = await chatPrompt(core, messages, templateBody(body))
  core.checkPromptLength(prompt.length)
  const answer = planAnswer(core.answerContext(prompt.length), prompt, sampling, 0)
  const asked: ResponseAsked = {
    model,
    prompts: [prompt],
    promptTexts: [],
    answers: [answer],
    sampling,
    body,
    messages,
  }
  const id = sampling.requestId ?? `resp_${hexId()}`
  const Form = sampling.isStream ? ResponseStream : ResponsePlain
  new Form(core, call, asked, id).start()
}

export function getResponse(core: NodeCore, call: HttpCall, id: string): void {
  const kept = core.responses.get(id)
  if (kept === undefined) throw notFound(id)
  call.json(200, kept.json)
}

abstract class ResponseReply extends Reply {
  protected readonly tokens: number[]
  protected readonly messageId: string
  protected reason: FinishReason
  private readonly body: JsonObject
  private readonly messages: readonly unknown[]

  constructor(core: NodeCore, call: HttpCall, asked: ResponseAsked, id: string) {
    super(core, call, asked, id)
    this.body = asked.body
    this.messages = asked.messages
    this.tokens = []
    this.messageId = `msg_${hexId()}`
    this.reason = 'stop'
  }

  protected content(text: string): string {
    return `{"annotations":[],"text":${text},"type":"output_text","logprobs":null}`
  }

  protected item(text: string): string {
    return (
      `{"id":"${this.messageId}","content":[${this.content(text)}],"role":"assistant",` +
      '"status":"completed","type":"message","phase":null}'
    )
  }

  /** The response object; `text` is null while it runs. */
  protected response(text: string | null): string {
    const { body, asked } = this
    const isDone = text !== null
    const isShort = isDone && this.reason === 'length'
    const status = isShort ? 'incomplete' : isDone ? 'completed' : 'in_progress'
    const json = (name: string): string => JSON.stringify(body[name] ?? null)
    return (
      `{"id":${JSON.stringify(this.id)},"created_at":${this.created},"incomplete_details":` +
      `${isShort ? '{"reason":"max_output_tokens"}' : 'null'},"instructions":` +
      `${json('instructions')},"metadata":${json('metadata')},` +
      `"model":${JSON.stringify(asked.model)},"object":"response",` +
      `"output":[${text === null ? '' : this.item(text)}],"parallel_tool_calls":true,` +
      `"temperature":${pythonFloat(asked.sampling.temperature)},"tool_choice":"none",` +
      `"tools":[],"top_p":${this.float('top_p', 1)},"background":false,` +
      `"max_output_tokens":${this.outputTokensMax(asked.sampling)},"max_tool_calls":null,` +
      `"previous_response_id":${json('previous_response_id')},"prompt":null,"reasoning":null,` +
      `"service_tier":"auto","status":"${status}","text":null,"top_logprobs":null,` +
      `"truncation":"disabled","usage":${isDone ? this.usage() : 'null'},` +
      `"user":${json('user')},"presence_penalty":${this.float('presence_penalty', 0)},` +
      `"frequency_penalty":${this.float('frequency_penalty', 0)},"kv_transfer_params":null,` +
      '"ec_transfer_params":null,"input_messages":null,"output_messages":null}'
    )
  }

  private float(name: string, normal: number): string {
    const value = this.body[name]
    return pythonFloat(typeof value === 'number' ? value : normal)
  }

  private outputTokensMax({ tokensMax }: Sampling): number {
    return tokensMax ?? this.core.modelTokensMax - this.promptOf(0).length
  }

  private usage(): string {
    const { prompt, cached, completion } = this.counts()
    return (
      `{"input_tokens":${prompt},"input_tokens_details":{"cached_tokens":${cached},` +
      '"cache_write_tokens":0,"input_tokens_per_turn":[],"cached_tokens_per_turn":[]},' +
      `"output_tokens":${completion},"output_tokens_details":{"reasoning_tokens":0,` +
      '"tool_output_tokens":0,"output_tokens_per_turn":[],"tool_output_tokens_per_turn":[]},' +
      `"total_tokens":${prompt + completion}}`
    )
  }

  /** Text of the whole answer as JSON, and the response object, which is kept. */
  protected complete(): { text: string; json: string } {
    const answer = this.textOf(0, this.tokens)
    const text = JSON.stringify(answer)
    const json = this.response(text)
    const messages = [...this.messages, { role: 'assistant', content: answer }]
    this.core.keepResponse(this.id, { json, messages })
    return { text, json }
  }
}

class ResponseStream extends ResponseReply {
  private sequenceNumber: number
  private hasBegun: boolean

  constructor(core: NodeCore, call: HttpCall, asked: ResponseAsked, id: string) {
    super(core, call, asked, id)
    this.sequenceNumber = 0
    this.hasBegun = false
  }

  override start(): void {
    super.start()
    this.send('created', `"response":${this.response(null)}`)
    this.send('in_progress', `"response":${this.response(null)}`)
  }

  /** One event: fields in alphabetical order, number and type among the last. */
  private send(name: string, before: string, after = ''): void {
    const number = this.sequenceNumber++
    this.call.event(
      `event: response.${name}\ndata: {${before},"sequence_number":${number}${after},` +
        `"type":"response.${name}"}\n\n`,
    )
  }

  private begin(): void {
    this.hasBegun = true
    this.send(
      'output_item.added',
      `"item":{"id":"${this.messageId}","content":[],"role":"assistant",` +
        '"status":"in_progress","type":"message","phase":null},"output_index":0',
    )
    this.send(
      'content_part.added',
      `"content_index":0,"item_id":"${this.messageId}","output_index":0,` +
        '"part":{"annotations":[],"text":"","type":"output_text","logprobs":[]}',
    )
  }

  protected token(
    index: number,
    sequence: EngineSequence,
    token: number,
    reason: FinishReason | null,
  ): void {
    this.tokens.push(token)
    if (reason !== null) this.reason = reason
    const text = this.textJson(index, sequence, token)
    if (text === '""') return
    if (!this.hasBegun) this.begin()
    this.send(
      'output_text.delta',
      `"content_index":0,"delta":${text},"item_id":"${this.messageId}","logprobs":[],` +
        '"output_index":0',
    )
  }

  protected finish(): void {
    if (!this.hasBegun) this.begin()
    const { text, json } = this.complete()
    const place = `"content_index":0,"item_id":"${this.messageId}",`
    this.send('output_text.done', `${place}"logprobs":[],"output_index":0`, `,"text":${text}`)
    this.send('content_part.done', `${place}"output_index":0,"part":${this.content(text)}`)
    this.send('output_item.done', `"item":${this.item(text)},"output_index":0`)
    this.send('completed', `"response":${json}`)
    this.call.endStream()
  }
}

class ResponsePlain extends ResponseReply {
  protected token(
    _index: number,
    _sequence: EngineSequence,
    token: number,
    reason: FinishReason | null,
  ): void {
    this.tokens.push(token)
    if (reason !== null) this.reason = reason
  }

  protected finish(): void {
    this.call.json(200, this.complete().json)
  }
}
