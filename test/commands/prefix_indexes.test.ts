import { expect, test } from 'vitest'
import { PrefixIndexes } from '../../src/commands/prefix_indexes.ts'

test('IX-18: past the limit a new model has no index, and those that are there go on', () => {
  const indexes = new PrefixIndexes(2)
  const [first, second] = [indexes.idFor('m', 16), indexes.idFor('m', 32)]
  expect(new Set([0, first, second]).size).toBe(3)
  expect([indexes.idFor('n', 16), indexes.idFor('o', 16)]).toEqual([0, 0])
  expect([indexes.idFor('m', 16), indexes.idFor('m', 32)]).toEqual([first, second])
  for (const { index } of indexes.all()) index.close()
})
