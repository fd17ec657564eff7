/**
 * Where a request goes whose node failed it before the first byte.
 *
 *     other       another node that is healthy
 *     same        none is, and this was the first reset: a kept socket that the node had closed
 *                 looks like one, so the node is asked again
 *     returning   none is, but one that has not failed the request may come back: it waits
 *     nowhere     nothing of that: the failure is the answer
 *
 * Healthy nodes are taken out when their checks are not answered, which a machine that stands still
 * for two seconds does to all of them; the next check brings them back. So only a broken
 * connection is worth a wait: a node that answered by a status, or was silent for long, did run.
 */
import type { FleetView, NodeState } from '../nodes/fleet_view.ts'
import type { RetryCause } from '../routing/retry_budget.ts'

export type Elsewhere = 'other' | 'same' | 'returning' | 'nowhere'

/** `failed` are the ids of nodes that failed it, the last one included; `retries` came before. */
export function elsewhere(
  view: FleetView,
  model: string | null,
  failed: readonly string[],
  cause: RetryCause,
  retries: number,
): Elsewhere {
  const has = (state: NodeState): boolean =>
    view.nodes.some(
      node =>
        node.state === state &&
        !failed.includes(node.id) &&
        (model === null || node.models.some(served => served.id === model)),
    )
  if (has('healthy')) return 'other'
  if (cause === 'reset' && retries === 0) return 'same'
  const isBroken = cause === 'reset' || cause === 'refused'
  return isBroken && has('unhealthy') ? 'returning' : 'nowhere'
}
