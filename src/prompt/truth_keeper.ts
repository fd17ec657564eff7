/**
 * Which models may be keyed by tokens: all, until a node shows that its tokens are not ours.
 *
 *   node joins ──► checkTruth ──► equal, unavailable: nothing changes
 *                            └──► different: said once, `isUntrue(model)` from then on
 *
 * One node is enough to condemn a model: a chain that is right for some nodes only would send
 * prompts to the wrong ones. A model is acquitted by a new start only, when its tokenizer was
 * put right. Each (model, node, start of the node) is asked once.
 */
import { checkTruth, type OwnTokens, type PostJson, type TruthVerdict } from './truth.ts'

/** Checks remembered, so that a node that restarts all day does not fill memory. */
const CHECKED_MAX = 4096

export interface TruthNode {
  readonly id: string
  readonly epoch: number
}

export class TruthKeeper {
  readonly #own: (tokenizer: string) => OwnTokens
  /** Told once a model: what differed, in words for the log. */
  readonly #onUntrue: (model: string, message: string) => void
  readonly #untrue: Set<string>
  readonly #checked: Set<string>

  constructor(
    own: (tokenizer: string) => OwnTokens,
    onUntrue: (model: string, message: string) => void,
  ) {
    this.#own = own
    this.#onUntrue = onUntrue
    this.#untrue = new Set()
    this.#checked = new Set()
  }

  /** The model's prompts must be keyed by text. */
  isUntrue(model: string): boolean {
    return this.#untrue.has(model)
  }

  /** Asks the node once for each of its starts; null when it was asked before. */
  async check(
    model: string,
    tokenizer: string,
    node: TruthNode,
    post: PostJson,
  ): Promise<TruthVerdict | null> {
    const name = `${model}\0${node.id}\0${node.epoch}`
    if (this.#checked.has(name)) return null
    if (this.#checked.size >= CHECKED_MAX) this.#checked.clear()
    this.#checked.add(name)
    const verdict = await checkTruth(model, this.#own(tokenizer), post)
    if (verdict.kind !== 'different' || this.#untrue.has(model)) return verdict
    this.#untrue.add(model)
    this.#onUntrue(model, `${node.id} makes other tokens than ${tokenizer}: ${verdict.message}`)
    return verdict
  }
}
