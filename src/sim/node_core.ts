/**
 * What the endpoints of one simulated node share: its engines (one a rank), tokenizer, models and
 * identity. `generate` is the one way from an endpoint to an engine.
 *
 *   endpoint ──► admit (503 when full) ──► choose rank ──► engine.add × choices ──► owner.onToken
 *
 * A client that leaves aborts all its sequences at once.
 */

import { createHash } from 'node:crypto'
import type { Answer, AnswerContext } from './answer.ts'
import { badParameter, badRequest, modelNotFound, queueFull } from './api_error.ts'
import type { JsonObject, Sampling } from './body.ts'
import type { SimNodeConfig } from './config.ts'
import type { Engine, EngineSequence, SequenceOwner } from './engine.ts'
import { hexId } from './hex_id.ts'
import type { HttpCall } from './http_call.ts'
import type { CacheScope } from './kv_cache.ts'
import type { NodeMetrics } from './metrics.ts'
import type { SimTokenizer } from './sim_tokenizer.ts'

/** Finished responses kept by a node; the oldest goes first. */
const RESPONSES_KEPT_MAX = 256

/** One abort as the node saw it. */
export interface SeenAbort {
  readonly path: string
  /** `performance.now()` of this process, and the wall clock. */
  readonly at: number
  readonly wallMs: number
  /** What the sequence was doing. */
  readonly phase: 'waiting' | 'prefill' | 'decode'
}

/** A request for an engine: one sequence a generation, all on one rank. */
export interface Work {
  readonly model: string
  readonly sampling: Sampling
  readonly generations: readonly { readonly prompt: Uint32Array; readonly answer: Answer }[]
  readonly owner: SequenceOwner
}

/** A finished response: its JSON, and the conversation up to and with its answer. */
export interface KeptResponse {
  readonly json: string
  readonly messages: readonly unknown[]
}

export class NodeCore {
  readonly config: SimNodeConfig
  readonly tokenizer: SimTokenizer
  readonly metrics: NodeMetrics
  readonly version: string
  readonly fingerprint: string
  readonly modelTokensMax: number
  readonly startedSeconds: number
  readonly aborts: SeenAbort[]
  /** Finished responses by id, oldest first. */
  readonly responses: Map<string, KeptResponse>
  engines: readonly Engine[]
  sleepLevel: number

  constructor(
    config: SimNodeConfig,
    tokenizer: SimTokenizer,
    metrics: NodeMetrics,
    version: string,
  ) {
    this.config = config
    this.tokenizer = tokenizer
    this.metrics = metrics
    this.version = version
    const identity = JSON.stringify([config.model, config.blocks, config.blockSize, config.ranks])
    const hash = createHash('sha256').update(identity).digest('hex').slice(0, 8)
    this.fingerprint = `vllm-${version}-${hash}`
    // A sequence must fit into the cache of its rank; vLLM refuses to start otherwise.
    this.modelTokensMax = Math.min(config.maxModelLen, (config.blocks - 1) * config.blockSize)
    this.startedSeconds = Math.floor(Date.now() / 1000)
    this.aborts = []
    this.responses = new Map()
    this.engines = []
    this.sleepLevel = 0
  }

  keepResponse(id: string, response: KeptResponse): void {
    if (!this.config.responseStore) return
    this.responses.set(id, response)
    const oldest = this.responses.keys().next().value
    if (this.responses.size > RESPONSES_KEPT_MAX && oldest !== undefined) {
      this.responses.delete(oldest)
    }
  }

  /** Ends sleep and freeze. */
  wake(): void {
    this.sleepLevel = 0
    for (const engine of this.engines) engine.resume()
  }

  get aliases(): string[] {
    return [this.config.model, ...this.config.adapters]
  }

  /** The model that a body names; none names the base model. */
  modelOf(body: JsonObject): string {
    const name = body['model']
    if (typeof name !== 'string') return this.config.model
    if (this.aliases.includes(name)) return name
    throw modelNotFound(name, this.aliases)
  }

  requestId(call: HttpCall, sampling: Sampling | null): string {
    return call.header('x-request-id') ?? sampling?.requestId ?? hexId()
  }

  /** Refuses prompts that leave no room for one token, in vLLM's words. */
  checkPromptLength(tokens: number): void {
    const limit = this.modelTokensMax
    if (tokens < limit) return
    // Tokens are counted up to one above the limit.
    const counted = Math.min(tokens, limit + 1)
    const message =
      `This model's maximum context length is ${limit} tokens. However, your prompt contains ` +
      `at least ${counted} input tokens, which exceeds this limit even without any output ` +
      'tokens. Please reduce the length of the input prompt.'
    throw badParameter(message, 'input_tokens', String(counted))
  }

  answerContext(promptTokens: number): AnswerContext {
    return {
      tokenizer: this.tokenizer,
      room: this.modelTokensMax - promptTokens,
      naturalTokens: this.config.outputTokens ?? null,
    }
  }

  /** 503 when the engine holds as many unfinished requests, or queued tokens, as it may. */
  admit(choices: number): void {
    const { maxNumQueuedReqs, maxNumQueuedTokens } = this.config
    let unfinished = 0
    let queuedTokens = 0
    for (const engine of this.engines) {
      unfinished += engine.runningCount + engine.waitingCount
      if (maxNumQueuedTokens !== undefined) queuedTokens += engine.queuedTokens
    }
    if (maxNumQueuedReqs !== undefined && unfinished + choices > maxNumQueuedReqs) {
      this.metrics.rejections.max_num_queued_reqs++
      throw queueFull()
    }
    if (maxNumQueuedTokens !== undefined && queuedTokens >= maxNumQueuedTokens) {
      this.metrics.rejections.max_num_queued_tokens++
      throw queueFull()
    }
  }

  /** The rank a request asks for, or the one with the least to do. */
  rankOf(call: HttpCall): number {
    const asked = call.header('x-data-parallel-rank')
    if (asked !== null && /^[+-]?\d+$/.test(asked.trim())) {
      const rank = Number(asked)
      if (rank >= 0 && rank < this.engines.length) return rank
      throw badRequest(`data_parallel_rank ${rank} is out of range [0, ${this.engines.length}).`)
    }
    let best = 0
    let least = Number.POSITIVE_INFINITY
    for (const [rank, { waitingCount, runningCount }] of this.engines.entries()) {
      const load = waitingCount * 4 + runningCount
      if (load < least) [best, least] = [rank, load]
    }
    return best
  }

  private scopeOf(call: HttpCall, { model, sampling }: Work): CacheScope {
    const at = this.config.adapters.indexOf(model)
    const sessionId = sampling.sessionId ?? call.header('x-session-id')
    return {
      adapter: at < 0 ? null : model,
      adapterId: at < 0 ? null : at + 1,
      salt: sampling.salt,
      sessionId,
    }
  }

  /** Starts the sequences of a request on one rank; the client's leaving aborts them all. */
  generate(call: HttpCall, work: Work): EngineSequence[] {
    const rank = this.rankOf(call)
    this.admit(work.generations.length)
    const engine = this.engines[rank]
    if (engine === undefined) throw new RangeError('no such rank')
    const scope = this.scopeOf(call, work)
    const sequences = work.generations.map(({ prompt, answer }) =>
      engine.add({
        prompt,
        scope,
        tokensMax: answer.tokensMax,
        lastReason: answer.lastReason,
        tokenAt: answer.tokenAt,
        skipsCacheRead: work.sampling.promptLogprobs !== null,
        owner: work.owner,
      }),
    )
    call.onGone = isByClient => {
      for (const sequence of sequences) {
        const phase = phaseOf(sequence)
        if (!engine.abort(sequence) || !isByClient) continue
        this.aborts.push({ path: call.path, at: performance.now(), wallMs: Date.now(), phase })
      }
    }
    return sequences
  }
}

function phaseOf({ state, generated }: EngineSequence): SeenAbort['phase'] {
  if (state === 'waiting') return 'waiting'
  return generated === 0 ? 'prefill' : 'decode'
}
