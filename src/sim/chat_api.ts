/**
 * POST /v1/chat/completions, streamed and plain, in the byte shapes of vLLM 0.32.
 *
 *   stream:  role chunk (a choice) ── token chunks ── finish chunk ── [usage chunk] ── [DONE]
 *            └─ leaves with the first token: its time is the time to first token
 *
 * The text of a chunk is put together from a head that is made once an exchange, and from the JSON
 * text of the token: per token there is one concatenation and one write.
 */
import { badRequest } from './api_error.ts'
import type { Sampling } from './body.ts'
import { BodyReader, checkSampling, type JsonObject, parseBody, readSampling } from './body.ts'
import type { EngineSequence, FinishReason, SequenceOwner } from './engine.ts'
import type { HttpCall } from './http_call.ts'
import { chatLogprobs } from './logprobs.ts'
import type { Generation, NodeCore } from './node_core.ts'
import { chatUsage, type TokenCounts } from './usage.ts'

export interface ChatRequest {
  readonly model: string
  readonly prompt: Uint32Array
  readonly sampling: Sampling
}

/** Reads and checks a chat body; throws an ApiError. */
export async function readChat(core: NodeCore, body: JsonObject): Promise<ChatRequest> {
  const reader = new BodyReader(body)
  reader.requires('messages')
  const messages = reader.list('messages') ?? []
  const shared = readSampling(reader, ['max_completion_tokens', 'max_tokens'])
  const hasLogprobs = reader.flag('logprobs')
  const logprobs = hasLogprobs ? (reader.integer('top_logprobs') ?? 0) : null
  const tools = reader.list('tools')
  reader.text('model')
  reader.done()
  const sampling = { ...shared, logprobs }
  const model = core.modelOf(body)
  checkSampling(reader, sampling, core.modelTokensMax)
  if (messages.length === 0) {
    throw badRequest(
      'Cannot apply chat template to an empty conversation. Provide at least one message.',
    )
  }
  const prompt = await core.tokenizer.encodeChat({
    messages,
    tools: tools === null || tools.length === 0 ? null : tools,
    documents: reader.list('documents'),
    addGenerationPrompt: body['add_generation_prompt'] !== false,
    continueFinalMessage: body['continue_final_message'] === true,
    templateArguments: reader.object('chat_template_kwargs') ?? {},
  })
  core.checkPromptLength(prompt.length, sampling.tokensMax)
  return { model, prompt, sampling }
}

export async function chatCompletions(core: NodeCore, call: HttpCall): Promise<void> {
  const body = parseBody(call.header('content-type'), call.body)
  const chat = await readChat(core, body)
  const { sampling, model, prompt } = chat
  const generations: Generation[] = Array.from({ length: sampling.n }, (_, choice) => ({
    prompt,
    model,
    sampling,
    choice,
    answer: null,
  }))
  const id = `chatcmpl-${core.requestId(call, sampling)}`
  const reply = sampling.isStream
    ? new ChatStream(core, call, chat, id)
    : new ChatPlain(core, call, chat, id)
  reply.sequences = core.generate(call, generations, reply)
  if (sampling.isStream) call.beginStream()
}

abstract class ChatReply implements SequenceOwner {
  sequences: readonly EngineSequence[]
  protected readonly core: NodeCore
  protected readonly call: HttpCall
  protected readonly chat: ChatRequest
  protected readonly id: string
  protected readonly created: number
  protected unfinished: number

  constructor(core: NodeCore, call: HttpCall, chat: ChatRequest, id: string) {
    this.sequences = []
    this.core = core
    this.call = call
    this.chat = chat
    this.id = id
    this.created = Math.floor(Date.now() / 1000)
    this.unfinished = chat.sampling.n
  }

  abstract onToken(sequence: EngineSequence, token: number, reason: FinishReason | null): void

  protected counts(): TokenCounts {
    let completion = 0
    for (const { generated } of this.sequences) completion += generated
    const prompt = this.chat.prompt.length
    // With several choices vLLM reports a later sequence's value.
    const cached = this.sequences.at(-1)?.cachedTokens ?? 0
    const whole = Math.floor(prompt / this.core.config.blockSize) * this.core.config.blockSize
    return { prompt, completion, cached, created: Math.max(0, whole - cached) }
  }
}

class ChatStream extends ChatReply {
  private readonly head: string
  private hasBegun: boolean

  constructor(core: NodeCore, call: HttpCall, chat: ChatRequest, id: string) {
    super(core, call, chat, id)
    const model = JSON.stringify(chat.model)
    this.head =
      `data: {"id":${JSON.stringify(id)},"object":"chat.completion.chunk",` +
      `"created":${this.created},"model":${model},"choices":[`
    this.hasBegun = false
  }

  onToken(sequence: EngineSequence, token: number, reason: FinishReason | null): void {
    if (!this.hasBegun) this.begin()
    const { call, chat, core, head } = this
    const { sampling } = chat
    const index = this.sequences.indexOf(sequence)
    const text = core.tokenizer.tokenJson(token)
    const logprobs =
      sampling.logprobs === null ? 'null' : chatLogprobs(core.tokenizer, [token], sampling.logprobs)
    const ids = sampling.returnsTokenIds ? `[${token}]` : 'null'
    let finish = 'null'
    if (reason !== null) finish = `"${reason}","stop_reason":null`
    let tail = this.usageTail(sequence.generated)
    if (reason !== null && !sampling.includesUsage) tail += `,${this.fingerprint()}`
    call.event(
      `${head}{"index":${index},"delta":{"content":${text}},"logprobs":${logprobs},` +
        `"finish_reason":${finish},"token_ids":${ids}}]${tail}}\n\n`,
    )
    if (reason !== null && --this.unfinished === 0) this.end()
  }

  /** The role chunk of every choice, with the first token of any. */
  private begin(): void {
    this.hasBegun = true
    const { sampling, prompt } = this.chat
    const ids = sampling.returnsTokenIds ? `[${prompt.join(',')}]` : 'null'
    for (let index = 0; index < sampling.n; index++) {
      this.call.event(
        `${this.head}{"index":${index},"delta":{"role":"assistant","content":""},` +
          `"logprobs":null,"finish_reason":null}]${this.usageTail(0)},` +
          `"prompt_token_ids":${ids},"prompt_text":null}\n\n`,
      )
    }
  }

  private usageTail(completion: number): string {
    if (!this.chat.sampling.hasUsageInEveryChunk) return ''
    const prompt = this.chat.prompt.length
    return (
      `,"usage":{"prompt_tokens":${prompt},"total_tokens":${prompt + completion},` +
      `"completion_tokens":${completion},"completion_tokens_details":null}`
    )
  }

  private fingerprint(): string {
    return `"system_fingerprint":${JSON.stringify(this.core.fingerprint)}`
  }

  private end(): void {
    const { call, chat, head } = this
    if (chat.sampling.includesUsage) {
      const usage = chatUsage(this.counts(), true)
      call.event(`${head}],"usage":${usage},${this.fingerprint()}}\n\n`)
    }
    call.endStream('data: [DONE]\n\n')
  }
}

class ChatPlain extends ChatReply {
  private readonly tokens: number[][]
  private readonly reasons: FinishReason[]

  constructor(core: NodeCore, call: HttpCall, chat: ChatRequest, id: string) {
    super(core, call, chat, id)
    this.tokens = Array.from({ length: chat.sampling.n }, () => [])
    this.reasons = []
  }

  onToken(sequence: EngineSequence, token: number, reason: FinishReason | null): void {
    const index = this.sequences.indexOf(sequence)
    this.tokens[index]?.push(token)
    if (reason === null) return
    this.reasons[index] = reason
    if (--this.unfinished === 0) this.reply()
  }

  private reply(): void {
    const { chat, core, call } = this
    const { sampling } = chat
    const choices = this.tokens.map((tokens, index) => this.choice(tokens, index)).join(',')
    const promptIds = sampling.returnsTokenIds ? `[${chat.prompt.join(',')}]` : 'null'
    call.json(
      200,
      `{"id":${JSON.stringify(this.id)},"object":"chat.completion","created":${this.created},` +
        `"model":${JSON.stringify(chat.model)},"choices":[${choices}],"service_tier":null,` +
        `"system_fingerprint":${JSON.stringify(core.fingerprint)},` +
        `"usage":${chatUsage(this.counts(), false)},"prompt_logprobs":null,` +
        `"prompt_token_ids":${promptIds},"prompt_text":null,"kv_transfer_params":null,` +
        '"ec_transfer_params":null,"metrics":null}',
    )
  }

  private choice(tokens: readonly number[], index: number): string {
    const { core, chat } = this
    const { sampling } = chat
    const content = JSON.stringify(core.tokenizer.decode(tokens))
    const logprobs =
      sampling.logprobs === null ? 'null' : chatLogprobs(core.tokenizer, tokens, sampling.logprobs)
    const ids = sampling.returnsTokenIds ? `[${tokens.join(',')}]` : 'null'
    return (
      `{"index":${index},"message":{"role":"assistant","content":${content},"refusal":null,` +
      '"annotations":null,"audio":null,"function_call":null,"reasoning":null},' +
      `"logprobs":${logprobs},"finish_reason":"${this.reasons[index]}","stop_reason":null,` +
      `"token_ids":${ids},"routed_experts":null}`
    )
  }
}
