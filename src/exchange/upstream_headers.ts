/**
 * The headers that a node gets: the client's, already sorted by the front, plus what is ours.
 *
 * The client's Authorization is passed on only while the gateway has no keys of its own; a node's
 * own credential replaces it. `x-request-id` is the gateway's, because vLLM takes it as its
 * internal id and two tenants may send equal ones. `x-data-parallel-rank` names the rank that the
 * router chose, on nodes that have several.
 */
import type { Placement } from '../routing/router.ts'
import type { ExchangeRequest } from './request.ts'

export function upstreamHeaders(
  request: ExchangeRequest,
  placement: Placement,
  forwardsAuthorization: boolean,
): string[] {
  const headers = [...request.headers, 'x-request-id', request.id]
  const { node } = placement
  if (node.apiKey !== null) headers.push('authorization', `Bearer ${node.apiKey}`)
  else if (forwardsAuthorization && request.authorization !== undefined) {
    headers.push('authorization', request.authorization)
  }
  if (node.ranks.length > 1) headers.push('x-data-parallel-rank', String(placement.rank))
  return headers
}
