/**
 * Models of the fleet, read from one view: the list that /v1/models answers with, and for a model
 * id of a request the nodes that serve it, its base model and its adapter.
 *
 * A node that is down keeps the models it had, so the list does not shrink, and a request for such
 * a model is refused for want of a node and not as unknown. Everything is computed once per view
 * and then looked up: a request costs two map reads.
 *
 * Base model: the name that enters the chain root and names the index. A model may be served under
 * several names, which differ from node to node; one stands for all of them (`model_names.ts`).
 */
import type { FleetView, NodeView, ServedModel } from './fleet_view.ts'

export interface ResolvedModel {
  readonly id: string
  /** Nodes that list the model, in any state; routing takes the healthy ones. */
  readonly nodes: readonly NodeView[]
  readonly baseModel: string
  /** The adapter's id, or empty for a base model. */
  readonly adapter: string
}

interface ModelIndex {
  readonly byId: ReadonlyMap<string, ResolvedModel>
  readonly sole: ResolvedModel | null
  readonly list: string
}

const indexes = new WeakMap<FleetView, ModelIndex>()

function baseOf(model: ServedModel, node: NodeView): { baseModel: string; adapter: string } {
  const first = node.indexModel || model.id
  if (model.parent === null) return { baseModel: first, adapter: '' }
  // The parent is one of the node's names of its model, or, on odd engines, a path.
  const isListed = node.models.some(one => one.id === model.parent && one.parent === null)
  return { baseModel: isListed || model.parent === '' ? first : model.parent, adapter: model.id }
}

function buildIndex(view: FleetView): ModelIndex {
  const byId = new Map<string, ResolvedModel & { nodes: NodeView[] }>()
  const bodies = new Map<string, unknown>()
  // Healthy nodes speak first: where nodes disagree about an item, the living one is right.
  const healthy = view.nodes.filter(node => node.state === 'healthy')
  const others = view.nodes.filter(node => node.state !== 'healthy')
  for (const node of [...healthy, ...others]) {
    for (const model of node.models) {
      const known = byId.get(model.id)
      if (known === undefined) {
        byId.set(model.id, { id: model.id, nodes: [node], ...baseOf(model, node) })
        bodies.set(model.id, model.body)
      } else if (!known.nodes.includes(node)) {
        known.nodes.push(node)
      }
    }
  }
  const data = [...bodies.keys()].sort().map(id => bodies.get(id))
  return { byId, sole: soleOf(byId), list: JSON.stringify({ object: 'list', data }) }
}

function soleOf(byId: ReadonlyMap<string, ResolvedModel>): ResolvedModel | null {
  const models = [...byId.values()]
  const isOne = new Set(models.map(model => model.baseModel)).size === 1
  return (isOne ? models.find(model => model.adapter === '') : null) ?? null
}

function indexOf(view: FleetView): ModelIndex {
  let index = indexes.get(view)
  if (index === undefined) {
    index = buildIndex(view)
    indexes.set(view, index)
  }
  return index
}

/** JSON text of the union of all nodes' models, sorted by id, each item as its node gave it. */
export function listModels(view: FleetView): string {
  return indexOf(view).list
}

/** JSON text of one model's item, or null when no node knows it. */
export function describeModel(modelId: string, view: FleetView): string | null {
  const node = resolveModel(modelId, view)?.nodes[0]
  const model = node?.models.find(one => one.id === modelId)
  return model === undefined ? null : JSON.stringify(model.body)
}

/**
 * What a request without a model is for: engines answer it with their base model, so it is known
 * where all nodes serve the same one. Null where they do not.
 */
export function soleModel(view: FleetView): ResolvedModel | null {
  return indexOf(view).sole
}

/** The nodes that serve a model, or null when no node knows it. */
export function resolveModel(modelId: string, view: FleetView): ResolvedModel | null {
  return indexOf(view).byId.get(modelId) ?? null
}
