/**
 * Prompts of a wanted length, all distinct behind a part that all share.
 *
 *     |<-- sharedTokens: the same words in every prompt -->|<-- number, then words of its own -->|
 *
 * Words are short and common, so a word is about one token for usual tokenizers; what the
 * endpoint counted is in the report. The same seed gives the same prompts.
 */

const WORDS = (
  'the of and to in is that it was for on are as with they be at one have this from or had by ' +
  'hot but some what there we can out other were all your when up use word how said an each ' +
  'she which do their time if will way about many then them would write like so these her long'
).split(' ')

/** Small generator with a 32-bit state (mulberry32's mixing); good enough to pick words. */
function picker(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return (mixed ^ (mixed >>> 14)) >>> 0
  }
}

function words(count: number, seed: number): string {
  const pick = picker(seed)
  const picked: string[] = []
  for (let i = 0; i < count; i++) picked.push(WORDS[pick() % WORDS.length] ?? '')
  return picked.join(' ')
}

/** Tokens that a number takes at the start of a prompt's own part. */
const NUMBER_TOKENS = 4

export class Prompts {
  readonly #shared: string
  readonly #ownTokens: number
  readonly #seed: number

  constructor(promptTokens: number, sharedTokens: number, seed: number) {
    this.#shared = sharedTokens > 0 ? `${words(sharedTokens, seed)} ` : ''
    this.#ownTokens = Math.max(0, promptTokens - sharedTokens - NUMBER_TOKENS)
    this.#seed = seed
  }

  prompt(number: number): string {
    const own = words(this.#ownTokens, this.#seed ^ Math.imul(number + 1, 0x9e3779b1))
    return `${this.#shared}${this.#seed}.${number} ${own}`.trimEnd()
  }
}
