/**
 * What becomes of a hello: who greets is a stranger of another source, or a member that is
 * remembered and told who we are.
 *
 *   no source in common ──► 404 with both ids, said once in our log
 *   registry            ──► lease renewed, the other members named
 *   member of a service ──► what it holds is taken for the next file
 *   in no service       ──► told who we are, and nothing that it says is believed
 *
 * A member is in a service when it was given a token, a warm-up or peers. The port of any other is
 * for gateways, and for members that were given its address: they believe it, not it them.
 */

import { isLoopback } from '../address.ts'
import type { Log } from '../observe/log.ts'
import { type Hello, statementOf } from './hello.ts'
import type { HelloAnswer } from './listener.ts'
import type { Peers } from './peers.ts'
import type { Registry } from './registry.ts'

/** Strangers that are remembered, so that each is named in the log once. */
const STRANGERS_MAX = 1024

export interface ReceptionOptions {
  readonly sourceIds: readonly string[]
  readonly self: () => Hello
  readonly peers: Peers
  readonly registry: Registry | null
  /** Hellos are signed. */
  readonly isTokenGiven: boolean
  readonly isInService: boolean
  readonly log: Log
}

function quoted(ids: readonly string[]): string {
  return ids.map(id => `"${id}"`).join(', ')
}

/**
 * Where a member can be asked: at the address that it listens on, if its word is good. An unsigned
 * hello comes from this host, and nobody is asked at our loopback whose hello came from beyond.
 */
function hostOf({ host }: Hello, from: string, isSigned: boolean): string {
  if (host === undefined) return from
  const isGood = isLoopback(host) ? isLoopback(from) : isSigned
  return isGood ? host : from
}

export class Reception {
  readonly #options: ReceptionOptions
  readonly #strangers = new Set<string>()

  constructor(options: ReceptionOptions) {
    this.#options = options
  }

  greeted(hello: Hello, from: string): HelloAnswer {
    const { sourceIds: own, self, peers, registry, isInService, isTokenGiven } = this.#options
    if (!hello.sources.some(source => own.includes(source))) {
      const message =
        `source ids do not match: here ${quoted(own)}, there ${quoted(hello.sources)}; ` +
        'give both the same source_id, or the same path'
      const fields = { from, here: own, there: hello.sources }
      this.#sayOnce([from, ...hello.sources].join('\0'), fields, 'source ids do not match')
      return { kind: 'misfit', message }
    }
    const { id, port, dataPort } = hello
    const place = { id, host: hostOf(hello, from, isTokenGiven), port, dataPort }
    if (registry !== null) {
      const members = registry.heard(place, hello.sources)
      return { kind: 'hello', hello: { ...self(), members } }
    }
    if (isInService) peers.heard(place, statementOf(hello))
    return { kind: 'hello', hello: self() }
  }

  /** Another user of this host came to a member without a token, and was sent away. */
  refused(): void {
    const text = 'another user of this host was refused: without a token members are of one user'
    this.#sayOnce('user', {}, text)
  }

  /** Once for each stranger: it will greet again every two seconds. */
  #sayOnce(key: string, fields: object, message: string): void {
    if (this.#strangers.has(key) || this.#strangers.size >= STRANGERS_MAX) return
    this.#strangers.add(key)
    this.#options.log.error(fields, message)
  }
}
