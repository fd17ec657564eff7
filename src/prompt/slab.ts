/**
 * Small typed arrays side by side in large ones.
 *
 *     slab   [ spans of A | spans of B | … free … ]     take(n) ─► fill ─► commit(n used)
 *
 * A typed array of its own for each request is an allocation outside the heap and a finalizer as
 * soon as native code has seen it; a view on a slab is neither. A slab lives as long as the last
 * view on it, so what lives long must be copied out of it first. What is larger than a quarter of
 * a slab gets an array of its own.
 */

/** Words of one slab: at 8 bytes, 128 KiB that a single view can keep alive. */
const SLAB_WORDS = 16_384

interface Words {
  readonly length: number
  subarray(start: number, end: number): this
}

export class Slab<T extends Words> {
  readonly #make: (words: number) => T
  #words: T
  #used = 0
  /** What was taken last lies in the slab. */
  #isInside = false

  constructor(make: (words: number) => T) {
    this.#make = make
    this.#words = make(SLAB_WORDS)
  }

  /** A view of `words` words for the caller to fill; the next `take` begins where it committed. */
  take(words: number): T {
    this.#isInside = words <= SLAB_WORDS / 4
    if (!this.#isInside) return this.#make(words)
    if (this.#used + words > SLAB_WORDS) {
      this.#words = this.#make(SLAB_WORDS)
      this.#used = 0
    }
    return this.#words.subarray(this.#used, this.#used + words)
  }

  /** Keeps the first `words` words of what was taken last. */
  commit(words: number): void {
    if (this.#isInside) this.#used += words
  }
}
