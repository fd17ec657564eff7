/**
 * POST /v1/chat/completions and its renderings: reading the body. The answer's shapes are in
 * chat_reply.ts.
 */
import { type Answer, planAnswer, planToolCall } from './answer.ts'
import { badParameter, badRequest } from './api_error.ts'
import { BodyReader, checkSampling, type JsonObject, parseBody, readSampling } from './body.ts'
import { ChatPlain, ChatStream } from './chat_reply.ts'
import type { HttpCall } from './http_call.ts'
import type { NodeCore } from './node_core.ts'
import type { Asked } from './reply.ts'

/** Alternatives a token at most, vLLM's `--max-logprobs`. */
const LOGPROBS_MAX = 20

/** Tokens of a chat body's prompt: the template with every argument that changes it. */
export async function chatPrompt(
  core: NodeCore,
  messages: readonly unknown[],
  body: JsonObject,
): Promise<Uint32Array> {
  if (messages.length === 0) {
    throw badRequest(
      'Cannot apply chat template to an empty conversation. Provide at least one message.',
    )
  }
  const reader = new BodyReader(body)
  // Rendered whatever the choice is: vLLM leaves them out for "none" only when it is told to.
  const tools = reader.list('tools')
  const chat = {
    messages,
    tools: tools === null || tools.length === 0 ? null : tools,
    documents: reader.list('documents'),
    addGenerationPrompt: body['add_generation_prompt'] !== false,
    continueFinalMessage: body['continue_final_message'] === true,
    templateArguments: reader.object('chat_template_kwargs') ?? {},
  }
  return await core.tokenizer.encodeChat(chat, body['add_special_tokens'] === true)
}

/** Reads and checks a chat body; throws an ApiError. */
async function readChat(core: NodeCore, body: JsonObject): Promise<Asked> {
  const reader = new BodyReader(body)
  if (body['messages'] === null) throw badRequest("'NoneType' object is not iterable")
  const messages = reader.list('messages') ?? []
  reader.requires('messages')
  reader.text('model')
  const hasLogprobs = reader.flag('logprobs')
  const top = reader.integer('top_logprobs') ?? 0
  const shared = readSampling(reader, ['max_completion_tokens', 'max_tokens'])
  if (top > 0 && !hasLogprobs) {
    const message = 'when using `top_logprobs`, `logprobs` must be set to true.'
    throw badParameter(message, 'top_logprobs')
  }
  reader.done()
  const sampling = { ...shared, logprobs: hasLogprobs ? top : null }
  const model = core.modelOf(body)
  checkSampling(reader, sampling, core.modelTokensMax)
  if (top > LOGPROBS_MAX) {
    const message = `Requested sample logprobs of ${top}, which is greater than max allowed: 20`
    throw badParameter(message, 'logprobs', String(top))
  }
  const prompt = await chatPrompt(core, messages, body)
  core.checkPromptLength(prompt.length)
  const context = core.answerContext(prompt.length)
  const call = planToolCall(body, prompt, core.tokenizer, context.room)
  const answers: Answer[] = []
  for (let choice = 0; choice < sampling.n; choice++) {
    answers.push(call ?? planAnswer(context, prompt, sampling, choice))
  }
  return { model, prompts: [prompt], promptTexts: [], answers, sampling }
}

export async function chatCompletions(core: NodeCore, call: HttpCall): Promise<void> {
  const body = parseBody(call.header('content-type'), call.body)
  const asked = await readChat(core, body)
  const id = `chatcmpl-${core.requestId(call, asked.sampling)}`
  const Form = asked.sampling.isStream ? ChatStream : ChatPlain
  new Form(core, call, asked, id).start()
}
