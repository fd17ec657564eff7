/**
 * The default policy: go where the least work remains, weighed by how busy that place is.
 *
 *     score = (uncached tokens + queued prefill tokens + one block) x (running + 1)     least wins
 *
 * (LMetric's product, arXiv 2603.15202; S8 of the project's notes.) It has no parameter to tune
 * to a GPU or a model, and it spills by itself. Worked example, 16-token blocks, a prompt of
 * 1,000 tokens of which A holds 960:
 *
 *     A idle             (40 + 16) x 1 =    56    B idle (1000 + 16) x 1 = 1016   -> A
 *     A runs 10          (40 + 16) x 11 =  616                                    -> A
 *     A runs 20          (40 + 16) x 21 = 1176                                    -> B: A spilled
 *
 * The block in the sum keeps a full match from scoring 0, which no load could ever outweigh.
 *
 * Queued prefill is other requests' work in front of ours, with one exception. When a burst of
 * siblings of a new prefix arrives, the first one's prefill computes blocks that the others need
 * too: on any other node they would compute them again, so that part of the queue is no extra
 * work and is left out. Without this the second sibling would see a doubled score where the first
 * one went, and every node of the fleet would compute the same prefix once.
 *
 * What it does badly: it counts tokens, not seconds, so a node that is slower by nature gets less
 * only once its queue shows it; and a decode-heavy request weighs as much as a short one.
 */
import { type Candidate, chooseLeast, type Policy } from './policy.ts'

function score(candidate: Candidate): number {
  const queued = candidate.queuedPrefillTokens - candidate.sharedPrefillTokens
  return (candidate.uncachedTokens + queued + candidate.blockSize) * (candidate.running + 1)
}

export const prefix: Policy = {
  name: 'prefix',
  choose(candidates, count, random) {
    return chooseLeast(candidates, count, random, score)
  },
}
