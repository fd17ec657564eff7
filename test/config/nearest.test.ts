import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { editDistance, nearestName } from '../../src/config/nearest.ts'

test.each([
  ['nodess', 'nodes'],
  ['thread', 'threads'],
  ['lsiten', 'listen'],
  ['Api_Keys', 'api_keys'],
  ['api-keys', 'api_keys'],
  ['zzzz', null],
  ['x'.repeat(100), null],
])('the nearest known name of %s is %s', (name, expected) => {
  expect(nearestName(name, ['nodes', 'threads', 'listen', 'api_keys', 'models'])).toBe(expected)
})

test('the distance is 0 for equal names only, symmetric, and at most the longer length', () => {
  const name = fc.string({ maxLength: 8, unit: fc.constantFrom('a', 'b', 'c') })
  fc.assert(
    fc.property(name, name, (a, b) => {
      const distance = editDistance(a, b)
      expect(distance === 0).toBe(a === b)
      expect(editDistance(b, a)).toBe(distance)
      expect(distance).toBeLessThanOrEqual(Math.max(a.length, b.length))
    }),
  )
})
