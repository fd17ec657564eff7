/**
 * Keys of prompts seen before, by the digest of all that makes the prompt: an identical request
 * (a retry, a poll, a popular question) needs no tokenizer and no other thread.
 *
 *   digest 64 bits ──► 53 bits, the key ──► { the other bits, chain }   least recently used first
 *
 * Chains leave in that order when the bytes are spent. A digest is keyed by the secret
 * of the chain, so no client can aim two prompts at one; a collision would cost a wrong route.
 * Costs: one look-up. What it does badly: a chain larger than the whole memo is not kept.
 */
import { LRUCache } from 'lru-cache'
import type { KeyChain } from './keys.ts'

interface Entry {
  readonly high: number
  readonly chain: KeyChain
}

/** What an entry costs beside its keys: map slot, two objects, one array header. */
const ENTRY_BYTES = 256
const LOW_RANGE = 2 ** 32
/** The bits of the high word that still fit into a number's 53. */
const HIGH_MASK = 0x1fffff

export class KeyMemo {
  readonly #entries: LRUCache<number, Entry>

  constructor(bytesMax: number) {
    this.#entries = new LRUCache({
      maxSize: bytesMax,
      sizeCalculation: ({ chain }) => chain.keys.byteLength + ENTRY_BYTES,
    })
  }

  get bytes(): number {
    return this.#entries.calculatedSize
  }

  find(high: number, low: number): KeyChain | null {
    const entry = this.#entries.get(digestKey(high, low))
    return entry === undefined || entry.high !== high ? null : entry.chain
  }

  keep(high: number, low: number, chain: KeyChain): void {
    this.#entries.set(digestKey(high, low), { high, chain })
  }

  clear(): void {
    this.#entries.clear()
  }
}

/** A number that names a digest in a map: all of the low word and 21 bits of the high one. */
export function digestKey(high: number, low: number): number {
  return (high & HIGH_MASK) * LOW_RANGE + low
}
