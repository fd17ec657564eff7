/**
 * A gateway in front of real engines, with the model of what their caches hold beside it.
 *
 *     ask ──► gateway ──► engine          model.add(node, tokens)
 *                 ▲          │ events             │
 *                 └── index ◄┘    settle: until both count the same blocks
 */
import { type Answer, type Ask, answer, computed } from './ask.ts'
import { CacheModel } from './cache_model.ts'
import type { Engine } from './engine.ts'
import type { Gateway } from './gateway_process.ts'
import type { Prompts } from './prompts.ts'
import { check } from './report.ts'
import { until } from './until.ts'
import { post } from './wire.ts'

export class EngineBench {
  readonly gateway: Gateway
  readonly engines: readonly Engine[]
  readonly model: string
  readonly prompts: Prompts
  readonly cache: CacheModel
  readonly blockSize: number

  constructor(
    gateway: Gateway,
    engines: readonly Engine[],
    model: string,
    prompts: Prompts,
    blockSize: number,
  ) {
    this.gateway = gateway
    this.engines = engines
    this.model = model
    this.prompts = prompts
    this.blockSize = blockSize
    this.cache = new CacheModel(blockSize)
  }

  /** A node counts as one with KV events from its first stored block on. */
  async join(): Promise<void> {
    for (const engine of this.engines) await this.empty(engine)
    await this.gateway.allNodes(node => node.kvEvents === 'live', 'live KV events')
  }

  /**
   * Empties the caches and stores one block in each, because an engine announces that it was
   * emptied with its next event only; then the index must hold those blocks and no others.
   */
  async reset(engines: readonly Engine[] = this.engines): Promise<void> {
    for (const engine of engines) await this.empty(engine)
    await this.settle()
  }

  async empty(engine: Engine): Promise<void> {
    const tokens = this.prompts.tokens(this.blockSize + 1)
    await engine.reset()
    const body = { model: this.model, prompt: tokens, max_tokens: 1 }
    const reply = await post(engine.url, '/v1/completions', body)
    check(reply.status === 200, `${engine.id}: ${reply.status} ${reply.text}`)
    this.cache.clear(engine.id)
    this.cache.add(engine.id, { tokens })
  }

  /** Waits until the index holds as many blocks as the engines must. */
  async settle(): Promise<void> {
    let held = 0
    await until(async () => {
      held = await this.gateway.heldBlocks()
      return held === this.cache.heldBlocks ? true : null
    }, `the index to hold ${this.cache.heldBlocks} blocks`).catch((error: Error) => {
      throw new Error(`${error.message}; it holds ${held}`)
    })
  }

  /** Asks, and enters what the engine has computed into the model; does not settle. */
  async ask(ask: Ask): Promise<Answer & { readonly expected: number }> {
    const answered = await answer(this.gateway.url, ask)
    const { node, prompt } = answered
    const { salt, adapter } = ask
    // To tell the probabilities of a prompt's tokens the engine computes all of them.
    const isSkipping = 'prompt_logprobs' in ask.body
    const chain = { tokens: prompt, salt, adapter }
    const expected = isSkipping ? 0 : this.cache.cachedTokens(node, chain)
    this.cache.add(node, { tokens: computed(answered), salt, adapter })
    return { ...answered, expected }
  }
}
