/**
 * POST /v1/messages and /v1/messages/count_tokens: Anthropic's shapes over the same engine. A
 * stream has named events and no `[DONE]`; `input_tokens` leaves out what was found in the cache.
 */
import { planAnswer } from './answer.ts'
import { ApiError } from './api_error.ts'
import {
  BodyReader,
  blockText,
  checkSampling,
  type JsonObject,
  parseBody,
  readSampling,
} from './body.ts'
import { chatPrompt } from './chat_api.ts'
import type { EngineSequence, FinishReason } from './engine.ts'
import type { HttpCall } from './http_call.ts'
import type { NodeCore } from './node_core.ts'
import { type Asked, Reply } from './reply.ts'

/** Messages with the system prompt in front, as the engine converts them. */
function chatMessages(body: JsonObject, given: readonly unknown[]): unknown[] {
  const system = body['system'] ?? null
  const text = blockText(system)
  return text === '' ? [...given] : [{ role: 'system', content: text }, ...given]
}

/** Errors of meaning have Anthropic's shape here, those of the body's form do not. */
async function withShape(call: HttpCall, run: () => Promise<void>): Promise<void> {
  try {
    await run()
  } catch (error) {
    if (!(error instanceof ApiError) || error.type === 'Bad Request') throw error
    call.json(error.status, error.anthropicBody())
  }
}

export async function messages(core: NodeCore, call: HttpCall): Promise<void> {
  await withShape(call, async () => {
    const body = parseBody(call.header('content-type'), call.body)
    const reader = new BodyReader(body)
    reader.requires('messages', 'max_tokens')
    const given = reader.list('messages') ?? []
    const sampling = readSampling(reader, ['max_tokens'])
    reader.done()
    const model = core.modelOf(body)
    checkSampling(reader, sampling, core.modelTokensMax)
    const prompt = await chatPrompt(core, chatMessages(body, given), body)
    core.checkPromptLength(prompt.length)
    const answer = planAnswer(core.answerContext(prompt.length), prompt, sampling, 0)
    const asked = { model, prompts: [prompt], promptTexts: [], answers: [answer], sampling }
    const id = `chatcmpl-${core.requestId(call, sampling)}`
    const Form = sampling.isStream ? MessageStream : MessagePlain
    new Form(core, call, asked, id).start()
  })
}

export async function countTokens(core: NodeCore, call: HttpCall): Promise<void> {
  await withShape(call, async () => {
    const body = parseBody(call.header('content-type'), call.body)
    const reader = new BodyReader(body)
    reader.requires('messages')
    const given = reader.list('messages') ?? []
    reader.done()
    core.modelOf(body)
    const { length } = await chatPrompt(core, chatMessages(body, given), body)
    const original = `{"original_input_tokens":${length}}`
    call.json(200, `{"input_tokens":${length},"context_management":${original}}`)
  })
}

abstract class MessageReply extends Reply {
  protected reason: FinishReason = 'stop'

  protected stopReason(): string {
    return this.reason === 'length' ? '"max_tokens"' : '"end_turn"'
  }

  protected usage(): string {
    const { prompt, cached, completion } = this.counts()
    return (
      `{"input_tokens":${prompt - cached},"output_tokens":${completion},` +
      `"cache_creation_input_tokens":0,"cache_read_input_tokens":${cached}}`
    )
  }
}

class MessageStream extends MessageReply {
  private hasBegun: boolean

  constructor(core: NodeCore, call: HttpCall, asked: Asked, id: string) {
    super(core, call, asked, id)
    this.hasBegun = false
  }

  private send(name: string, data: string): void {
    this.call.event(`event: ${name}\ndata: {"type":"${name}"${data}}\n\n`)
  }

  private begin(): void {
    this.hasBegun = true
    const { asked } = this
    this.send(
      'message_start',
      `,"message":{"id":${JSON.stringify(this.id)},"type":"message","role":"assistant",` +
        `"content":[],"model":${JSON.stringify(asked.model)},"stop_reason":null,` +
        `"stop_sequence":null,"usage":{"input_tokens":${this.promptOf(0).length},` +
        '"output_tokens":0}}',
    )
    this.send('content_block_start', ',"content_block":{"type":"text","text":""},"index":0')
  }

  protected token(
    index: number,
    sequence: EngineSequence,
    token: number,
    reason: FinishReason | null,
  ): void {
    if (!this.hasBegun) this.begin()
    if (reason !== null) this.reason = reason
    const text = this.textJson(index, sequence, token)
    if (text === '""') return
    this.send('content_block_delta', `,"delta":{"type":"text_delta","text":${text}},"index":0`)
  }

  protected finish(): void {
    this.send('content_block_stop', ',"index":0')
    const delta = `{"stop_reason":${this.stopReason()},"stop_sequence":null}`
    this.send('message_delta', `,"delta":${delta},"usage":${this.usage()}`)
    this.send('message_stop', '')
    this.call.endStream()
  }
}

class MessagePlain extends MessageReply {
  private readonly tokens: number[]

  constructor(core: NodeCore, call: HttpCall, asked: Asked, id: string) {
    super(core, call, asked, id)
    this.tokens = []
  }

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
    const text = JSON.stringify(this.textOf(0, this.tokens))
    this.call.json(
      200,
      `{"id":${JSON.stringify(this.id)},"type":"message","role":"assistant",` +
        `"content":[{"type":"text","text":${text}}],"model":${JSON.stringify(this.asked.model)},` +
        `"stop_reason":${this.stopReason()},"usage":${this.usage()}}`,
    )
  }
}
