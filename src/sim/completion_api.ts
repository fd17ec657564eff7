/**
 * POST /v1/completions: texts or token ids, one or several, with `echo`, streamed and plain. There
 * is no role chunk; choice i answers prompt ⌊i / n⌋, and every sequence ends with its own chunk.
 */
import { planAnswer } from './answer.ts'
import { badParameter, badRequest } from './api_error.ts'
import { BodyReader, checkSampling, type JsonObject, parseBody, readSampling } from './body.ts'
import type { EngineSequence, FinishReason } from './engine.ts'
import type { HttpCall } from './http_call.ts'
import { CompletionLogprobs, promptLogprobs } from './logprobs.ts'
import type { NodeCore } from './node_core.ts'
import { type Asked, Reply } from './reply.ts'
import { completionUsage } from './usage.ts'

/** Tokens of an answer that asks for none: what the endpoint has always done. */
const TOKENS_DEFAULT = 16
/** Prompts of one request at most. */
const PROMPTS_MAX = 1024

interface CompletionAsked extends Asked {
  readonly isEchoed: boolean
}

/** The prompts of a body, as texts and tokens. */
async function readPrompts(
  core: NodeCore,
  body: JsonObject,
): Promise<{ prompts: Uint32Array[]; texts: string[] }> {
  const { prompt } = body
  if (prompt === undefined || prompt === null || prompt === '') {
    throw badParameter('Either prompt or prompt_embeds must be provided and non-empty.', 'prompt')
  }
  const isList = Array.isArray(prompt)
  if (isList && prompt.length === 0) throw badRequest('You must pass at least one prompt')
  const items: readonly unknown[] = !isList || typeof prompt[0] === 'number' ? [prompt] : prompt
  if (items.length > PROMPTS_MAX) throw badRequest(`more than ${PROMPTS_MAX} prompts`)
  const prompts: Uint32Array[] = []
  const texts: string[] = []
  for (const item of items) {
    if (typeof item === 'string') {
      prompts.push(await core.tokenizer.encodeText(item, body['add_special_tokens'] !== false))
      texts.push(item)
    } else if (Array.isArray(item) && item.every(isTokenId)) {
      prompts.push(Uint32Array.from(item))
      texts.push(await core.tokenizer.decode(item))
    } else {
      throw badParameter('prompt must be a string, array of strings, or tokens.', 'prompt')
    }
  }
  return { prompts, texts }
}

function isTokenId(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0
}

async function readCompletion(core: NodeCore, body: JsonObject): Promise<CompletionAsked> {
  const reader = new BodyReader(body)
  reader.text('model')
  const isEchoed = reader.flag('echo')
  const logprobs = reader.integer('logprobs')
  const shared = readSampling(reader, ['max_tokens'])
  reader.done()
  const { tokensMax } = shared
  // An echo shows the probabilities of the prompt, too, so that the engine computes it whole.
  const promptTop = shared.promptLogprobs ?? (isEchoed ? logprobs : null)
  const limit = tokensMax ?? TOKENS_DEFAULT
  const sampling = { ...shared, logprobs, promptLogprobs: promptTop, tokensMax: limit }
  const model = core.modelOf(body)
  checkSampling(reader, sampling, core.modelTokensMax)
  const { prompts, texts } = await readPrompts(core, body)
  const answers = prompts.flatMap(prompt => {
    core.checkPromptLength(prompt.length)
    const context = core.answerContext(prompt.length)
    return Array.from({ length: sampling.n }, (_, choice) =>
      planAnswer(context, prompt, sampling, choice),
    )
  })
  return { model, prompts, promptTexts: texts, answers, sampling, isEchoed }
}

export async function completions(core: NodeCore, call: HttpCall): Promise<void> {
  const body = parseBody(call.header('content-type'), call.body)
  const asked = await readCompletion(core, body)
  const id = `cmpl-${core.requestId(call, asked.sampling)}`
  const Form = asked.sampling.isStream ? CompletionStream : CompletionPlain
  new Form(core, call, asked, id).start()
}

abstract class CompletionReply extends Reply {
  protected readonly isEchoed: boolean
  protected readonly logprobs: readonly CompletionLogprobs[]

  constructor(core: NodeCore, call: HttpCall, asked: CompletionAsked, id: string) {
    super(core, call, asked, id)
    this.isEchoed = asked.isEchoed
    const top = asked.sampling.logprobs
    this.logprobs =
      top === null ? [] : asked.answers.map(() => new CompletionLogprobs(core.tokenizer, top))
    if (!asked.isEchoed) return
    for (const [index, logprobs] of this.logprobs.entries()) {
      logprobs.addPrompt(this.promptOf(index))
    }
  }

  protected echo(index: number): string {
    if (!this.isEchoed) return ''
    return this.asked.promptTexts[Math.floor(index / this.asked.sampling.n)] ?? ''
  }

  protected logprobsJson(index: number): string {
    return this.logprobs[index]?.take() ?? 'null'
  }
}

class CompletionStream extends CompletionReply {
  private readonly head: string

  constructor(core: NodeCore, call: HttpCall, asked: CompletionAsked, id: string) {
    super(core, call, asked, id)
    this.head =
      `data: {"id":${JSON.stringify(id)},"object":"text_completion",` +
      `"created":${this.created},"model":${JSON.stringify(asked.model)},"choices":[`
  }

  protected token(
    index: number,
    sequence: EngineSequence,
    token: number,
    reason: FinishReason | null,
  ): void {
    const { sampling } = this.asked
    this.logprobs[index]?.add(token)
    const prompt = this.promptOf(index)
    const isFirst = sequence.generated === 1
    let text = this.textJson(index, sequence, token)
    if (isFirst && this.isEchoed) text = JSON.stringify(this.echo(index) + JSON.parse(text))
    const showsPrompt = isFirst && (this.isEchoed || sampling.returnsTokenIds)
    const promptIds = showsPrompt ? `[${prompt.join(',')}]` : 'null'
    const ids = sampling.returnsTokenIds ? `[${token}]` : 'null'
    const end =
      reason === null ? '"finish_reason":null,"stop_reason":null' : this.reasonFields(index, reason)
    let tail = ''
    if (sampling.hasUsageInEveryChunk) {
      const total = prompt.length + sequence.generated
      tail =
        `,"usage":{"prompt_tokens":${prompt.length},"total_tokens":${total},` +
        `"completion_tokens":${sequence.generated}}`
    }
    if (reason !== null && !sampling.includesUsage) tail += `,${this.fingerprintField()}`
    this.call.event(
      `${this.head}{"index":${index},"text":${text},"logprobs":${this.logprobsJson(index)},` +
        `${end},"prompt_token_ids":${promptIds},"token_ids":${ids}}]${tail}}\n\n`,
    )
  }

  protected finish(): void {
    const { call, head } = this
    if (this.asked.sampling.includesUsage) {
      const usage = completionUsage(this.counts(), true)
      call.event(`${head}],"usage":${usage},${this.fingerprintField()}}\n\n`)
    }
    call.endStream('data: [DONE]\n\n')
  }
}

class CompletionPlain extends CompletionReply {
  private readonly tokens: number[][]
  private readonly reasons: FinishReason[]

  constructor(core: NodeCore, call: HttpCall, asked: CompletionAsked, id: string) {
    super(core, call, asked, id)
    this.tokens = asked.answers.map(() => [])
    this.reasons = []
  }

  protected token(
    index: number,
    _sequence: EngineSequence,
    token: number,
    reason: FinishReason | null,
  ): void {
    this.tokens[index]?.push(token)
    this.logprobs[index]?.add(token)
    if (reason !== null) this.reasons[index] = reason
  }

  protected finish(): void {
    const choices = this.tokens.map((tokens, index) => this.choice(tokens, index)).join(',')
    this.call.json(
      200,
      `{"id":${JSON.stringify(this.id)},"object":"text_completion","created":${this.created},` +
        `"model":${JSON.stringify(this.asked.model)},"choices":[${choices}],` +
        `"service_tier":null,${this.fingerprintField()},` +
        `"usage":${completionUsage(this.counts(), false)},"kv_transfer_params":null,` +
        '"ec_transfer_params":null,"metrics":null}',
    )
  }

  private choice(tokens: readonly number[], index: number): string {
    const { core, asked } = this
    const { sampling } = asked
    const prompt = this.promptOf(index)
    const text = JSON.stringify(this.echo(index) + this.textOf(index, tokens))
    const ids = sampling.returnsTokenIds ? `[${tokens.join(',')}]` : 'null'
    const promptIds = sampling.returnsTokenIds ? `[${prompt.join(',')}]` : 'null'
    const top = sampling.promptLogprobs
    const prompts = top === null ? 'null' : promptLogprobs(core.tokenizer, prompt, top)
    return (
      `{"index":${index},"text":${text},"logprobs":${this.logprobsJson(index)},` +
      `${this.reasonFields(index, this.reasons[index] ?? 'stop')},"token_ids":${ids},` +
      `"prompt_logprobs":${prompts},"prompt_token_ids":${promptIds},"routed_experts":null}`
    )
  }
}
