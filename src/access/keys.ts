/**
 * Who may ask. API keys are kept as SHA-256 digests only; each key is a tenant with a dense id
 * that is never given to another key as long as the process lives, because response logs and
 * caches carry it. Without API keys there is exactly one tenant, OPEN_TENANT.
 *
 *   main thread      Tenants (digest → id, grows) ──► KeyTable (plain data, digests only)
 *                                                        │ postMessage, on every reload
 *   every gateway    Access.from(table).identify(authorization, xApiKey)
 *
 * Timing: the table is looked up by the digest of what was presented, so what a client can learn
 * from the lookup is a property of a SHA-256 value that it cannot steer towards a stored one; the
 * stored digest is then compared with `timingSafeEqual`, against a dummy when nothing was found.
 * Cost: about 2 µs a request, of which 1 µs is SHA-256 (test/access prints it). No disk, network
 * or promise.
 */
import { hash, timingSafeEqual } from 'node:crypto'
import type { AccessConfig } from './config.ts'

/** Characters of the longest key; a header that is longer cannot hold one. */
export const KEY_CHARS_MAX = 1024

/** Characters of the digest that name a tenant in logs. */
export const TENANT_NAME_CHARS = 12

/** Who a request belongs to. The id is a required argument of prompt, exchange, log, directory. */
export interface Tenant {
  readonly id: number
  /** Short digest of the key; safe to log. */
  readonly name: string
  readonly isAdmin: boolean
}

/** The tenant of everybody while no API key is configured. */
export const OPEN_TENANT: Tenant = Object.freeze({ id: 0, name: 'open', isAdmin: false })

interface KeyEntry {
  readonly tenant: Tenant
  /** SHA-256 of the key, in hexadecimal. */
  readonly digest: string
}

/** The keys as plain data without a secret: what crosses to the gateway threads. */
export interface KeyTable {
  /** No API key is configured: everybody is OPEN_TENANT. */
  readonly isOpen: boolean
  readonly entries: readonly KeyEntry[]
}

/** SHA-256 of a key in hexadecimal: the only form in which a key is kept. */
export function digestKey(key: string): string {
  return hash('sha256', key, 'hex')
}

/** The name under which the tenant of a key appears in logs. */
export function tenantName(key: string): string {
  return digestKey(key).slice(0, TENANT_NAME_CHARS)
}

/** Gives every key its tenant id, once and for all. Lives on the main thread. */
export class Tenants {
  readonly #ids: Map<string, number>

  constructor() {
    this.#ids = new Map()
  }

  /** The table of a configuration; a key that was seen before keeps its id. */
  tableOf(config: AccessConfig): KeyTable {
    const entries = new Map<string, KeyEntry>()
    const add = (key: string, isAdmin: boolean): void => {
      const digest = digestKey(key)
      const id = this.#idOf(digest)
      const tenant = { id, name: digest.slice(0, TENANT_NAME_CHARS), isAdmin }
      entries.set(digest, { tenant, digest })
    }
    for (const key of config.api_keys) add(key, false)
    for (const key of config.admin_keys) add(key, true)
    return { isOpen: config.api_keys.length === 0, entries: [...entries.values()] }
  }

  #idOf(digest: string): number {
    const known = this.#ids.get(digest)
    if (known !== undefined) return known
    const id = this.#ids.size + 1
    this.#ids.set(digest, id)
    return id
  }
}

interface StoredKey {
  readonly tenant: Tenant
  readonly digest: Buffer
}

const DUMMY: StoredKey = { tenant: OPEN_TENANT, digest: Buffer.alloc(32) }

/** The key inside `Authorization: Bearer …`; null when the header has another scheme. */
function bearer(authorization: string): string | null {
  if (authorization.length < 8 || authorization.charCodeAt(6) !== 0x20) return null
  if (authorization.slice(0, 6).toLowerCase() !== 'bearer') return null
  return authorization.slice(7).trim()
}

/** The key check of one thread. Immutable: a reload makes a new one and swaps the reference. */
export class Access {
  readonly isOpen: boolean
  readonly #keys: ReadonlyMap<string, StoredKey>

  private constructor(table: KeyTable) {
    this.isOpen = table.isOpen
    const stored = table.entries.map(({ tenant, digest }): [string, StoredKey] => [
      digest,
      { tenant: Object.freeze({ ...tenant }), digest: Buffer.from(digest, 'hex') },
    ])
    this.#keys = new Map(stored)
  }

  static from(table: KeyTable): Access {
    return new Access(table)
  }

  /**
   * The tenant of a request by its two headers (undefined or empty: not sent), or null when it
   * may not pass. While no API key is configured everybody passes; an admin key is still
   * recognised. When both headers are sent, `Authorization` decides.
   */
  identify(authorization: string | undefined, xApiKey: string | undefined): Tenant | null {
    if (!this.hasKeys) return OPEN_TENANT
    const presented = authorization ? bearer(authorization) : (xApiKey ?? null)
    const found = presented ? this.#find(presented) : null
    return found ?? (this.isOpen ? OPEN_TENANT : null)
  }

  /** The tenant of an admin key, or null. The caller decides about loopback without keys. */
  identifyAdmin(authorization: string | undefined, xApiKey: string | undefined): Tenant | null {
    const presented = authorization ? bearer(authorization) : (xApiKey ?? null)
    const found = presented ? this.#find(presented) : null
    return found?.isAdmin ? found : null
  }

  /** Whether any key is configured: from then on credentials are the gateway's own affair. */
  get hasKeys(): boolean {
    return this.#keys.size > 0
  }

  /** Whether any admin key is configured; without one the admin listener is open, on loopback. */
  get hasAdminKeys(): boolean {
    for (const { tenant } of this.#keys.values()) if (tenant.isAdmin) return true
    return false
  }

  #find(key: string): Tenant | null {
    if (key.length > KEY_CHARS_MAX) return null
    const digest = digestKey(key)
    const stored = this.#keys.get(digest)
    const isEqual = timingSafeEqual((stored ?? DUMMY).digest, Buffer.from(digest, 'hex'))
    return stored !== undefined && isEqual ? stored.tenant : null
  }
}
