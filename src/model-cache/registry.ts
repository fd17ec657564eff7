/**
 * Who is a member of which source, kept by the warm-up: a member that has not greeted for
 * MEMBER_LEASE_MS is not named any more. It holds addresses only; what members have they tell each
 * other. When the warm-up dies, members go on with those they know.
 */
import type { PeerPlace } from './peer.ts'
import { MEMBER_LEASE_MS, PEERS_MAX } from './peers.ts'

interface Membership {
  readonly address: string
  readonly sources: readonly string[]
  heardMs: number
}

export class Registry {
  readonly #members = new Map<string, Membership>()
  readonly #now: () => number

  constructor(now: () => number) {
    this.#now = now
  }

  /** Renews a member's lease; gives the addresses of the others that share a source with it. */
  heard(place: PeerPlace, sources: readonly string[]): string[] {
    const now = this.#now()
    for (const [id, { heardMs }] of this.#members) {
      if (now - heardMs > MEMBER_LEASE_MS) this.#members.delete(id)
    }
    const host = place.host.includes(':') ? `[${place.host}]` : place.host
    const isKnown = this.#members.has(place.id)
    if (isKnown || this.#members.size < PEERS_MAX) {
      this.#members.set(place.id, { address: `${host}:${place.port}`, sources, heardMs: now })
    }
    return [...this.#members].flatMap(([id, member]) =>
      id !== place.id && member.sources.some(source => sources.includes(source))
        ? [member.address]
        : [],
    )
  }

  addresses(): string[] {
    return [...this.#members.values()].map(member => member.address)
  }
}
