/**
 * The candidates of one request, built from the fleet view, one read of the load table and the
 * prompt's matches.
 *
 *     fleet view ──useView()──► places of each model: (node, rank, slot) of healthy nodes only
 *     load table ──one call───► words[3·slot …]: in flight, queued prefill tokens, decode blocks
 *     prompt     ──scatter────► depth[slot], indexDepth[slot], cleared again after the build
 *                                   │
 *     build(request, tried) ────────┴──► items[0 … count)
 *
 * Unhealthy, draining and sleeping nodes are not in the places at all, so no average, minimum or
 * total can meet them. A place at its limit of requests in flight is left out and counted in
 * `saturated`: the caller waits when that is all there is.
 *
 * Costs: a build touches each place of the model once and allocates nothing once the arrays have
 * grown to the fleet (`npm run bench` has the figure for 1,000 places). A view change rebuilds the
 * places of all models, which is control-plane work. The load read copies all slots of the view,
 * those of other models included; at the table's 1,024 slots that is 24 KB.
 */
import { OperatingError } from '../errors.ts'
import { EMPTY_FLEET, type FleetView, type NodeView } from '../nodes/fleet_view.ts'
import type { LoadTable } from './lease.ts'
import type { Candidate } from './policy.ts'

/** A prompt's keys and where they match; the prompt room's `PromptKeys` is one. */
export interface MatchedPrompt {
  /** The keys are those of the engine's own tokens; false: made from text, never in the index. */
  readonly exact: boolean
  readonly promptTokens: number
  /** Tokens that one key covers. */
  readonly blockSize: number
  readonly keys: BigUint64Array
  /** Keys in use. */
  readonly count: number
  readonly slots: Uint32Array
  readonly depths: Uint32Array
  /** As `depths`, without predictions. */
  readonly indexDepths: Uint32Array
  /** Slots in use. */
  readonly matched: number
}

/** What routing must know of a request. */
export interface RouteRequest {
  /** The model as asked for; null is served by any node. */
  readonly model: string | null
  /** null: nothing to key (audio, GET, unreadable text); placed by load. */
  readonly prompt: MatchedPrompt | null
  /** 0 when unknown. */
  readonly promptTokens: number
  /** The engine skips its cache for this request (prompt_logprobs): no credit for matches. */
  readonly skipsCache: boolean
}

interface Place {
  readonly node: NodeView
  readonly rank: number
  readonly slot: number
}

const LOAD_WORDS = 3
/** The block that stands in when neither the prompt nor the node knows its size: vLLM's default. */
const BLOCK_SIZE_DEFAULT = 16
/** Characters of an unknown model's name that the error repeats. */
const NAME_SHOWN_MAX = 200
const NONE: readonly Place[] = []

/** Whole blocks of a prompt that an engine may reuse: the last token is always computed. */
function matchedTokensMax(promptTokens: number, blockSize: number): number {
  return promptTokens < 1 ? 0 : Math.floor((promptTokens - 1) / blockSize) * blockSize
}

export class Candidates {
  readonly items: Candidate[]
  /** Places of the last build that were left out because they are at their limit. */
  saturated: number
  /** The deepest match of the last build, saturated places included. */
  matchedTokensBest: number
  readonly #table: LoadTable
  #view: FleetView
  #all: Place[]
  #byModel: Map<string, Place[]>
  #known: Set<string>
  #words: Float64Array
  #depths: Uint32Array
  #indexDepths: Uint32Array

  constructor(table: LoadTable) {
    this.items = []
    this.saturated = 0
    this.matchedTokensBest = 0
    this.#table = table
    this.#view = EMPTY_FLEET
    this.#all = []
    this.#byModel = new Map()
    this.#known = new Set()
    this.#words = new Float64Array(0)
    this.#depths = new Uint32Array(0)
    this.#indexDepths = new Uint32Array(0)
  }

  get view(): FleetView {
    return this.#view
  }

  useView(view: FleetView): void {
    const byModel = new Map<string, Place[]>()
    const all: Place[] = []
    let slotCount = 0
    for (const node of view.nodes) {
      const places = node.ranks.map(({ rank, slot }): Place => ({ node, rank, slot }))
      for (const { slot } of places) slotCount = Math.max(slotCount, slot + 1)
      if (node.state !== 'healthy') continue
      all.push(...places)
      for (const id of new Set(node.models.map(model => model.id))) {
        const held = byModel.get(id)
        if (held === undefined) byModel.set(id, [...places])
        else held.push(...places)
      }
    }
    this.#view = view
    this.#all = all
    this.#byModel = byModel
    this.#known = new Set(view.models.map(model => model.name))
    for (const node of view.nodes) for (const model of node.models) this.#known.add(model.id)
    this.#words = new Float64Array(slotCount * LOAD_WORDS)
    this.#depths = new Uint32Array(slotCount)
    this.#indexDepths = new Uint32Array(slotCount)
  }

  /** Why a model has no place at all: unknown to every node, or known and nobody is well. */
  refusal(model: string | null): OperatingError {
    // A node that never told its models may serve this one: then the honest answer is "later".
    const isSilent = this.#view.nodes.some(node => node.models.length === 0)
    if (model === null || this.#known.has(model) || isSilent || this.#view.nodes.length === 0) {
      return new OperatingError('no_healthy_node', 'No healthy node can serve this request now.')
    }
    const isLong = model.length > NAME_SHOWN_MAX
    const shown = isLong ? `${model.slice(0, NAME_SHOWN_MAX)}…` : model
    return new OperatingError('model_not_found', `The model \`${shown}\` does not exist.`, 'model')
  }

  /** The prefix index of a model's nodes at one block size; 0 when none of them has one. */
  indexOf(model: string | null, blockSize: number): number {
    for (const { node } of this.#placesOf(model)) {
      if (node.indexId !== 0 && node.blockSize === blockSize) return node.indexId
    }
    return 0
  }

  /**
   * Fills `items` and returns how many of them count; `tried` are ids of nodes to leave out,
   * `matched` is the request's prompt with matches newer than its own.
   */
  build(
    request: RouteRequest,
    tried: readonly string[],
    matched: MatchedPrompt | null = request.prompt,
  ): number {
    const places = this.#placesOf(request.model)
    const prompt = request.skipsCache ? null : matched
    const slotCount = this.#depths.length
    this.saturated = 0
    this.matchedTokensBest = 0
    if (places.length === 0) return 0
    this.#table.read(this.#words, slotCount)
    if (prompt !== null) this.#scatter(prompt, true)
    let count = 0
    for (const place of places) {
      if (tried.length > 0 && tried.includes(place.node.id)) continue
      const running = this.#words[place.slot * LOAD_WORDS] ?? 0
      const isFull = running >= place.node.inFlightMax
      if (isFull) this.saturated++
      this.#fill(this.#itemAt(count), place, request, prompt, running)
      if (!isFull) count++
    }
    if (prompt !== null) this.#scatter(prompt, false)
    return count
  }

  /** Takes a candidate out whose last free place went to another thread meanwhile. */
  drop(index: number, count: number): void {
    const dropped = this.items[index]
    const last = this.items[count - 1]
    if (dropped === undefined || last === undefined) return
    this.items[index] = last
    this.items[count - 1] = dropped
    this.saturated++
  }

  #placesOf(model: string | null): readonly Place[] {
    return model === null ? this.#all : (this.#byModel.get(model) ?? NONE)
  }

  #scatter(prompt: MatchedPrompt, isSet: boolean): void {
    for (let i = 0; i < prompt.matched; i++) {
      const slot = prompt.slots[i] ?? 0
      // A match of a node that left the view meanwhile has no place here.
      if (slot >= this.#depths.length) continue
      this.#depths[slot] = isSet ? (prompt.depths[i] ?? 0) : 0
      this.#indexDepths[slot] = isSet ? (prompt.indexDepths[i] ?? 0) : 0
    }
  }

  #itemAt(index: number): Candidate {
    const held = this.items[index]
    if (held !== undefined) return held
    const node = this.#all[0]?.node
    if (node === undefined) throw new Error('candidates are built from a view with nodes')
    const made: Candidate = {
      node,
      rank: 0,
      slot: 0,
      uncachedTokens: 0,
      matchedTokens: 0,
      indexTokens: 0,
      queuedPrefillTokens: 0,
      sharedPrefillTokens: 0,
      running: 0,
      blockSize: 1,
    }
    this.items.push(made)
    return made
  }

  #fill(
    item: Candidate,
    place: Place,
    request: RouteRequest,
    prompt: MatchedPrompt | null,
    running: number,
  ): void {
    const { node, slot } = place
    const size = prompt?.blockSize ?? 0
    const blockSize = size || node.blockSize || BLOCK_SIZE_DEFAULT
    const matchedMax = matchedTokensMax(request.promptTokens, blockSize)
    const matched = Math.min((this.#depths[slot] ?? 0) * size, matchedMax)
    const indexed = Math.min((this.#indexDepths[slot] ?? 0) * size, matched)
    const queued = this.#words[slot * LOAD_WORDS + 1] ?? 0
    item.node = node
    item.rank = place.rank
    item.slot = slot
    item.blockSize = blockSize
    item.running = running
    item.matchedTokens = matched
    item.indexTokens = indexed
    item.uncachedTokens = request.promptTokens - matched
    item.queuedPrefillTokens = queued
    // Predicted and not yet announced: somebody's prefill is computing it now. Without events
    // nothing says when that ended, so the queue counts in full.
    item.sharedPrefillTokens = announces(node, prompt) ? Math.min(queued, matched - indexed) : 0
    if (matched > this.matchedTokensBest) this.matchedTokensBest = matched
  }
}

/** The node's own events will confirm or deny what is predicted for this prompt. */
export function announces(node: NodeView, prompt: MatchedPrompt | null): boolean {
  if (prompt === null || !prompt.exact) return false
  return node.kvEvents !== 'none' && node.indexId !== 0 && node.blockSize === prompt.blockSize
}
