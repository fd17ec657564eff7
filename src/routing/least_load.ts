/**
 * Load alone: the product of `prefix` without any credit for cached blocks, so that long prompts
 * weigh by their tokens and not as one request each. It also places what has no prompt to key.
 */
import { type Candidate, chooseLeast, type Policy } from './policy.ts'

function score(candidate: Candidate): number {
  const promptTokens = candidate.uncachedTokens + candidate.matchedTokens
  const tokens = promptTokens + candidate.queuedPrefillTokens + candidate.blockSize
  return tokens * (candidate.running + 1)
}

export const leastLoad: Policy = {
  name: 'least-load',
  choose(candidates, count, random) {
    return chooseLeast(candidates, count, random, score)
  },
}
