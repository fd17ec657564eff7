/**
 * Which edits a tenant's requests get. With one tenant none is needed beyond stripping what would
 * steer an engine; with several, each gets a cache salt of its own, so that no tenant can measure
 * by timing what another one asks (docs/http-api.md lists the edits).
 *
 * The salt comes from the digest of the tenant's key: it is the same on every gateway with the
 * same keys and after each restart, and nobody who lacks the key can compute it. A new key means
 * an empty prefix cache for its tenant.
 */
import type { KeyTable, Tenant } from '../access/keys.ts'
import type { RequestBody } from '../prompt/body.ts'
import { tenantSalt } from '../prompt/cache_salt.ts'
import type { EditPolicy } from '../prompt/edits.ts'

/** Everybody is one tenant: sessions and priorities are the client's own affair. */
const OPEN_POLICY: EditPolicy = { isTrusted: true, cacheSalt: null, sessionPrefix: null }

interface TenantEdits {
  readonly secret: Buffer
  /** The policy of a request that brings no salt of its own. */
  readonly plain: EditPolicy
}

export class EditRules {
  readonly #isOpen: boolean
  readonly #separates: boolean
  readonly #tenants = new Map<number, TenantEdits>()

  constructor(keys: KeyTable, sharesPrefixCache: boolean) {
    this.#isOpen = keys.isOpen
    // Operators are no tenants: a prefix cache that one tenant shares with them tells it nothing.
    const tenants = keys.entries.filter(({ tenant }) => !tenant.isAdmin)
    this.#separates = tenants.length > 1 && !sharesPrefixCache
    for (const { tenant, digest } of keys.entries) {
      const secret = Buffer.from(digest, 'hex')
      const plain = this.#policy(tenant, secret, null)
      this.#tenants.set(tenant.id, { secret, plain })
    }
  }

  policyFor(tenant: Tenant, body: RequestBody): EditPolicy {
    if (this.#isOpen) return OPEN_POLICY
    const edits = this.#tenants.get(tenant.id)
    // A key that has just left the table: its last requests may finish, apart from all others.
    if (edits === undefined) return this.#policy(tenant, Buffer.from(tenant.name), body.cacheSalt)
    if (!this.#separates || body.cacheSalt === null) return edits.plain
    return this.#policy(tenant, edits.secret, body.cacheSalt)
  }

  /** What keeps this tenant's sessions apart from those of others; null where there are none. */
  sessionPrefix(tenant: Tenant): string | null {
    return this.#separates ? `${tenant.name}-` : null
  }

  #policy(tenant: Tenant, secret: Buffer, clientSalt: string | null): EditPolicy {
    return {
      isTrusted: tenant.isAdmin,
      cacheSalt: this.#separates ? tenantSalt(secret, tenant.name, clientSalt) : null,
      sessionPrefix: this.sessionPrefix(tenant),
    }
  }
}
