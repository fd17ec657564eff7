import { inspect } from 'node:util'
import { describe, expect, test } from 'vitest'
import { Access, digestKey, OPEN_TENANT, Tenants, tenantName } from '../../src/access/keys.ts'

const A = 'sk-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'
const B = 'sk-bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb'
const ADMIN = 'sk-admin-aaaaaaaaaaaaaaaaaaaaaaaaa'

function accessOf(api: string[], admin: string[] = []) {
  return Access.from(new Tenants().tableOf({ api_keys: api, admin_keys: admin }))
}

describe('with keys', () => {
  test('each key is a tenant of its own, by either header', () => {
    const access = accessOf([A, B])
    const a = access.identify(`Bearer ${A}`, undefined)
    const b = access.identify(undefined, B)
    expect(a).toEqual({ id: 1, name: tenantName(A), isAdmin: false })
    expect(b).toEqual({ id: 2, name: tenantName(B), isAdmin: false })
    expect(access.identify(`bEaReR ${A}`, undefined)).toBe(a)
    expect(access.identify('', A)).toBe(a)
  })

  test.each([
    ['no header', undefined, undefined],
    ['empty headers', '', ''],
    ['another key', `Bearer ${A}x`, undefined],
    ['a key cut short', `Bearer ${A.slice(0, -1)}`, undefined],
    ['another scheme', `Basic ${A}`, undefined],
    ['no scheme', A, undefined],
    ['no key', 'Bearer ', undefined],
    ['the digest instead of the key', `Bearer ${digestKey(A)}`, undefined],
    ['a huge key', `Bearer ${'x'.repeat(100_000)}`, undefined],
    ['a wrong Authorization beside a right x-api-key', 'Bearer nothing', A],
  ])('%s does not pass', (_, authorization, xApiKey) => {
    expect(accessOf([A, B]).identify(authorization, xApiKey)).toBe(null)
  })

  test('an admin key passes on both listeners, an API key on one', () => {
    const access = accessOf([A], [ADMIN])
    expect(access.hasAdminKeys).toBe(true)
    expect(access.identify(`Bearer ${ADMIN}`, undefined)?.isAdmin).toBe(true)
    expect(access.identifyAdmin(`Bearer ${ADMIN}`, undefined)?.isAdmin).toBe(true)
    expect(access.identifyAdmin(`Bearer ${A}`, undefined)).toBe(null)
    expect(access.identifyAdmin(undefined, undefined)).toBe(null)
  })
})

describe('without API keys', () => {
  test('everybody is the open tenant, whatever was sent', () => {
    const access = accessOf([])
    expect(access.isOpen).toBe(true)
    expect(access.identify(undefined, undefined)).toBe(OPEN_TENANT)
    expect(access.identify('Bearer anything', 'x')).toBe(OPEN_TENANT)
  })

  test('an admin key is still recognised', () => {
    const access = accessOf([], [ADMIN])
    expect(access.identify(`Bearer ${ADMIN}`, undefined)?.isAdmin).toBe(true)
    expect(access.identify('Bearer other', undefined)).toBe(OPEN_TENANT)
  })
})

test('a tenant keeps its id over reloads and no id is given twice', () => {
  const tenants = new Tenants()
  const first = Access.from(tenants.tableOf({ api_keys: [A], admin_keys: [] }))
  const second = Access.from(tenants.tableOf({ api_keys: [B], admin_keys: [] }))
  const third = Access.from(tenants.tableOf({ api_keys: [B, A], admin_keys: [] }))
  expect(first.identify(undefined, A)?.id).toBe(1)
  expect(second.identify(undefined, A)).toBe(null)
  expect(second.identify(undefined, B)?.id).toBe(2)
  expect(third.identify(undefined, A)?.id).toBe(1)
})

test('neither the table nor the check holds a key', () => {
  const table = new Tenants().tableOf({ api_keys: [A], admin_keys: [ADMIN] })
  const seen = inspect([table, Access.from(table)], { depth: 9, showHidden: true })
  expect(seen + JSON.stringify(table)).not.toMatch(/sk-/)
})

test('identification is cheap', () => {
  const access = accessOf(Array.from({ length: 1000 }, (_, n) => `${A}${n}`))
  const authorization = `Bearer ${A}500`
  const rounds = 20_000
  const from = process.hrtime.bigint()
  for (let round = 0; round < rounds; round += 1) access.identify(authorization, undefined)
  const microseconds = Number(process.hrtime.bigint() - from) / rounds / 1000
  console.info(`identify: ${microseconds.toFixed(2)} µs`)
  // A hundred times the usual cost: only a change of kind (a scan, a file) can be that slow.
  expect(microseconds).toBeLessThan(200)
})
