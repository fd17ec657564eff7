/**
 * What the endpoints of one simulated node share: its engines (one a rank), tokenizer, models and
 * identity. `generate` is the one way from an endpoint to an engine.
 *
 *   endpoint ──► admit (503 when full) ──► choose rank ──► engine.add × choices ──► owner.onToken
 *
 * A client that leaves aborts all its sequences at once.
 */
import { createHash, randomBytes } from 'node:crypto'
import { badParameter, badRequest, modelNotFound, queueFull } from './api_error.ts'
import type { JsonObject, Sampling } from './body.ts'
import type { SimNodeConfig } from './config.ts'
import type { Engine, EngineSequence, SequenceOwner } from './engine.ts'
import type { HttpCall } from './http_call.ts'
import type { CacheScope } from './kv_cache.ts'
import type { NodeMetrics } from './metrics.ts'
import { promptSeed, type SimTokenizer } from './sim_tokenizer.ts'

const NATURAL_TOKENS_MIN = 16
const NATURAL_TOKENS_SPAN = 49

/** One abort as the node saw it. */
export interface SeenAbort {
  readonly path: string
  /** `performance.now()` of this process, and the wall clock. */
  readonly at: number
  readonly wallMs: number
  /** What the sequence was doing. */
  readonly phase: 'waiting' | 'prefill' | 'decode'
}

export interface Generation {
  readonly prompt: Uint32Array
  readonly model: string
  readonly sampling: Sampling
  readonly choice: number
  /** Fixed answer instead of words (a tool call): its token ids. */
  readonly answer: Uint32Array | null
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
    this.engines = []
    this.sleepLevel = 0
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
    return call.header('x-request-id') ?? sampling?.requestId ?? randomBytes(8).toString('hex')
  }

  /** Refuses prompts that leave no room for one token, in vLLM's words. */
  checkPromptLength(tokens: number, tokensMax: number | null): void {
    const limit = this.modelTokensMax
    if (tokens >= limit) {
      const message =
        `This model's maximum context length is ${limit} tokens. However, your prompt contains ` +
        `at least ${tokens} input tokens, which exceeds this limit even without output tokens. ` +
        'Please reduce the length of the input prompt.'
      throw badParameter(message, 'input_tokens', String(tokens))
    }
    if (tokensMax !== null && tokens + tokensMax > limit) {
      const message =
        `This model's maximum context length is ${limit} tokens. However, you requested ` +
        `${tokensMax} output tokens and your prompt contains ${tokens} input tokens, for a total ` +
        `of ${tokens + tokensMax} tokens. Please reduce the length of the input prompt or the ` +
        'number of requested output tokens.'
      throw badParameter(message, 'input_tokens', String(tokens))
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

  private scopeOf(call: HttpCall, { model, sampling }: Generation): CacheScope {
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
  generate(
    call: HttpCall,
    generations: readonly Generation[],
    owner: SequenceOwner,
  ): EngineSequence[] {
    const rank = this.rankOf(call)
    this.admit(generations.length)
    const engine = this.engines[rank]
    if (engine === undefined) throw new RangeError('no such rank')
    const sequences = generations.map(generation =>
      engine.add({
        prompt: generation.prompt,
        scope: this.scopeOf(call, generation),
        skipsCacheRead: generation.sampling.wantsPromptLogprobs,
        owner,
        ...this.answerOf(generation),
      }),
    )
    call.onGone = () => {
      for (const sequence of sequences) this.abort(call, engine, sequence)
    }
    return sequences
  }

  private abort(call: HttpCall, engine: Engine, sequence: EngineSequence): void {
    const { state, generated } = sequence
    const phase = state === 'waiting' ? 'waiting' : generated === 0 ? 'prefill' : 'decode'
    if (!engine.abort(sequence)) return
    this.aborts.push({ path: call.path, at: performance.now(), wallMs: Date.now(), phase })
  }

  private answerOf({ prompt, sampling, choice, answer }: Generation): {
    tokensMax: number
    lastReason: 'stop' | 'length'
    tokenAt: (n: number) => number
  } {
    const room = this.modelTokensMax - prompt.length
    const limit = Math.min(sampling.tokensMax ?? room, room)
    if (answer !== null && answer.length <= limit) {
      return { tokensMax: answer.length, lastReason: 'stop', tokenAt: n => answer[n] ?? 0 }
    }
    const seed = promptSeed(prompt, sampling.seed, choice)
    const tokenAt = (n: number): number => this.tokenizer.wordAt(seed, n)
    if (sampling.tokensMax !== null || sampling.ignoresEos) {
      return { tokensMax: limit, lastReason: 'length', tokenAt }
    }
    const natural = this.config.outputTokens ?? NATURAL_TOKENS_MIN + (seed % NATURAL_TOKENS_SPAN)
    const isWhole = natural <= limit
    return { tokensMax: Math.min(natural, limit), lastReason: isWhole ? 'stop' : 'length', tokenAt }
  }
}
