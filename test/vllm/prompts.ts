/**
 * Prompts of a run: made from a seeded generator, and never the same twice unless that is meant,
 * so that a run meets no block of an earlier one.
 */
const WORDS = (
  'the quick brown fox jumps over lazy dogs while seven wizards brew bitter tea for every ' +
  'traveller who knows how many stones lie under river bridges in early winter and why engines ' +
  'keep what they have computed once instead of computing it again for each new question'
).split(' ')
const FOREIGN = [
  '東京の天気',
  'naïve café',
  'و الآن؟',
  '🌍🚀 emoji',
  'Ω≈ç√∫',
  '한국어 문장',
  '\t\n  ',
]

/** Ids from here on are ordinary tokens of every vocabulary that the suite meets. */
const TOKEN_FIRST = 100
const TOKEN_COUNT = 1500

export class Prompts {
  readonly #seed: number
  #state: number
  #serial = 0

  constructor(seed: number) {
    this.#seed = seed
    this.#state = seed >>> 0
  }

  /** Mulberry32: small, seeded, and good enough to pick words. */
  random(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = this.#state
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }

  below(bound: number): number {
    return Math.floor(this.random() * bound)
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)]
    if (item === undefined) throw new Error('nothing to pick from')
    return item
  }

  /** A name that nobody used before, as an id or a salt. */
  name(what: string): string {
    return `${what}-${this.#seed.toString(36)}-${(this.#serial++).toString(36)}`
  }

  /** So many words, with a beginning of their own. */
  text(words: number): string {
    const rest = Array.from({ length: words }, () => this.pick(WORDS))
    return `${this.name('text')} ${rest.join(' ')}`
  }

  /** Text of other scripts among the words. */
  foreignText(words: number): string {
    const rest = Array.from({ length: words }, () => this.pick(this.below(3) ? WORDS : FOREIGN))
    return `${this.name('text')} ${rest.join(' ')}`
  }

  tokens(count: number): number[] {
    return Array.from({ length: count }, () => TOKEN_FIRST + this.below(TOKEN_COUNT))
  }
}
