/**
 * Asks every node that joins whether it makes the tokens that we make of its model's prompts; a
 * model that a node contradicts is keyed by text from then on, said once in the log.
 *
 * Each gateway thread asks for itself: six short requests to `/tokenize` a node and start. They
 * also load the tokenizer before the first client needs it. Nothing waits for the verdict: until
 * it is there, a wrong prediction costs a worse placement and nothing else.
 */
import type { Dispatcher } from 'undici'
import type { FleetView, NodeView } from '../nodes/fleet_view.ts'
import { Agent, request } from '../nodes/undici.ts'
import type { Log } from '../observe/log.ts'
import type { PiscinaPool } from '../prompt/piscina_pool.ts'
import { TOY_TOKENIZER } from '../prompt/tokenizer.ts'
import type { PostJson } from '../prompt/truth.ts'
import { TruthKeeper } from '../prompt/truth_keeper.ts'

/** Milliseconds for a node to tokenize a sample of some dozen tokens, loaded or not. */
const TOKENIZE_MS_MAX = 30_000

export class TokenizerTruth {
  readonly #keeper: TruthKeeper
  readonly #agent = new Agent()

  /** `onUntrue` hears of a model that must be keyed by text. */
  constructor(pool: PiscinaPool, log: Log, onUntrue: () => void) {
    this.#keeper = new TruthKeeper(
      tokenizer => body => pool.tokenIds(tokenizer, body),
      (model, message) => {
        log.warn({ model, message }, 'tokenizer differs from the node: prompts are keyed by text')
        onUntrue()
      },
    )
  }

  isUntrue(model: string): boolean {
    return this.#keeper.isUntrue(model)
  }

  /** Asks the healthy nodes of the view that have not been asked since they started. */
  follow(view: FleetView): void {
    for (const { name, tokenizer } of view.models) {
      if (tokenizer === null || tokenizer === TOY_TOKENIZER) continue
      for (const node of view.nodes) {
        if (node.state !== 'healthy' || !node.models.some(one => one.id === name)) continue
        void this.#keeper.check(name, tokenizer, node, postTo(this.#agent, node))
      }
    }
  }

  /** Breaks off what is still asked. */
  async close(): Promise<void> {
    await this.#agent.destroy()
  }
}

function postTo(agent: Dispatcher, node: NodeView): PostJson {
  const headers: Record<string, string> = { 'content-type': 'application/json' }
  if (node.apiKey !== null) headers['authorization'] = `Bearer ${node.apiKey}`
  return async (path, body) => {
    const reply = await request(agent, node.url + path, {
      method: 'POST',
      headers,
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(TOKENIZE_MS_MAX),
    })
    const text = await reply.body.text()
    return { status: reply.statusCode, body: reply.statusCode === 200 ? JSON.parse(text) : null }
  }
}
