/**
 * Chat completions, streamed and plain, in the byte shapes of vLLM 0.32.
 *
 *   stream:  role chunk (a choice) ── token chunks ── finish chunk ── [usage chunk] ── [DONE]
 *            └─ leaves with the first token: its time is the time to first token
 *
 * The last token's chunk carries the finish reason; a tool call ends with an empty delta. The text
 * of a chunk is put together from a head that is made once an exchange and from the JSON text of
 * the token: per token there is one concatenation and one write.
 */

import type { EngineSequence, FinishReason } from './engine.ts'
import { hexId } from './hex_id.ts'
import type { HttpCall } from './http_call.ts'
import { chatLogprobs, promptLogprobs } from './logprobs.ts'
import type { NodeCore } from './node_core.ts'
import { type Asked, Reply } from './reply.ts'
import { chatUsage } from './usage.ts'

function toolId(): string {
  return `chatcmpl-tool-${hexId()}`
}

abstract class ChatReply extends Reply {
  protected logprobs(tokens: readonly number[]): string {
    const { logprobs } = this.asked.sampling
    return logprobs === null ? 'null' : chatLogprobs(this.core.tokenizer, tokens, logprobs)
  }

  /** Ids of generated tokens or of the prompt, where they were asked for. */
  protected ids(tokens: readonly number[] | Uint32Array): string {
    return this.asked.sampling.returnsTokenIds ? `[${tokens.join(',')}]` : 'null'
  }
}

export class ChatStream extends ChatReply {
  private readonly head: string
  private hasBegun: boolean

  constructor(core: NodeCore, call: HttpCall, asked: Asked, id: string) {
    super(core, call, asked, id)
    this.head =
      `data: {"id":${JSON.stringify(id)},"object":"chat.completion.chunk",` +
      `"created":${this.created},"model":${JSON.stringify(asked.model)},"choices":[`
    this.hasBegun = false
  }

  protected token(
    index: number,
    sequence: EngineSequence,
    token: number,
    reason: FinishReason | null,
  ): void {
    if (!this.hasBegun) this.begin()
    const delta = this.delta(index, sequence, token)
    if (delta === '') return
    const { sampling } = this.asked
    const logprobs = sampling.logprobs === null ? 'null' : this.logprobs([token])
    const ids = sampling.returnsTokenIds ? `[${token}]` : 'null'
    const end = reason === null ? '"finish_reason":null' : this.reasonFields(index, reason)
    let tail = this.usageTail(sequence.generated)
    if (reason !== null && !sampling.includesUsage) tail += `,${this.fingerprintField()}`
    this.call.event(
      `${this.head}{"index":${index},"delta":${delta},"logprobs":${logprobs},` +
        `${end},"token_ids":${ids}}]${tail}}\n\n`,
    )
  }

  private delta(index: number, sequence: EngineSequence, token: number): string {
    const { tool } = this.answerOf(index)
    if (tool === null) return `{"content":${this.textJson(index, sequence, token)}}`
    const at = sequence.generated - 2
    if (at < 0) {
      const named = `"function":{"name":${JSON.stringify(tool.name)}}`
      const call = `{"id":"${toolId()}","type":"function","index":0,${named}}`
      return `{"content":null,"tool_calls":[${call}]}`
    }
    const piece = tool.argumentPieces[at]
    if (piece === undefined) return '{}'
    const call = `{"index":0,"function":{"arguments":${JSON.stringify(piece)}}}`
    return `{"content":null,"tool_calls":[${call}]}`
  }

  /** The role chunk of every choice, with the first token of any. */
  private begin(): void {
    this.hasBegun = true
    const { sampling } = this.asked
    const ids = this.ids(this.promptOf(0))
    for (let index = 0; index < sampling.n; index++) {
      this.call.event(
        `${this.head}{"index":${index},"delta":{"role":"assistant","content":""},` +
          `"logprobs":null,"finish_reason":null}]${this.usageTail(0)},` +
          `"prompt_token_ids":${ids},"prompt_text":null}\n\n`,
      )
    }
  }

  private usageTail(completion: number): string {
    if (!this.asked.sampling.hasUsageInEveryChunk) return ''
    const prompt = this.promptOf(0).length
    return (
      `,"usage":{"prompt_tokens":${prompt},"total_tokens":${prompt + completion},` +
      `"completion_tokens":${completion},"completion_tokens_details":null}`
    )
  }

  protected finish(): void {
    const { call, head } = this
    if (this.asked.sampling.includesUsage) {
      const usage = chatUsage(this.counts(), true)
      call.event(`${head}],"usage":${usage},${this.fingerprintField()}}\n\n`)
    }
    call.endStream('data: [DONE]\n\n')
  }
}

export class ChatPlain extends ChatReply {
  private readonly tokens: number[][]
  private readonly reasons: FinishReason[]

  constructor(core: NodeCore, call: HttpCall, asked: Asked, id: string) {
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
    if (reason !== null) this.reasons[index] = reason
  }

  protected finish(): void {
    const { asked, core } = this
    const choices = this.tokens.map((tokens, index) => this.choice(tokens, index)).join(',')
    const prompt = this.promptOf(0)
    const { promptLogprobs: top } = asked.sampling
    const logprobs = top === null ? 'null' : promptLogprobs(core.tokenizer, prompt, top)
    this.call.json(
      200,
      `{"id":${JSON.stringify(this.id)},"object":"chat.completion","created":${this.created},` +
        `"model":${JSON.stringify(asked.model)},"choices":[${choices}],"service_tier":null,` +
        `${this.fingerprintField()},"usage":${chatUsage(this.counts(), false)},` +
        `"prompt_logprobs":${logprobs},"prompt_token_ids":${this.ids(prompt)},` +
        '"prompt_text":null,"kv_transfer_params":null,"ec_transfer_params":null,"metrics":null}',
    )
  }

  private choice(tokens: readonly number[], index: number): string {
    const reason = this.reasons[index] ?? 'stop'
    return (
      `{"index":${index},"message":{"role":"assistant",${this.message(tokens, index)},` +
      `"reasoning":null},"logprobs":${this.logprobs(tokens)},${this.reasonFields(index, reason)},` +
      `"token_ids":${this.ids(tokens)},"routed_experts":null}`
    )
  }

  private message(tokens: readonly number[], index: number): string {
    const { tool } = this.answerOf(index)
    const content = tool === null ? JSON.stringify(this.textOf(index, tokens)) : '""'
    const fields = `"content":${content},"refusal":null,"annotations":null,"audio":null,`
    if (tool === null) return `${fields}"function_call":null`
    const given = JSON.stringify(tool.argumentPieces.join(''))
    return (
      `${fields}"function_call":null,"tool_calls":[{"id":"${toolId()}","type":"function",` +
      `"function":{"name":${JSON.stringify(tool.name)},"arguments":${given}}}]`
    )
  }
}
