/**
 * Keys of prompts seen before, by the digest of all that makes the prompt: an identical request
 * (a retry, a poll, a popular question) needs no tokenizer and no other thread.
 *
 *   digest 64 bits ──► 53 bits, the key of the map ──► { the other bits, chain }   oldest first
 *
 * Least recently used chains go first when the bytes are spent. A digest is keyed by the secret
 * of the chain, so no client can aim two prompts at one; a collision would cost a wrong route.
 * Costs: one map look-up. What it does badly: a chain larger than the whole memo is not kept.
 */
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
  readonly #entries: Map<number, Entry>
  readonly #bytesMax: number
  #bytes: number

  constructor(bytesMax: number) {
    this.#entries = new Map()
    this.#bytesMax = bytesMax
    this.#bytes = 0
  }

  get bytes(): number {
    return this.#bytes
  }

  find(high: number, low: number): KeyChain | null {
    const key = digestKey(high, low)
    const entry = this.#entries.get(key)
    if (entry === undefined || entry.high !== high) return null
    // A map keeps the order of insertion: moved to its end, the entry is the youngest.
    this.#entries.delete(key)
    this.#entries.set(key, entry)
    return entry.chain
  }

  keep(high: number, low: number, chain: KeyChain): void {
    const size = entryBytes(chain)
    if (size > this.#bytesMax) return
    const key = digestKey(high, low)
    const replaced = this.#entries.get(key)
    if (replaced !== undefined) this.#drop(key, replaced)
    for (const [oldest, entry] of this.#entries) {
      if (this.#bytes + size <= this.#bytesMax) break
      this.#drop(oldest, entry)
    }
    this.#entries.set(key, { high, chain })
    this.#bytes += size
  }

  clear(): void {
    this.#entries.clear()
    this.#bytes = 0
  }

  #drop(key: number, entry: Entry): void {
    this.#entries.delete(key)
    this.#bytes -= entryBytes(entry.chain)
  }
}

/** A number that names a digest in a map: all of the low word and 21 bits of the high one. */
export function digestKey(high: number, low: number): number {
  return (high & HIGH_MASK) * LOW_RANGE + low
}

function entryBytes(chain: KeyChain): number {
  return chain.keys.byteLength + ENTRY_BYTES
}
