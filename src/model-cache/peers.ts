/**
 * The other members: finds them, greets them, remembers what they hold.
 *
 *   static list ─┐                    every 2 s, and when a file starts to load
 *   registry ────┴─► places ─► hello ─────────────────────────────────────────► holdings
 *
 * A hello carries who we are, which sources we have and what we hold of them; its answer carries
 * the same of the other side. So two members that start at the same moment know of each other
 * before either asks the source for a byte: a hydration waits for the answers to its announcement,
 * at most ANNOUNCE_MS_MAX. Announcements are gathered: while one is under way to a peer, the files
 * that follow wait for the next. A peer that did not answer in that time, or not at all, is told
 * like the others, but nobody waits for it until it has answered.
 *
 * The registry is the warm-up: it answers a hello with the other members of the same sources. Its
 * word is only an address; a member that it named and that does not answer is not asked.
 *
 * What it does badly: every member greets every other, so traffic grows with the square of their
 * number (64 members: 2,000 small requests a second in all).
 */

import { formatAddress } from '../address.ts'
import type { Log } from '../observe/log.ts'
import { type HelloClient, type HelloReply, placeOf } from './hello.ts'
import { Peer, type PeerPlace, type Statement } from './peer.ts'

/** Milliseconds between two hellos to one peer. */
export const HELLO_MS = 2_000

/** Milliseconds that the start, and a file to be loaded, wait for the answers of the others. */
const ANNOUNCE_MS_MAX = 1_000

/** Milliseconds after which a member whose hellos stopped is not named by the registry. */
export const MEMBER_LEASE_MS = 6_000

/** Members known at once: beyond it a warm-up in front serves better than each other. */
export const PEERS_MAX = 256

export interface PeersOptions {
  readonly client: HelloClient
  /** Addresses given by hand. */
  readonly addresses: readonly string[]
  /** Address of the warm-up, which is also the registry. */
  readonly warmup: string | null
  readonly selfId: string
  /** Who is known now, whenever somebody has come, gone or was started anew. */
  readonly onKnown: (peers: readonly Peer[]) => void
  readonly now: () => number
  readonly log: Log
}

interface Contact {
  readonly address: string
  readonly isWarmup: boolean
  /** Named by the registry or by itself, so forgotten when neither does so any more. */
  readonly isNamed: boolean
  /** When it greeted us, answered, or was named. */
  heardMs: number
  peer: Peer | null
  busy: Promise<void> | null
  /** Its last answer did not come, or not in time: whoever waits for others does not for it. */
  isLate: boolean
  fault: string | null
}

export class Peers {
  readonly #options: PeersOptions
  readonly #contacts = new Map<string, Contact>()
  #timer: NodeJS.Timeout | null = null
  #known: Peer[] = []

  constructor(options: PeersOptions) {
    this.#options = options
    if (options.warmup !== null) this.#contact(options.warmup, true, false)
    for (const address of options.addresses) this.#contact(address, false, false)
  }

  #contact(given: string, isWarmup: boolean, isNamed: boolean): Contact {
    const place = placeOf(given)
    // What is no address stays as it is: the first hello says so.
    const address = place === null ? given : formatAddress(place)
    const known = this.#contacts.get(address)
    if (known !== undefined) return known
    const contact: Contact = {
      address,
      isWarmup,
      isNamed,
      heardMs: this.#options.now(),
      peer: null,
      busy: null,
      isLate: false,
      fault: null,
    }
    if (this.#contacts.size < PEERS_MAX) this.#contacts.set(address, contact)
    return contact
  }

  /** Members that have answered; whether one may be asked now, it says itself. */
  all(): readonly Peer[] {
    return this.#known
  }

  /** What went wrong with the warm-up; null when all is well or there is none. */
  get warmupFault(): string | null {
    for (const contact of this.#contacts.values()) if (contact.isWarmup) return contact.fault
    return null
  }

  /** Greets everybody, waits for the punctual ones, and greets all again every two seconds. */
  async start(): Promise<void> {
    const contacts = [...this.#contacts.values()]
    // The registry may have named members during the first round.
    await this.#within(
      contacts,
      this.greet().then(() => this.greet()),
    )
    this.#timer = setInterval(() => void this.greet(), HELLO_MS)
    this.#timer.unref()
  }

  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
  }

  async greet(): Promise<void> {
    await Promise.all([...this.#contacts.values()].map(contact => this.#greet(contact)))
  }

  /** Somebody greeted us: greet back at the next round, and take what was said. */
  heard(place: PeerPlace, said: Statement): void {
    if (place.id === this.#options.selfId) return
    const contact = this.#contact(formatAddress(place), false, true)
    this.#take(contact, place, said)
    // It was not there when we asked last: now it is, and should know of us before it loads.
    if (contact.isLate) void this.#greet(contact)
  }

  /**
   * Tells all members what we have begun to load, and learns what they are loading. A peer that is
   * being told something already is told again afterwards, once for all that came meanwhile.
   */
  async announce(): Promise<void> {
    const told = [...this.#contacts.values()].filter(
      contact => !contact.isWarmup || contact.peer === null,
    )
    const late = told.filter(({ isLate }) => isLate)
    for (const contact of late) void this.#tell(contact)
    const punctual = told.filter(({ isLate }) => !isLate)
    if (punctual.length === 0) return
    await this.#within(punctual, Promise.all(punctual.map(contact => this.#tell(contact))))
  }

  /** A hello that was begun before says too little: one more after it. */
  async #tell(contact: Contact): Promise<void> {
    if (contact.busy !== null) await contact.busy
    await this.#greet(contact)
  }

  /** Waits for answers; who has not given his by the end of the time is late. */
  async #within(contacts: readonly Contact[], answers: Promise<unknown>): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    const limit = new Promise<void>(resolve => {
      timer = setTimeout(() => {
        for (const contact of contacts) contact.isLate ||= contact.busy !== null
        resolve()
      }, ANNOUNCE_MS_MAX)
    })
    await Promise.race([answers, limit])
    clearTimeout(timer)
  }

  /** One hello at a time to one contact. */
  #greet(contact: Contact): Promise<void> {
    contact.busy ??= this.#hello(contact).finally(() => {
      contact.busy = null
    })
    return contact.busy
  }

  async #hello(contact: Contact): Promise<void> {
    const { client, log } = this.#options
    const reply = await client.hello(contact.address)
    contact.isLate = reply.kind === 'failed'
    if (reply.kind === 'failed') {
      contact.peer?.down()
      this.#forget(contact)
      if (contact.fault === reply.message) return
      contact.fault = reply.message
      const fields = { peer: contact.address, error: reply.message }
      const text = contact.isWarmup ? 'warm-up is of no use' : 'peer is of no use'
      // Somebody who serves another source was paired by mistake, and nothing will ever work.
      if (reply.isMisfit) log.error(fields, text)
      else log.warn(fields, text)
      return
    }
    if (contact.fault !== null) log.info({ peer: contact.address }, 'peer answers again')
    contact.fault = null
    this.#taken(contact, reply)
  }

  /** A member that ended: whoever is started anew, elsewhere, names itself anew. */
  #forget(contact: Contact): void {
    const silentMs = this.#options.now() - contact.heardMs
    if (!contact.isNamed || silentMs <= MEMBER_LEASE_MS) return
    if (this.#contacts.get(contact.address) !== contact) return
    this.#contacts.delete(contact.address)
    this.#tellKnown()
  }

  #taken(contact: Contact, reply: HelloReply): void {
    if (reply.place.id === this.#options.selfId) {
      // Our own address was in the list.
      this.#contacts.delete(contact.address)
      return
    }
    this.#take(contact, reply.place, reply.said)
    if (!contact.isWarmup) return
    const named = new Set(reply.members)
    for (const address of named) {
      this.#contact(address, false, true).heardMs = this.#options.now()
    }
    for (const [address, other] of this.#contacts) {
      if (!other.isNamed || named.has(address) || other.peer?.state === 'live') continue
      this.#contacts.delete(address)
    }
    this.#tellKnown()
  }

  #take(contact: Contact, place: PeerPlace, said: Statement): void {
    // A peer that was started anew has another id, and none of its past.
    if (contact.peer?.id !== place.id) {
      const host = placeOf(contact.address)?.host ?? place.host
      contact.peer = new Peer({ ...place, host }, contact.isWarmup, this.#options.now)
    }
    contact.heardMs = this.#options.now()
    contact.peer.up()
    contact.peer.hear(said)
    this.#tellKnown()
  }

  #tellKnown(): void {
    const peers = new Map<string, Peer>()
    for (const { peer } of this.#contacts.values()) {
      // The warm-up counts as such even when it is in the list of peers too.
      if (peer !== null && !(peers.get(peer.id)?.isWarmup ?? false)) peers.set(peer.id, peer)
    }
    const before = new Set(this.#known)
    this.#known = [...peers.values()]
    const isSame = before.size === this.#known.length && this.#known.every(peer => before.has(peer))
    if (!isSame) this.#options.onKnown(this.#known)
  }
}
