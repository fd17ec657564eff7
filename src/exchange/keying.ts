/**
 * Keys an exchange's prompt: finds what the keys depend on (base model, adapter, tokenizer, block
 * size) in the fleet view, once per view and model, and hands the body to the prompt room.
 */
import { chainKeys, chainRoot } from '../native/chain_hash.ts'
import type { FleetView, NodeView } from '../nodes/fleet_view.ts'
import { resolveModel } from '../nodes/models.ts'
import type { Log } from '../observe/log.ts'
import { FALLBACK, PROMPT } from '../observe/metrics/labels.ts'
import { M } from '../observe/metrics/layout.ts'
import type { ThreadMetrics } from '../observe/metrics/thread_metrics.ts'
import type { PromptKeys, PromptTarget } from '../prompt/keyer.ts'
import { PromptKeyer } from '../prompt/keyer.ts'
import type { ExchangeRequest } from './request.ts'

type ModelTarget = Omit<PromptTarget, 'salt'>

function nothing(): void {}

export class PromptKeying {
  readonly #keyer: PromptKeyer
  /** Targets by model name, for the view that they were made from. */
  #targets = new Map<string | null, ModelTarget>()
  #view: FleetView | null = null

  constructor(metrics: ThreadMetrics, _log: Log) {
    this.#keyer = new PromptKeyer({
      chainRoot,
      chainKeys,
      // The router looks the matches up itself, at the moment of its decision.
      match: null,
      pool: null,
      meter: {
        source: source => metrics.addFor(M.prompts, PROMPT[source], 1),
        fallback: reason => metrics.addFor(M.tokenizerFallbacks, FALLBACK[reason], 1),
      },
      memoBytesMax: 32 * 2 ** 20,
      waitMsMax: 2_000,
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
    const target = { ...this.#targetOf(request.model, view), salt: request.salt ?? '' }
    return this.#keyer.keys(request.body, kind, target, Date.now(), done)
  }

  async close(): Promise<void> {}

  #targetOf(model: string | null, view: FleetView): ModelTarget {
    if (view !== this.#view) {
      this.#view = view
      this.#targets = new Map()
    }
    const known = this.#targets.get(model)
    if (known !== undefined) return known
    const made = makeTarget(model, view)
    // A name that no node serves may be anything a client sends: it is not remembered.
    if (made.nodes.length > 0) this.#targets.set(model, made.target)
    return made.target
  }
}

function makeTarget(
  model: string | null,
  view: FleetView,
): { target: ModelTarget; nodes: readonly NodeView[] } {
  const resolved = model === null ? null : resolveModel(model, view)
  const nodes = (resolved?.nodes ?? []).filter(node => node.state === 'healthy')
  const baseModel = resolved?.baseModel ?? model ?? ''
  const named = view.models.find(one => one.name === baseModel || one.name === model)
  const speaker = nodes.find(node => node.indexId !== 0) ?? nodes[0]
  return {
    nodes,
    target: {
      baseModel,
      adapter: resolved?.adapter ?? '',
      tokenizer: named?.tokenizer ?? null,
      indexId: speaker?.indexId ?? 0,
      blockSize: speaker?.blockSize ?? 0,
    },
  }
}
