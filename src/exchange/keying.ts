/**
 * Keys an exchange's prompt: finds what the keys depend on (base model, adapter, tokenizer, block
 * size) in the fleet view, once per view and model, and hands the body to the prompt room.
 */
import { chainKeys, chainRoot } from '../native/chain_hash.ts'
import type { FleetView, ModelView, NodeView } from '../nodes/fleet_view.ts'
import { resolveModel, soleModel } from '../nodes/models.ts'
import type { Log } from '../observe/log.ts'
import { FALLBACK, PROMPT } from '../observe/metrics/labels.ts'
import { M } from '../observe/metrics/layout.ts'
import type { ThreadMetrics } from '../observe/metrics/thread_metrics.ts'
import type { PromptKeys, PromptTarget } from '../prompt/keyer.ts'
import { PromptKeyer } from '../prompt/keyer.ts'
import { PiscinaPool } from '../prompt/piscina_pool.ts'
import type { ExchangeRequest } from './request.ts'
import { TokenizerTruth } from './tokenizer_truth.ts'

/** Threads with tokenizers behind each gateway thread; each holds 26 to 47 MB a model. */
const POOL_THREADS_MAX = 1
/** Milliseconds without a prompt after which such a thread ends and frees its memory. */
const POOL_IDLE_MS_MAX = 60_000
/** Prompts that wait for tokens; more are routed by their text at once. */
const POOL_QUEUE_ITEMS_MAX = 256
/** Bytes of such prompts. */
const POOL_QUEUE_BYTES_MAX = 64 * 2 ** 20
/** Bytes of token ids that a pool thread remembers for each model: a turn costs its new text. */
const TOKEN_MEMO_BYTES_MAX = 64 * 2 ** 20
/** Bytes of keys that a gateway thread remembers of whole prompts. */
const KEY_MEMO_BYTES_MAX = 32 * 2 ** 20
/** Milliseconds that a request waits for its tokens before it is routed by text. */
const TOKENS_WAIT_MS_MAX = 2_000

type ModelTarget = Omit<PromptTarget, 'salt'>

function nothing(): void {}

export class PromptKeying {
  readonly #pool: PiscinaPool
  readonly #keyer: PromptKeyer
  readonly #truth: TokenizerTruth
  /** Targets by model name, for the view that they were made from. */
  #targets = new Map<string | null, ModelTarget>()
  #view: FleetView | null = null

  constructor(metrics: ThreadMetrics, log: Log) {
    this.#pool = new PiscinaPool({
      threadsMax: POOL_THREADS_MAX,
      idleMsMax: POOL_IDLE_MS_MAX,
      queueItemsMax: POOL_QUEUE_ITEMS_MAX,
      queueBytesMax: POOL_QUEUE_BYTES_MAX,
      memoBytesMax: TOKEN_MEMO_BYTES_MAX,
      log: message => log.warn({}, message),
    })
    this.#truth = new TokenizerTruth(this.#pool, log, () => {
      metrics.addFor(M.tokenizerFallbacks, FALLBACK.unavailable, 1)
      this.#targets = new Map()
      this.#keyer.clear()
    })
    this.#keyer = new PromptKeyer({
      chainRoot,
      chainKeys,
      // The router looks the matches up itself, at the moment of its decision.
      match: null,
      pool: this.#pool,
      meter: {
        source: source => metrics.addFor(M.prompts, PROMPT[source], 1),
        fallback: reason => metrics.addFor(M.tokenizerFallbacks, FALLBACK[reason], 1),
      },
      memoBytesMax: KEY_MEMO_BYTES_MAX,
      waitMsMax: TOKENS_WAIT_MS_MAX,
      setTimer(run, ms) {
        const timer = setTimeout(run, ms)
        return () => clearTimeout(timer)
      },
    })
  }

  key(
    request: ExchangeRequest,
    view: FleetView,
    done: (keys: PromptKeys | null) => void,
  ): () => void {
    const kind = request.endpoint.promptKind
    if (kind === null || request.body === null) {
      done(null)
      return nothing
    }
    const { baseModel, adapter, tokenizer, indexId, blockSize } = this.#targetOf(
      request.model,
      view,
    )
    const salt = request.salt ?? ''
    const target = { baseModel, adapter, salt, tokenizer, indexId, blockSize }
    return this.#keyer.keys(request.body, kind, target, Date.now(), done)
  }

  /** Takes a new view: nodes that joined are asked whether their tokens are ours. */
  follow(view: FleetView): void {
    this.#truth.follow(view)
  }

  /** Ends the threads that hold tokenizers. */
  async close(): Promise<void> {
    await this.#truth.close()
    await this.#pool.close()
  }

  #targetOf(model: string | null, view: FleetView): ModelTarget {
    if (view !== this.#view) {
      this.#view = view
      this.#targets = new Map()
    }
    const known = this.#targets.get(model)
    if (known !== undefined) return known
    const made = makeTarget(model, view, this.#truth)
    // A name that no node serves may be anything a client sends: it is not remembered.
    if (made.nodes.length > 0) this.#targets.set(model, made.target)
    return made.target
  }
}

/** The configuration of the very name, else that of any name of the same base model. */
function configuredFor(asked: string, baseModel: string, view: FleetView): ModelView | undefined {
  const isOfBase = ({ name }: ModelView): boolean => {
    const other = resolveModel(name, view)
    return name === baseModel || (other?.baseModel === baseModel && other.adapter === '')
  }
  return view.models.find(one => one.name === asked) ?? view.models.find(isOfBase)
}

function makeTarget(
  model: string | null,
  view: FleetView,
  truth: TokenizerTruth,
): { target: ModelTarget; nodes: readonly NodeView[] } {
  const resolved = model === null ? soleModel(view) : resolveModel(model, view)
  const nodes = (resolved?.nodes ?? []).filter(node => node.state === 'healthy')
  const baseModel = resolved?.baseModel ?? model ?? ''
  const named = configuredFor(model ?? resolved?.id ?? '', baseModel, view)
  const speaker = nodes.find(node => node.indexId !== 0) ?? nodes[0]
  return {
    nodes,
    target: {
      baseModel,
      adapter: resolved?.adapter ?? '',
      tokenizer: named !== undefined && !truth.isUntrue(named.name) ? named.tokenizer : null,
      indexId: speaker?.indexId ?? 0,
      blockSize: speaker?.blockSize ?? 0,
    },
  }
}
