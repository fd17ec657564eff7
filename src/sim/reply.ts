/**
 * The answer to one generating request while it is generated: several sequences (choices, prompts)
 * that end one by one. Endpoints derive their stream and their plain form from this.
 */
import type { Answer } from './answer.ts'
import type { Sampling } from './body.ts'
import type { EngineSequence, FinishReason, SequenceOwner } from './engine.ts'
import type { HttpCall } from './http_call.ts'
import type { NodeCore } from './node_core.ts'
import type { TokenCounts } from './usage.ts'

/** What was asked, understood: sequence i answers prompt ⌊i / n⌋. */
export interface Asked {
  readonly model: string
  readonly prompts: readonly Uint32Array[]
  /** Text of each prompt, where the endpoint may have to repeat it. */
  readonly promptTexts: readonly string[]
  readonly answers: readonly Answer[]
  readonly sampling: Sampling
}

export abstract class Reply implements SequenceOwner {
  protected readonly core: NodeCore
  protected readonly call: HttpCall
  protected readonly asked: Asked
  protected readonly id: string
  protected readonly created: number
  protected sequences: readonly EngineSequence[]
  protected unfinished: number

  constructor(core: NodeCore, call: HttpCall, asked: Asked, id: string) {
    this.core = core
    this.call = call
    this.asked = asked
    this.id = id
    this.created = Math.floor(Date.now() / 1000)
    this.sequences = []
    this.unfinished = asked.answers.length
  }

  /** Hands the sequences to an engine; a stream's head leaves at once, before any token. */
  start(): void {
    const { asked, call } = this
    const { sampling, model } = asked
    const generations = asked.answers.map((answer, index) => ({
      prompt: this.promptOf(index),
      answer,
    }))
    this.sequences = this.core.generate(call, { model, sampling, generations, owner: this })
    if (sampling.isStream) call.beginStream()
  }

  onToken(sequence: EngineSequence, token: number, reason: FinishReason | null): void {
    const index = this.sequences.indexOf(sequence)
    this.token(index, sequence, token, reason)
    if (reason !== null && --this.unfinished === 0) this.finish()
  }

  protected abstract token(
    index: number,
    sequence: EngineSequence,
    token: number,
    reason: FinishReason | null,
  ): void

  /** All sequences have ended. */
  protected abstract finish(): void

  protected promptOf(index: number): Uint32Array {
    const prompt = this.asked.prompts[Math.floor(index / this.asked.sampling.n)]
    if (prompt === undefined) throw new RangeError('no prompt for this choice')
    return prompt
  }

  protected answerOf(index: number): Answer {
    const answer = this.asked.answers[index]
    if (answer === undefined) throw new RangeError('no answer for this choice')
    return answer
  }

  /** JSON text of what the latest token of a sequence adds to the answer. */
  protected textJson(index: number, sequence: EngineSequence, token: number): string {
    const { texts } = this.answerOf(index)
    if (texts === null) return this.core.tokenizer.tokenJson(token)
    return JSON.stringify(texts[sequence.generated - 1] ?? '')
  }

  /** The whole text of an answer. */
  protected textOf(index: number, tokens: readonly number[]): string {
    const { texts } = this.answerOf(index)
    return texts === null ? this.core.tokenizer.textOf(tokens) : texts.join('')
  }

  /** `"finish_reason":…,"stop_reason":…` of the last chunk or a plain choice. */
  protected reasonFields(index: number, reason: FinishReason): string {
    const { tool, stopReason } = this.answerOf(index)
    const name = tool !== null && reason === 'stop' ? tool.reason : reason
    return `"finish_reason":"${name}","stop_reason":${JSON.stringify(stopReason)}`
  }

  protected counts(): TokenCounts {
    let completion = 0
    for (const { generated } of this.sequences) completion += generated
    let prompt = 0
    for (const { length } of this.asked.prompts) prompt += length
    // With several sequences vLLM reports the value of a later one.
    const last = this.sequences.at(-1)
    const cached = last?.cachedTokens ?? 0
    const { blockSize } = this.core.config
    const whole = Math.floor((last?.kv.promptTokens ?? 0) / blockSize) * blockSize
    return { prompt, completion, cached, created: Math.max(0, whole - cached) }
  }

  protected fingerprintField(): string {
    return `"system_fingerprint":${JSON.stringify(this.core.fingerprint)}`
  }
}
