/**
 * What a routing policy is: it looks at the candidates of one request and names one of them.
 *
 * A candidate is one (node, rank) that may serve the request now: healthy, serving the model,
 * below its limit of requests in flight, not tried before. The objects belong to `Candidates`
 * and are filled again for every request, so that a decision over a thousand candidates allocates
 * nothing; a policy reads them and keeps none.
 *
 * A policy is a pure function of the candidates and the random source (round robin also of its
 * own counter), so a seeded simulation can drive it.
 */
import type { NodeView } from '../nodes/fleet_view.ts'

export interface Candidate {
  node: NodeView
  rank: number
  slot: number
  /** Tokens that this place would still have to compute for the prompt. */
  uncachedTokens: number
  /** Tokens of the prompt that it holds or soon will; uncached + matched = the whole prompt. */
  matchedTokens: number
  /** The part of `matchedTokens` that the engine's own events vouch for. */
  indexTokens: number
  /** Tokens of requests sent there that have not answered with a first token. */
  queuedPrefillTokens: number
  /** The part of `queuedPrefillTokens` that computes blocks of this very prompt for a sibling. */
  sharedPrefillTokens: number
  /** Requests in flight there. */
  running: number
  /** Tokens of one block: the unit in which a match grows. */
  blockSize: number
}

export const POLICY_NAMES = ['prefix', 'least-load', 'round-robin'] as const
export type PolicyName = (typeof POLICY_NAMES)[number]

export interface Policy {
  readonly name: PolicyName
  /** Index of the chosen candidate; `count` is at least 1, `random` gives [0, 1). */
  choose(candidates: readonly Candidate[], count: number, random: () => number): number
}

/** Seen by every policy: the one with fewer requests in flight, then less to prefill; 0 = equal. */
function compareLoad(a: Candidate, b: Candidate): number {
  return a.running - b.running || a.queuedPrefillTokens - b.queuedPrefillTokens
}

/**
 * Index of the candidate with the least score; ties go to the lower load, and what is still
 * equal is drawn uniformly in one pass (the n-th equal one replaces the pick with chance 1/n).
 */
export function chooseLeast(
  candidates: readonly Candidate[],
  count: number,
  random: () => number,
  score: (candidate: Candidate) => number,
): number {
  let best = 0
  let bestScore = Infinity
  let equals = 0
  for (let index = 0; index < count; index++) {
    const candidate = candidates[index]
    const held = candidates[best]
    if (candidate === undefined || held === undefined) break
    const own = score(candidate)
    const order = index === 0 ? -1 : own - bestScore || compareLoad(candidate, held)
    if (order > 0) continue
    equals = order < 0 ? 1 : equals + 1
    if (order < 0 || random() * equals < 1) {
      best = index
      bestScore = own
    }
  }
  return best
}
